import pytest

from designspace.support.removal import files_below, remove, remove_empty_folders


@pytest.fixture
def root(tmp_path):
    """A folder with files, and links to a folder beside it."""
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "letter").write_text("dear")
    root = tmp_path / "root"
    (root / "a" / "b").mkdir(parents=True)
    (root / "a" / "file").write_text("12345")
    (root / "a" / "link").symlink_to(tmp_path / "outside")
    (root / "a" / "b" / "letter").symlink_to(tmp_path / "outside" / "letter")
    yield root
    assert (tmp_path / "outside" / "letter").read_text() == "dear"


def test_links_are_listed_and_never_followed(root):
    paths = {str(path.relative_to(root)) for path, _ in files_below(root)}
    assert paths == {"a/file", "a/link", "a/b/letter"}
    assert dict(files_below(root))[root / "a" / "file"] == 5
    assert list(files_below(root / "a" / "link")) == []
    assert list(files_below(root / "a" / "file")) == []
    assert list(files_below(root / "nothing")) == []


def test_links_themselves_are_removed(root):
    for path, _ in list(files_below(root)):
        assert remove(path, root)
        assert not remove(path, root)
    remove_empty_folders(root)
    assert not root.exists()


@pytest.mark.parametrize("path", ["a/link/letter", "a/b/../../../outside/letter", "../outside/letter", "a/b"])
def test_files_behind_a_link_are_not_removed(root, path):
    with pytest.raises((OSError, ValueError)):
        remove(root / path, root)


def test_folders_that_are_not_empty_stay(root):
    (root / "c" / "d").mkdir(parents=True)
    remove_empty_folders(root)
    assert not (root / "c").exists()
    assert (root / "a" / "b" / "letter").is_symlink()
