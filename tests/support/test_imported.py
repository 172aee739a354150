"""Names of the user's own objects: their form, and what their import reports."""

import sys

import pytest

from designspace.support.errors import InputError
from designspace.support.imported import check_import_name, import_object, is_import_name


def test_a_name_has_a_colon():
    assert is_import_name("mine:Block")
    assert not any(map(is_import_name, ["bottleneck", 3, None]))


@pytest.mark.parametrize("name", ["mine:Block", "kit.parts:block_2", "größe:Blöck"])
def test_names_of_the_right_form(name):
    assert check_import_name("space.block", name) == name


@pytest.mark.parametrize("name", ["mine", "mine:", ":Block", "a..b:C", "mine:Block()", "mine:a:b", "", 3])
def test_names_of_another_form_are_errors(name):
    with pytest.raises(InputError, match=r"space\.block must be"):
        check_import_name("space.block", name)


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("", "module 'imported_module' has no attribute 'Block'"),
        ("import nowhere_else", "No module named 'nowhere_else'[)]$"),
        ("raise ValueError('one\\n two')", "ValueError: one two"),
        ("import sys; sys.exit(3)", "SystemExit: 3"),
        ("def f(:", "SyntaxError: invalid syntax"),
    ],
)
def test_what_an_import_reports(tmp_path, monkeypatch, code, message):
    (tmp_path / "imported_module.py").write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "imported_module", raising=False)
    with pytest.raises(InputError, match=f"space.block: imported_module:Block cannot be imported .*{message}"):
        import_object("space.block", "imported_module:Block")


def test_objects_are_imported():
    assert import_object("recipe.trainer", "json:loads")("3") == 3
    with pytest.raises(InputError, match="No module named 'nowhere'.; is it in the working folder or on PYTHONPATH?"):
        import_object("recipe.trainer", "nowhere:train")
