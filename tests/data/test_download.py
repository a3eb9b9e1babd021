import fcntl
import io
import re
import shutil
import threading
import zipfile
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest

from decofuse.data import download as module
from decofuse.data.download import download
from decofuse.errors import UserError


def make_zip(seed: int) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("top/data.bin", np.random.default_rng(seed).bytes(1_000_000))
    return out.getvalue()


OLD, NEW = make_zip(0), make_zip(1)


@dataclass
class Site:
    """A web server with one file and the faults that a test asks for."""

    url: str = ""
    content: bytes = OLD
    headers: dict[str, str] = field(default_factory=lambda: {"ETag": '"old"'})
    ranges: str = "honoured"  # or "ignored", or "careless": a range is served even if the file has changed
    faults: list[object] = field(default_factory=list)  # one a request: a status to answer, or "cut"
    requests: list[dict[str, str]] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)
    sent: int = 0


@pytest.fixture
def site(monkeypatch):
    monkeypatch.setattr(module, "WAIT_S", 0.0)
    site = Site()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            site.requests.append(dict(self.headers))
            site.paths.append(self.path)
            fault = site.faults.pop(0) if site.faults else None
            if isinstance(fault, int):
                self.send_error(fault)
                return
            start = self.start_of_range()
            if start is not None and start >= len(site.content):
                self.send_error(416)
                return
            body = site.content[start or 0 :]
            self.send_response(200 if start is None else 206)
            if start is not None:
                self.send_header("Content-Range", f"bytes {start}-{len(site.content) - 1}/{len(site.content)}")
            for name, value in site.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            body = body[: len(body) // 2] if fault == "cut" else body
            self.wfile.write(body)
            site.sent += len(body)

        def start_of_range(self):
            asked = re.match(r"bytes=(\d+)-", self.headers.get("Range", ""))
            if asked is None or site.ranges == "ignored":
                return None
            same = self.headers.get("If-Range") in site.headers.values()
            return int(asked[1]) if same or site.ranges == "careless" else None

        def log_message(self, *args):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        site.url = f"http://127.0.0.1:{server.server_port}/owner/name.zip"
        yield site
        server.shutdown()


@pytest.fixture
def target(tmp_path):
    return tmp_path / "archives" / "name.zip"


def left(target):
    return sorted(path.name for path in target.parent.iterdir())


def cut_once_and_fail(site, target, monkeypatch):
    site.faults = ["cut"]
    with monkeypatch.context() as patch:
        patch.setattr(module, "ATTEMPTS", 1)
        with pytest.raises(UserError, match=r"cut off.*1 attempts, \d+ bytes kept; .*run again"):
            download(site.url, target)
    assert left(target) == ["name.zip.part", "name.zip.part.json"]


def test_whole(site, target):
    download(site.url, target)
    assert target.read_bytes() == OLD
    assert left(target) == ["name.zip"]


def test_resumes_by_itself_after_cuts(site, target):
    site.faults = ["cut", "cut"]
    download(site.url, target)
    assert target.read_bytes() == OLD
    assert site.sent <= len(OLD) + 2 * module.CHUNK_BYTES  # what had arrived was not sent again
    assert [("Range" in request, request.get("If-Range")) for request in site.requests[1:]] == [(True, '"old"')] * 2


def test_resumes_in_a_later_call(site, target, monkeypatch):
    cut_once_and_fail(site, target, monkeypatch)
    download(site.url, target)
    assert target.read_bytes() == OLD
    assert site.sent <= len(OLD) + module.CHUNK_BYTES
    assert left(target) == ["name.zip"]


def test_resumes_by_date_where_the_etag_is_weak(site, target):
    site.headers = {"ETag": 'W/"old"', "Last-Modified": "Mon, 01 Jan 2024 00:00:00 GMT"}
    site.faults = ["cut"]
    download(site.url, target)
    assert target.read_bytes() == OLD
    assert site.requests[1]["If-Range"] == "Mon, 01 Jan 2024 00:00:00 GMT"


@pytest.mark.parametrize("ranges", ["honoured", "ignored", "careless"])
def test_changed_file_is_not_spliced(site, target, monkeypatch, ranges):
    cut_once_and_fail(site, target, monkeypatch)
    site.content, site.headers, site.ranges = NEW, {"ETag": '"new"'}, ranges
    download(site.url, target)
    assert target.read_bytes() == NEW


def test_server_without_ranges_starts_over(site, target):
    site.ranges, site.faults = "ignored", ["cut"]
    download(site.url, target)
    assert target.read_bytes() == OLD


def test_starts_over_where_the_version_is_unknown(site, target):
    site.headers, site.faults = {}, ["cut"]
    download(site.url, target)
    assert target.read_bytes() == OLD
    assert "Range" not in site.requests[1]


def test_part_of_another_address_is_not_used(site, target, monkeypatch):
    cut_once_and_fail(site, target, monkeypatch)
    site.content = NEW
    download(site.url + "?other", target)
    assert target.read_bytes() == NEW


def test_complete_part_is_fetched_again(site, target, monkeypatch):
    cut_once_and_fail(site, target, monkeypatch)
    target.with_name("name.zip.part").write_bytes(OLD)  # killed just before the file was moved into place
    download(site.url, target)
    assert target.read_bytes() == OLD


def test_busy_server_is_asked_again(site, target):
    site.faults = [503, 429]
    download(site.url, target)
    assert target.read_bytes() == OLD


def test_down_for_good(site, target):
    site.faults = [503] * 99
    with pytest.raises(UserError, match=r"name\.zip: the server answered 503 .*, 5 attempts, 0 bytes kept"):
        download(site.url, target)
    assert len(site.requests) == module.ATTEMPTS
    assert left(target) == []


def test_missing_file_is_not_asked_for_again(site, target):
    site.faults = [404]
    with pytest.raises(
        UserError, match=r"expected an archive, found HTTP 404 .*; check the address, or set DECOFUSE_MI"
    ):
        download(site.url, target)
    assert len(site.requests) == 1
    assert left(target) == []


def test_no_network(site, target):
    closed = "http://127.0.0.1:9/owner/name.zip"
    with pytest.raises(UserError, match=r"could not reach 127\.0\.0\.1:9 .*check the network and run again"):
        download(closed, target)
    assert left(target) == []


@pytest.mark.parametrize("headers", [{"Content-Type": "text/html; charset=utf-8"}, {"ETag": '"old"'}])
def test_web_page_is_refused_and_the_old_archive_kept(site, target, headers):
    target.parent.mkdir()
    target.write_bytes(OLD)
    site.content, site.headers = b"<html>log in first</html>", headers
    with pytest.raises(UserError, match=r"expected an? (ZIP )?archive, found (a web page|25 bytes of something else)"):
        download(site.url, target)
    assert left(target) == ["name.zip"]
    assert target.read_bytes() == OLD


@pytest.mark.parametrize("length", ["announced", "hidden"])
def test_too_large(site, target, monkeypatch, length):
    monkeypatch.setattr(module, "MAX_BYTES", 1000)
    if length == "hidden":
        monkeypatch.setattr(module, "_require_room", lambda *_: None)
    with pytest.raises(UserError, match=r"expected a ZIP archive, found .*1000"):
        download(site.url, target)
    assert left(target) == []


def test_disk_full(site, target, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10, 10, 0))
    with pytest.raises(UserError, match=r"name\.zip: could not be written \(No space left on device\); .*free space"):
        download(site.url, target)
    assert left(target) == []


