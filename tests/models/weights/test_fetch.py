"""Fetching over HTTP from a local server: good, bad and missing mirrors, damaged caches, concurrent processes."""

import hashlib
import http.server
import io
import logging
import multiprocessing
import re
import socket
import threading
import time
import zipfile
from pathlib import Path

import pytest
import torch

from designspace.models.weights.fetch import fetch
from designspace.support import download as downloading
from designspace.support.download import Download
from designspace.support.errors import InputError, RunError


def saved(value):
    buffer = io.BytesIO()
    torch.save({"weight": torch.full((100_000,), value)}, buffer)
    return buffer.getvalue()


CONTENT, CHANGED = saved(1.0), saved(2.0)
DIGEST = hashlib.sha256(CONTENT).hexdigest()
FIXTURES = Path(__file__).parents[2] / "fixtures" / "weights"


class Handler(http.server.BaseHTTPRequestHandler):
    """Responds as the path of the request says."""

    def do_GET(self):
        self.server.requests.append(self.path)
        body, status, size = CONTENT, 200, len(CONTENT)
        match self.path.split("/")[1]:
            case "missing":
                return self.send_error(404)
            case "other":
                body = CONTENT[:-1] + b"!"
            case "cut":
                body = CONTENT[:1000]
            case "changed":
                body = CHANGED
            case "page":
                body, size = b"<html>Log in first</html>", None
            case "endless":
                return self.send_endless()
            case "slow":
                return time.sleep(0.5)
            case "moved":
                status = 302
            case "no-http":
                return self.wfile.write(b"hello\r\n")
            case "unsized":
                size = None
        self.send_response(status)
        if status == 302:
            self.send_header("Location", f"http://localhost:{self.server.server_port}/good/a.pth")
            size = body = None
        if size is not None:
            self.send_header("Content-Length", str(size))
        self.end_headers()
        return body and self.wfile.write(body)

    def send_endless(self):
        self.send_response(200)
        self.end_headers()
        try:
            while True:
                self.wfile.write(CONTENT)
        except OSError:
            self.close_connection = True

    def log_message(self, *args):
        """Log nothing."""


@pytest.fixture
def server():
    """An HTTP server; `server.requests` are the paths of all requests."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.requests = []
        threading.Thread(target=server.serve_forever).start()
        yield server
        server.shutdown()


@pytest.fixture(autouse=True)
def hub(tmp_path, monkeypatch):
    """torch.hub's own folder, empty."""
    monkeypatch.setattr(torch.hub, "_hub_dir", str(tmp_path / "hub"))
    return tmp_path / "hub" / "checkpoints"


def address(server, kind, name="a.pth"):
    return f"http://127.0.0.1:{server.server_port}/{kind}/{name}"


