"""download: resumed, checked and never half done, whatever the server, the disk or another program does."""

from __future__ import annotations

import collections
import errno
import hashlib
import io
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from weights_server import Server, Turn, serving

from manypose import download as module
from manypose import web
from manypose.download import cache_folder, check_file, download, locked
from manypose.errors import DownloadError, ManyposeError

CONTENT = bytes(hashlib.shake_256(b"weights").digest(20_500))
OTHER = bytes(reversed(CONTENT))
SHA256 = hashlib.sha256(CONTENT).hexdigest()
MD5 = hashlib.md5(CONTENT).hexdigest()
TAG = {"ETag": '"one"'}
HALF = Turn(cut=10_000, headers=TAG)
WHOLE = Turn(headers=TAG)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """No proxy in between, no pauses."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1,localhost")
    monkeypatch.setenv("no_proxy", "127.0.0.1,localhost")
    monkeypatch.setattr(module, "FIRST_WAIT", 0.001)
    monkeypatch.setattr(module, "LONGEST_WAIT", 0.01)
    monkeypatch.setattr(module, "LOCK_WAIT", 0.005)


@pytest.fixture
def server() -> Iterator[Server]:
    with serving(CONTENT) as server:
        yield server


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "deep" / "weights.bin"


def left_beside(file: Path) -> list[str]:
    return sorted(path.name for path in file.parent.iterdir() if path != file)


def test_a_file_comes_whole_and_nothing_lies_beside_it(server: Server, file: Path) -> None:
    seen: list[tuple[int, int | None]] = []
    given = download(
        server.url(), file, size=len(CONTENT), sha256=SHA256, md5=MD5, progress=lambda *now: seen.append(now)
    )
    assert given == file
    assert file.read_bytes() == CONTENT
    assert left_beside(file) == []
    assert (seen[0], seen[-1]) == ((0, 20_500), (20_500, 20_500))
    assert server.requests[0]["user-agent"].startswith("manypose/")


@pytest.mark.parametrize(
    "hashes",
    [
        {"sha256_prefix": SHA256[:8]},
        {"sha256_prefix": ("00000000", SHA256[:8])},
        {"sha256": SHA256.upper()},
        {"md5": MD5.upper()},
        {"sha256": SHA256, "sha256_prefix": SHA256[:8]},
    ],
)
def test_every_kind_of_hash_is_checked_and_fits(server: Server, file: Path, hashes: dict[str, Any]) -> None:
    assert download(server.url(), file, **hashes).read_bytes() == CONTENT


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        ({"sha256": "0" * 64}, f"SHA-256 is {SHA256}, expected 0{{64}}$"),
        ({"sha256_prefix": "dcbb9e9d"}, "expected dcbb9e9d at its start"),
        ({"sha256_prefix": ("f37072fd", "5c106cde")}, "expected f37072fd or 5c106cde at its start"),
        ({"sha256": SHA256, "sha256_prefix": "dcbb9e9d"}, "expected dcbb9e9d"),
        ({"md5": "0" * 32}, f"MD5 is {MD5}, expected 0{{32}}"),
        ({"md5": MD5, "sha256": "1" * 64}, "SHA-256 is"),
    ],
)
def test_a_wrong_hash_is_refused_and_the_file_removed(
    server: Server, file: Path, wrong: dict[str, Any], why: str
) -> None:
    with pytest.raises(DownloadError, match=why):
        download(server.url(), file, **wrong)
    assert not file.exists()
    assert left_beside(file) == []
    assert server.sent == [20_500]


def test_a_wrong_size_is_refused_before_anything_is_read(server: Server, file: Path) -> None:
    server.content = CONTENT * 500
    with pytest.raises(DownloadError, match="not the expected file: it has 10250000 bytes, expected 20500"):
        download(server.url(), file, size=20_500)
    assert server.sent[0] < 10_250_000
    assert not file.exists()


# Resuming


def test_a_broken_connection_is_gone_on_from_where_it_broke(server: Server, file: Path) -> None:
    server.turns = [HALF, Turn(cut=5_000, headers=TAG), WHOLE]
    download(server.url(), file, sha256=SHA256)
    assert file.read_bytes() == CONTENT
    assert server.sent == [10_000, 5_000, 5_500]
    assert [request.get("range") for request in server.requests] == [None, "bytes=10000-", "bytes=15000-"]
    assert server.requests[1]["if-range"] == '"one"'


def test_the_next_call_goes_on_from_what_the_last_one_left(server: Server, file: Path) -> None:
    server.turns = [HALF, WHOLE]
    with pytest.raises(
        DownloadError, match=r"broke off after 10000 of 20500 bytes, in 1 attempts; .*weights\.bin\.part"
    ):
        download(server.url(), file, retries=0)
    assert not file.exists()
    assert left_beside(file) == ["weights.bin.part", "weights.bin.part.json"]
    download(server.url(), file)
    assert file.read_bytes() == CONTENT
    assert server.sent == [10_000, 10_500]
    assert left_beside(file) == []


def test_a_file_that_has_changed_meanwhile_starts_anew(server: Server, file: Path) -> None:
    server.turns = [HALF, Turn(body=OTHER, headers={"ETag": '"two"'})]
    download(server.url(), file)
    assert file.read_bytes() == OTHER
    assert server.sent == [10_000, 20_500]


def test_a_part_of_another_version_is_not_appended_although_the_server_says_206(server: Server, file: Path) -> None:
    # This server does not know If-Range: it goes on in the new version.
    changed = Turn(status=206, body=OTHER, headers={"ETag": '"two"'}, content_range="bytes 10000-20499/20500")
    server.turns = [HALF, changed, Turn(body=OTHER, headers={"ETag": '"two"'})]
    download(server.url(), file)
    assert file.read_bytes() == OTHER


def test_without_version_and_hash_nobody_vouches_for_the_halves_and_it_starts_anew(server: Server, file: Path) -> None:
    server.turns = [Turn(cut=10_000), Turn()]
    download(server.url(), file)
    assert file.read_bytes() == CONTENT
    assert server.sent == [10_000, 20_500]


def test_a_hash_vouches_for_the_halves_where_the_server_names_no_version(server: Server, file: Path) -> None:
    server.turns = [Turn(cut=10_000), Turn()]
    download(server.url(), file, md5=MD5)
    assert server.sent == [10_000, 10_500]
    assert "if-range" not in server.requests[1]


@pytest.mark.parametrize("headers", [{"ETag": 'W/"weak"'}, {}])
def test_a_weak_tag_is_no_version(server: Server, file: Path, headers: dict[str, str]) -> None:
    server.turns = [Turn(cut=10_000, headers=headers), Turn(headers=headers)]
    download(server.url(), file)
    assert server.sent == [10_000, 20_500]


@pytest.mark.parametrize(
    "wrong",
    [
        Turn(ranges=False, headers=TAG),  # 200 and the whole file
        Turn(status=206, content_range="bytes 0-20499/20500", ranges=False, headers=TAG),
        Turn(status=206, content_range="bytes 9999-20498/20500", headers=TAG),
        Turn(status=206, content_range="bytes 10000-20499/15000", headers=TAG),
        Turn(status=206, content_range="bytes 10000-10001/20500", headers=TAG),  # other than its Content-Length
        Turn(status=206, content_range="all of it", headers=TAG),
        Turn(status=416, headers=TAG),
    ],
)
def test_a_server_that_cannot_go_on_starts_anew(server: Server, file: Path, wrong: Turn) -> None:
    server.turns = [HALF, wrong, WHOLE]
    download(server.url(), file)
    assert file.read_bytes() == CONTENT


def test_a_wrong_half_is_found_by_the_hash_and_the_file_fetched_once_more_in_one(server: Server, file: Path) -> None:
    server.turns = [Turn(cut=10_000, body=OTHER, headers=TAG), WHOLE]
    download(server.url(), file, sha256=SHA256)
    assert file.read_bytes() == CONTENT
    assert server.sent == [10_000, 10_500, 20_500]


@pytest.mark.parametrize("size", [20_501, 30_000])
def test_a_part_that_is_too_long_starts_anew(server: Server, file: Path, size: int) -> None:
    file.parent.mkdir()
    file.with_name("weights.bin.part").write_bytes(bytes(size))
    download(server.url(), file, size=20_500, md5=MD5)
    assert server.sent == [20_500]
    assert "range" not in server.requests[0]


def test_a_part_that_is_too_long_is_found_by_the_server_where_the_size_is_not_known(server: Server, file: Path) -> None:
    file.parent.mkdir()
    file.with_name("weights.bin.part").write_bytes(bytes(30_000))
    download(server.url(), file, md5=MD5)
    assert file.read_bytes() == CONTENT
    assert len(server.requests) == 2


def test_a_whole_part_needs_no_server(server: Server, file: Path) -> None:
    file.parent.mkdir()
    file.with_name("weights.bin.part").write_bytes(CONTENT)
    download(server.url(), file, size=20_500, md5=MD5)
    assert (file.read_bytes(), server.requests) == (CONTENT, [])


@pytest.mark.parametrize(
    "note", [b"", b"[]", b"\xff", b'{"url": 1}', b'{"url": "URL", "version": "a\\nX: b"}', b"[" * 9999]
)
def test_a_spoilt_note_is_no_version(server: Server, file: Path, note: bytes) -> None:
    file.parent.mkdir()
    file.with_name("weights.bin.part").write_bytes(OTHER[:10_000])
    file.with_name("weights.bin.part.json").write_bytes(note.replace(b"URL", server.url().encode()))
    assert download(server.url(), file).read_bytes() == CONTENT
    assert server.sent == [20_500]


# Servers that fail


def test_a_server_that_recovers_is_waited_for(server: Server, file: Path) -> None:
    server.turns = [Turn(status=500), Turn(status=503, headers={"Retry-After": "0"}), Turn()]
    assert download(server.url(), file).read_bytes() == CONTENT
    assert len(server.requests) == 3


def test_the_pauses_grow_and_the_server_may_ask_for_a_longer_one(
    server: Server, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pauses: list[float] = []
    monkeypatch.setattr(module, "FIRST_WAIT", 0.5)
    monkeypatch.setattr(module, "LONGEST_WAIT", 30.0)
    monkeypatch.setattr(module.time, "sleep", pauses.append)
    asks = Turn(status=429, headers={"Retry-After": "7"})
    server.turns = [Turn(status=502), Turn(status=502), asks, Turn(status=503, headers={"Retry-After": "99"}), Turn()]
    download(server.url(), file)
    assert pauses == [0.5, 1.0, 7.0, 30.0]


def test_a_server_that_never_recovers_is_given_up(server: Server, file: Path) -> None:
    server.turns = [Turn(status=500)]
    with pytest.raises(DownloadError, match=r"the server says 500 Internal Server Error, in 3 attempts$"):
        download(server.url(), file, retries=2)
    assert len(server.requests) == 3


@pytest.mark.parametrize("status", [401, 403, 404, 410])
def test_a_file_that_is_not_there_is_not_asked_for_again(server: Server, file: Path, status: int) -> None:
    server.turns = [Turn(status=status)]
    with pytest.raises(DownloadError, match=rf"weights\.bin: the server says {status}"):
        download(server.url(), file)
    assert len(server.requests) == 1
    assert left_beside(file) == []


def test_a_short_body_is_never_taken_for_the_file(server: Server, file: Path) -> None:
    server.turns = [Turn(cut=20_000)]
    with pytest.raises(DownloadError, match="broke off after 20000 of 20500 bytes, in 2 attempts"):
        download(server.url(), file, retries=1)
    assert not file.exists()


def test_a_silent_server_is_given_up_after_the_timeout_and_gone_on_from(server: Server, file: Path) -> None:
    server.turns = [Turn(pause=1.0, headers=TAG), WHOLE]
    download(server.url(), file, timeout=0.1)
    assert file.read_bytes() == CONTENT
    assert server.requests[1]["range"] == "bytes=11000-"


def test_attempts_that_bring_much_do_not_count_as_failures(
    server: Server, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "ENOUGH", 1_000)
    server.turns = [Turn(cut=2_000, headers=TAG)] * 10 + [WHOLE]
    download(server.url(), file, retries=0)
    assert file.read_bytes() == CONTENT
    assert server.sent == [2_000] * 10 + [500]


def test_no_server_at_all(file: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound, but nobody listens
        port = taken.getsockname()[1]
        with pytest.raises(DownloadError, match=r"no connection: .*refused, in 2 attempts"):
            download(f"http://127.0.0.1:{port}/x", file, retries=1)


def test_chunks_need_no_length(server: Server, file: Path) -> None:
    server.turns = [Turn(chunked=True)]
    assert download(server.url(), file).read_bytes() == CONTENT


def test_chunks_that_break_off_are_noticed(server: Server, file: Path) -> None:
    server.turns = [Turn(chunked=True, cut=10_000, headers=TAG), WHOLE]
    assert download(server.url(), file).read_bytes() == CONTENT
    assert server.sent == [10_000, 10_500]


def test_without_length_only_a_size_or_hash_tells_that_the_file_is_whole(server: Server, file: Path) -> None:
    server.turns = [Turn(length=False, cut=10_000)]
    with pytest.raises(DownloadError, match="does not say how long the file is; give its size or a hash of it"):
        download(server.url(), file)
    server.turns = [Turn(length=False)]
    assert download(server.url(), file, md5=MD5).read_bytes() == CONTENT


@pytest.mark.parametrize("turn", [Turn(), Turn(chunked=True), Turn(length=False)])
def test_no_more_than_the_limit_is_read(server: Server, file: Path, turn: Turn) -> None:
    server.content = CONTENT * 500
    server.turns = [turn]
    with pytest.raises(DownloadError, match=r"(more than the 5000|larger than 5000)"):
        download(server.url(), file, limit=5_000)
    assert server.sent[0] < len(server.content)
    assert not file.with_name("weights.bin.part").exists()


def test_the_page_of_a_store_is_not_taken_for_the_file(server: Server, file: Path) -> None:
    server.turns = [Turn(body=b"<html>Confirm", headers={"Content-Type": "text/html; charset=utf-8"})]
    with pytest.raises(DownloadError, match="is a web page, not a file"):
        download(server.url(), file)


# Addresses


def test_redirections_are_followed_to_the_web_only(server: Server, file: Path, tmp_path: Path) -> None:
    server.turns = [Turn(status=302, headers={"Location": server.url("elsewhere")}), Turn()]
    assert download(server.url(), file).read_bytes() == CONTENT
    (tmp_path / "secret").write_bytes(b"secret")
    for place in ((tmp_path / "secret").as_uri(), "ftp://127.0.0.1/x", "data:,x"):
        server.requests.clear()
        server.turns = [Turn(status=302, headers={"Location": place})]
        with pytest.raises(DownloadError, match=r"not allowed|not an address"):
            download(server.url(), tmp_path / "taken")
        assert not (tmp_path / "taken").exists()


def test_a_redirection_does_not_give_up_https() -> None:
    with pytest.raises(DownloadError, match="leads to http://b/, which is not followed: it is not https"):
        web.check_address("http://b/", before="https://a/")
    assert web.check_address("https://b/", before="http://a/") == "https"
    assert web.check_address("http://b/", before="http://a/") == "http"


def test_redirections_in_a_circle_end(server: Server, file: Path) -> None:
    server.turns = [Turn(status=302, headers={"Location": server.url()})]
    with pytest.raises(DownloadError, match="infinite loop"):
        download(server.url(), file)


@pytest.mark.parametrize(
    "url",
    [
        "ftp://a/b",
        "data:,x",
        "a/b",
        "",
        "file://elsewhere/x",
        "http://[::1",
        "http://a:port/",
        "http://a b/",
        "http:///x",
    ],
)
def test_what_is_no_address_of_the_web_or_a_file_is_refused(url: str, file: Path) -> None:
    with pytest.raises(DownloadError, match="not an address"):
        download(url, file, retries=0)


def test_a_local_file_by_its_address(tmp_path: Path, file: Path) -> None:
    source = tmp_path / "ä b%.bin"
    source.write_bytes(CONTENT)
    assert download(source.as_uri(), file, sha256=SHA256).read_bytes() == CONTENT
    with pytest.raises(DownloadError, match=r"absent: cannot be read: No such file"):
        download((tmp_path / "absent").as_uri(), tmp_path / "other")
    with pytest.raises(DownloadError, match="expected 0000"):
        download(source.as_uri(), tmp_path / "other", md5="0000")
    assert not (tmp_path / "other").exists()


# What is there already


def test_a_file_that_is_there_is_checked_and_given_back(server: Server, file: Path) -> None:
    file.parent.mkdir()
    file.write_bytes(CONTENT)
    assert download(server.url(), file, size=20_500, sha256=SHA256) == file
    assert server.requests == []
    file.write_bytes(OTHER)
    with pytest.raises(DownloadError, match=r"weights\.bin: not the expected file: its SHA-256"):
        download(server.url(), file, sha256=SHA256)
    assert file.read_bytes() == OTHER
    download(server.url(), file, sha256=SHA256, overwrite=True)
    assert file.read_bytes() == CONTENT


def test_a_failed_download_leaves_the_file_that_was_there(server: Server, file: Path) -> None:
    file.parent.mkdir()
    file.write_bytes(OTHER)
    server.turns = [Turn(cut=10_000)]
    with pytest.raises(DownloadError, match="broke off"):
        download(server.url(), file, retries=0, overwrite=True)
    assert file.read_bytes() == OTHER


def test_check_file(tmp_path: Path) -> None:
    file = tmp_path / "x"
    file.write_bytes(CONTENT)
    check_file(file, size=20_500, md5=MD5, sha256=SHA256, sha256_prefix=SHA256[:8])
    with pytest.raises(DownloadError, match="x: not the expected file: it has 20500 bytes, expected 1"):
        check_file(file, size=1)
    with pytest.raises(DownloadError, match="absent: cannot be read: No such file"):
        check_file(tmp_path / "absent", size=1)


# The disk


def test_a_full_disk_is_noticed_before_anything_is_read(
    server: Server, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = collections.namedtuple("usage", "total used free")
    monkeypatch.setattr(module.shutil, "disk_usage", lambda folder: usage(100, 100, module.SPARE + 20_499))
    with pytest.raises(DownloadError, match=r"weights\.bin: the disk is full: 67 MB needed, 67 MB free"):
        download(server.url(), file)
    assert not file.with_name("weights.bin.part").exists()
    # What has come takes its room already: the rest fits.
    file.with_name("weights.bin.part").write_bytes(CONTENT[:1])
    assert download(server.url(), file, md5=MD5).read_bytes() == CONTENT


def test_a_disk_that_fills_up_meanwhile(server: Server, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Full(io.BufferedWriter):
        def write(self, data: Any, /) -> int:
            raise OSError(errno.ENOSPC, "No space left on device")

    def opened(path: Any, mode: str) -> Any:
        return Full(io.FileIO(path, mode)) if str(path).endswith(".part") else open(path, mode)

    monkeypatch.setattr(module, "open", opened, raising=False)
    with pytest.raises(
        DownloadError, match=r"weights\.bin: cannot be written: the disk is full; what has come is kept"
    ):
        download(server.url(), file)
    assert not file.exists()


def test_a_folder_that_cannot_be_made(server: Server, tmp_path: Path) -> None:
    (tmp_path / "taken").write_bytes(b"")
    with pytest.raises(DownloadError, match="cannot be written"):
        download(server.url(), tmp_path / "taken" / "weights.bin")


# Others who want the same


def test_of_many_who_want_one_file_one_fetches_it(server: Server, file: Path) -> None:
    server.turns = [Turn(pause=0.02)]
    got: list[bytes] = []
    threads = [
        threading.Thread(target=lambda: got.append(download(server.url(), file, sha256=SHA256).read_bytes()))
        for _ in range(6)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert got == [CONTENT] * 6
    assert len(server.requests) == 1
    assert left_beside(file) == []


def test_two_programs_that_overwrite_one_file_take_turns(server: Server, file: Path) -> None:
    server.turns = [Turn(pause=0.02, headers=TAG)]
    code = (
        "import sys; from pathlib import Path; from manypose.download import download\n"
        "download(sys.argv[1], Path(sys.argv[2]), md5=sys.argv[3], overwrite=True)"
    )
    source = str(Path(module.__file__).parents[1])
    command = [sys.executable, "-W", "error", "-c", code, server.url(), str(file), MD5]
    programs = [subprocess.Popen(command, env={**os.environ, "PYTHONPATH": source}) for _ in range(2)]
    assert [program.wait(60) for program in programs] == [0, 0]
    assert file.read_bytes() == CONTENT
    assert server.sent == [20_500, 20_500]


def test_the_lock_of_a_program_that_died_does_not_hold(server: Server, file: Path) -> None:
    file.parent.mkdir()
    file.with_name("weights.bin.lock").write_bytes(b"")
    assert download(server.url(), file).read_bytes() == CONTENT


def test_whoever_waits_is_told_so_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    held, entered = threading.Event(), []

    def wait() -> None:
        with locked(tmp_path / "x.onnx"):
            entered.append(True)

    with locked(tmp_path / "x.onnx"):
        waiting = threading.Thread(target=wait)
        waiting.start()
        held.wait(0.1)
        assert entered == []
    waiting.join()
    assert entered == [True]
    assert [record.message for record in caplog.records] == [
        f"waiting for another program that is making {tmp_path / 'x.onnx'}"
    ]


# The cache


@pytest.mark.parametrize(
    ("system", "variables", "expected"),
    [
        ("linux", {}, "/home/me/.cache/manypose"),
        ("linux", {"XDG_CACHE_HOME": "/big/cache"}, "/big/cache/manypose"),
        ("linux", {"XDG_CACHE_HOME": "not/absolute"}, "/home/me/.cache/manypose"),
        ("darwin", {}, "/home/me/Library/Caches/manypose"),
        ("win32", {"LOCALAPPDATA": "/users/me/local"}, "/users/me/local/manypose"),
        ("win32", {}, "/home/me/AppData/Local/manypose"),
        ("linux", {"MANYPOSE_CACHE": "/mine", "XDG_CACHE_HOME": "/big/cache"}, "/mine"),
        ("linux", {"MANYPOSE_CACHE": "~/mine"}, "/home/me/mine"),
    ],
)
@pytest.mark.skipif(os.name == "nt", reason="the folders are written as on POSIX")
def test_the_cache_lies_where_the_system_keeps_caches(
    monkeypatch: pytest.MonkeyPatch, system: str, variables: dict[str, str], expected: str
) -> None:
    for name in ("MANYPOSE_CACHE", "XDG_CACHE_HOME", "LOCALAPPDATA"):
        monkeypatch.delenv(name, raising=False)
    for name, value in {"HOME": "/home/me", **variables}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(module.sys, "platform", system)
    assert cache_folder() == Path(expected)


def test_a_user_without_a_home_is_told_what_to_set(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_home() -> Path:
        raise RuntimeError("Could not determine home directory.")

    for name in ("MANYPOSE_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(module.sys, "platform", "linux")
    monkeypatch.setattr(Path, "home", staticmethod(no_home))
    with pytest.raises(ManyposeError, match="MANYPOSE_CACHE"):
        cache_folder()