def test_two_at_a_time_are_refused(site, target):
    target.parent.mkdir()
    with target.with_name("name.zip.part").open("ab") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        with pytest.raises(UserError, match=r"another process is downloading .*; wait for it"):
            download(site.url, target)


def test_mirror_address(site, target):
    download("https://example.org/owner/name.zip", target, mirror=site.url.removesuffix("/owner/name.zip") + "/copies/")
    assert site.paths == ["/copies/example.org/owner/name.zip"]
    assert target.read_bytes() == OLD


def test_mirror_folder(tmp_path, target):
    copy = tmp_path / "mirror" / "example.org" / "owner" / "name.zip"
    with pytest.raises(UserError, match=r"example\.org/owner/name\.zip: expected this file in the mirror, found none"):
        download("https://example.org/owner/name.zip", target, mirror=str(tmp_path / "mirror"))
    copy.parent.mkdir(parents=True)
    copy.write_bytes(b"no archive")
    with pytest.raises(UserError, match=r"name\.zip: expected a ZIP archive, found 10 bytes of something else"):
        download("https://example.org/owner/name.zip", target, mirror=str(tmp_path / "mirror"))
    assert left(target) == []
    copy.write_bytes(OLD)
    download("https://example.org/owner/name.zip", target, mirror=str(tmp_path / "mirror"))
    assert target.read_bytes() == OLD