def files(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_file_is_fetched_once(server, tmp_path, caplog):
    caplog.set_level(logging.INFO)
    download = Download(address(server, "good"), DIGEST)
    path = fetch([download], tmp_path)
    assert path == tmp_path / "weights" / "a.pth"
    assert path.read_bytes() == CONTENT
    assert (tmp_path / "weights" / "a.pth.sha256").read_text() == f"{DIGEST}  a.pth\n"
    assert files(tmp_path / "weights") == ["a.pth", "a.pth.sha256"]
    assert fetch([download], tmp_path) == path
    assert server.requests == ["/good/a.pth"]
    [record] = caplog.records
    assert re.fullmatch(rf"fetching a\.pth \(40\d kB\) from {download.url}", record.getMessage())


def test_the_cache_is_in_the_data_folder(server, tmp_path, monkeypatch):
    monkeypatch.setenv("DESIGNSPACE_DATA", str(tmp_path / "data"))
    assert fetch([Download(address(server, "unsized"))]) == tmp_path / "data" / "weights" / "a.pth"


BAD = {
    "missing": "404 Not Found",
    "other": f"it is another file: its sha256 is [0-9a-f]{{64}}, not {DIGEST[:8]}\\.\\.\\.",
    "cut": "the connection closed after",
    "slow": "timed out",
    "no-http": "hello",
}


@pytest.mark.parametrize("kind", BAD)
def test_a_bad_mirror_is_reported_and_the_next_one_tried(server, tmp_path, monkeypatch, kind):
    monkeypatch.setattr(downloading, "TIMEOUT_S", 0.2)
    bad = Download(address(server, kind), DIGEST[:8])
    with pytest.raises(RunError, match=f"{bad.url}: {BAD[kind]}"):
        fetch([bad], tmp_path)
    assert files(tmp_path / "weights") == []
    good = Download(address(server, "good"), DIGEST[:8])
    assert fetch([bad, good], tmp_path).read_bytes() == CONTENT


def test_an_endless_body_is_cut_off(server, tmp_path, monkeypatch):
    monkeypatch.setattr(downloading, "LIMIT_BYTES", 3_000_000)
    with pytest.raises(RunError, match=r"the file is larger than 3\.00 MB"):
        fetch([Download(address(server, "endless"))], tmp_path)
    assert files(tmp_path / "weights") == []


def test_redirects_are_followed(server, tmp_path):
    assert fetch([Download(address(server, "moved"), DIGEST)], tmp_path).read_bytes() == CONTENT


def test_all_attempts_are_listed_if_none_succeeds(server, tmp_path, hub):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        closed = f"http://127.0.0.1:{unused.getsockname()[1]}/a.pth"
    nowhere = (tmp_path / "nowhere" / "b.pth").as_uri()
    downloads = [Download(address(server, "missing"), DIGEST), Download(closed, DIGEST), Download(nowhere)]
    with pytest.raises(RunError) as caught:
        fetch(downloads, tmp_path)
    lines = str(caught.value).split("\n")
    cache = tmp_path / "weights"
    assert lines[0] == "cannot fetch the weights; tried:"
    assert lines[1] == f"  {cache / 'a.pth'}: no such file"
    assert len(set(lines)) == len(lines) == 11  # mirrors of one file share a file in the cache
    assert f"  {hub / 'a.pth'}: no such file" in lines
    assert f"  {downloads[0].url}: 404 Not Found" in lines
    assert f"  {closed}: [Errno 111] Connection refused" in lines
    assert f"  {cache / 'a.pth'} (sha256 {DIGEST})" in lines
    assert f"  {cache / 'b.pth'} (no digest is published)" in lines
    assert "download one of these files elsewhere; then give its path" in str(caught.value)


def test_a_damaged_file_in_the_cache_is_replaced(server, tmp_path):
    download = Download(address(server, "good"), DIGEST)
    path = fetch([download], tmp_path)
    path.write_bytes(CONTENT[:-5])
    assert fetch([download], tmp_path).read_bytes() == CONTENT
    assert len(server.requests) == 2
    path.write_bytes(b"")
    with pytest.raises(RunError, match=rf"{path}: damaged, or another file: its sha256 is \w+, not {DIGEST}\n"):
        fetch([Download(address(server, "missing"), DIGEST)], tmp_path)


def test_a_file_put_into_the_cache_by_hand_is_used(tmp_path):
    (tmp_path / "weights").mkdir()
    (tmp_path / "weights" / "a.pth").write_bytes(CONTENT)
    assert fetch([Download("https://nowhere.invalid/a.pth", DIGEST[:8])], tmp_path).read_bytes() == CONTENT


def test_a_file_in_the_cache_of_torch_hub_is_used(server, tmp_path, hub):
    hub.mkdir(parents=True)
    (hub / "a.pth").write_bytes(CONTENT)
    assert fetch([Download(address(server, "good"), DIGEST[:8])], tmp_path) == hub / "a.pth"
    assert server.requests == []
    (hub / "a.pth").write_bytes(b"half a fi")
    assert fetch([Download(address(server, "good"), DIGEST[:8])], tmp_path) == tmp_path / "weights" / "a.pth"
    assert (hub / "a.pth").read_bytes() == b"half a fi"  # torch's cache is not changed
    assert fetch([Download(address(server, "good"), renamed="b.pth")], tmp_path) == tmp_path / "weights" / "b.pth"


def test_without_a_published_digest_the_first_one_is_recorded(server, tmp_path):
    path = fetch([Download(address(server, "good"))], tmp_path)
    path.write_bytes(CONTENT[:-1])  # damaged: fetched again
    assert fetch([Download(address(server, "good"))], tmp_path).read_bytes() == CONTENT
    path.unlink()
    with pytest.raises(
        RunError, match="its sha256 differs from the first one"
    ) as caught:  # the published file has changed
        fetch([Download(address(server, "changed"))], tmp_path)
    record = tmp_path / "weights" / "a.pth.sha256"
    assert str(record) in str(caught.value)
    assert files(tmp_path / "weights") == ["a.pth.sha256"]
    record.unlink()
    assert fetch([Download(address(server, "changed"))], tmp_path).read_bytes() == CHANGED


def test_a_file_without_a_published_digest_must_be_weights(server, tmp_path):
    with pytest.raises(RunError, match="it is another file: cannot take weights from .*: it is a web page"):
        fetch([Download(address(server, "page"))], tmp_path)
    assert files(tmp_path / "weights") == []


def test_digests_of_gluon_are_those_of_the_file_in_the_archive(tmp_path):
    content = (FIXTURES / "net.params").read_bytes()
    archive = tmp_path / "net.zip"
    with zipfile.ZipFile(archive, "w") as new:
        new.writestr("net.params", content)
    digest = hashlib.sha1(content).hexdigest()
    assert zipfile.is_zipfile(fetch([Download(archive.as_uri(), digest, "sha1")], tmp_path / "cache"))
    with pytest.raises(RunError, match=f"its sha1 is {digest}, not 0123456789abcdef") as caught:
        fetch([Download(archive.as_uri(), "0123456789abcdef" * 2 + "01234567", "sha1")], tmp_path / "other")
    assert "sha1 of the .params file in it 0123456789abcdef" in str(caught.value)
    archive.write_bytes(b"PK")
    with pytest.raises(RunError, match=f"its sha1 is [0-9a-f]{{40}}, not {digest}"):
        fetch([Download(archive.as_uri(), digest, "sha1")], tmp_path / "other")
    with zipfile.ZipFile(archive, "w") as new:
        new.writestr("readme", b"")
    with pytest.raises(RunError, match=r"it contains no \.params file"):
        fetch([Download(archive.as_uri(), digest, "sha1")], tmp_path / "other")


def test_a_full_disk_stops_the_search(server, full_disk):
    with pytest.raises(RunError, match=r"cannot write .*a\.pth: (No space left|File too large)"):
        fetch([Download(address(server, "good")), Download(address(server, "good"))], full_disk)
    assert len(server.requests) == 1
    assert files(full_disk / "weights") == []


def test_a_cache_that_is_not_a_folder_is_an_error(server, tmp_path):
    (tmp_path / "weights").write_text("")
    with pytest.raises(RunError, match="cannot write .*weights"):
        fetch([Download(address(server, "good"))], tmp_path)


def fetch_all(barrier, downloads, cache):
    for download in downloads:
        barrier.wait(60)
        assert fetch([download], cache).read_bytes() == CONTENT


def test_processes_can_fetch_concurrently(server, tmp_path):
    downloads = [Download(address(server, "good", f"{number}.pth"), DIGEST) for number in range(20)]
    (tmp_path / "weights").mkdir()
    for download in downloads[::2]:
        (tmp_path / "weights" / download.file).write_bytes(b"damaged")
    context = multiprocessing.get_context("spawn")
    barrier = context.Barrier(3)
    processes = [context.Process(target=fetch_all, args=(barrier, downloads, tmp_path)) for _ in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [0, 0, 0]
    assert len(files(tmp_path / "weights")) == 40


@pytest.mark.parametrize(
    ("url", "digest", "message"),
    [
        (
            "ftp://host/a.pth",
            "",
            "'ftp://host/a.pth' is not the address of a file; files can be fetched from: https, http, file",
        ),
        ("data:,hello", "", "'data:,hello' is not the address"),
        ("https://host/", "", "'https://host/' is not the address"),
        ("https://host/a/..", "", "is not the address of a file"),
        ("https://host/a.pth", "12ab", "'12ab' is not a sha256 digest, which has 8 to 64 hex digits"),
        ("https://host/a.pth", "x" * 64, "is not a sha256 digest"),
    ],
)
def test_addresses_and_digests_are_checked(url, digest, message):
    with pytest.raises(InputError, match=message):
        Download(url, digest)
