"""Archives of strangers: what is in them comes out whole, and nothing else happens."""

from __future__ import annotations

import io
import os
import tarfile
import zipfile
from collections import namedtuple
from pathlib import Path

import pytest

from manypose.data import archives
from manypose.data.archives import unpack
from manypose.errors import DataError, OutputError

FILES = {"images/a.jpg": b"a" * 5000, "images/deep/b.jpg": b"b" * 100, "read me.txt": b""}


def make_zip(file: Path, members: dict[str, bytes], *, mode: int = 0o100644) -> Path:
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as made:
        for name, data in members.items():
            info = zipfile.ZipInfo(name)
            info.external_attr = mode << 16
            made.writestr(info, data)
    return file


def make_tar(file: Path, members: dict[str, bytes], *, kind: bytes = tarfile.REGTYPE) -> Path:
    with tarfile.open(file, "w:gz") as made:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size, info.type, info.linkname = len(data), kind, "/etc/passwd"
            made.addfile(info, io.BytesIO(data))
    return file


def content(folder: Path) -> dict[str, bytes]:
    return {f.relative_to(folder).as_posix(): f.read_bytes() for f in folder.rglob("*") if f.is_file()}


@pytest.mark.parametrize("make", [make_zip, make_tar])
def test_what_is_in_comes_out(tmp_path: Path, make: object) -> None:
    archive = make_zip(tmp_path / "x", FILES) if make is make_zip else make_tar(tmp_path / "x", FILES)
    told: list[int] = []
    made = unpack(archive, tmp_path / "out", limit=10_000, progress=lambda done, total: told.append(done))
    assert content(tmp_path / "out") == FILES
    assert [file.relative_to(tmp_path / "out").as_posix() for file in made] == list(FILES)
    assert told[-1] == 5100


def test_folders_can_be_left_out(tmp_path: Path) -> None:
    unpack(make_tar(tmp_path / "x", {"mpii/train.json": b"{}"}), tmp_path / "out", limit=10, flat=True)
    assert content(tmp_path / "out") == {"train.json": b"{}"}


def test_what_macos_adds_is_left_out(tmp_path: Path) -> None:
    archive = make_zip(tmp_path / "x", {"__MACOSX/a": b"1", "images/._a.jpg": b"2", "images/a.jpg": b"3"})
    unpack(archive, tmp_path / "out", limit=10)
    assert content(tmp_path / "out") == {"images/a.jpg": b"3"}


@pytest.mark.parametrize("name", ["../x", "a/../../x", "/x", "C:/x", "a\\..\\x", "a\nb"])
@pytest.mark.parametrize("make", [make_zip, make_tar])
def test_a_member_that_leads_elsewhere_is_refused(tmp_path: Path, make: object, name: str) -> None:
    (tmp_path / "in").mkdir()
    archive = (make_zip if make is make_zip else make_tar)(tmp_path / "in" / "x", {name: b"evil"})
    with pytest.raises(DataError, match="does not name a place inside"):
        unpack(archive, tmp_path / "in" / "out", limit=100)
    assert content(tmp_path) == {"in/x": archive.read_bytes()}


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE])
def test_links_and_devices_of_tar_files_are_refused(tmp_path: Path, kind: bytes) -> None:
    with pytest.raises(DataError, match="a is a link or device"):
        unpack(make_tar(tmp_path / "x", {"a": b""}, kind=kind), tmp_path / "out", limit=100)


def test_links_of_zip_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="a is a link or device"):
        unpack(make_zip(tmp_path / "x", {"a": b"/etc/passwd"}, mode=0o120777), tmp_path / "out", limit=100)


@pytest.mark.skipif(os.name == "nt", reason="links need rights there")
def test_a_link_that_is_there_already_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "out" / "images").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(DataError, match="would lie outside"):
        unpack(make_zip(tmp_path / "x", FILES), tmp_path / "out", limit=10_000)
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_no_more_than_the_limit_comes_out(tmp_path: Path) -> None:
    bomb = {"zeros": bytes(50_000_000)}
    with pytest.raises(DataError, match="50000000 bytes would come out of it, more than the 1000000"):
        unpack(make_zip(tmp_path / "x.zip", bomb), tmp_path / "out", limit=1_000_000)
    with pytest.raises(DataError, match="more than 1000000 bytes come out"):
        unpack(make_tar(tmp_path / "x.tar.gz", bomb), tmp_path / "out", limit=1_000_000)
    assert content(tmp_path / "out") == {}


def test_the_disk_is_looked_at_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(archives.shutil, "disk_usage", lambda folder: usage(1, 1, 1000))
    with pytest.raises(OutputError, match="the disk is full: 67 MB needed"):
        unpack(make_zip(tmp_path / "x", FILES), tmp_path / "out", limit=10_000)


@pytest.mark.parametrize("make", [make_zip, make_tar])
def test_damaged_archives_are_named(tmp_path: Path, make: object) -> None:
    members = {"a": os.urandom(20_000)}
    whole = (make_zip if make is make_zip else make_tar)(tmp_path / "whole", members).read_bytes()
    damaged = {"half": whole[:10_000], "bent": whole[:5000] + bytes(100) + whole[5100:], "empty": b"", "text": b"text"}
    for name, data in damaged.items():
        (tmp_path / name).write_bytes(data)
        with pytest.raises(DataError, match=rf"{name}: (damaged|a is cut off|there is no file)"):
            unpack(tmp_path / name, tmp_path / "out", limit=100_000)
        assert content(tmp_path / "out") == {} if (tmp_path / "out").exists() else True


def test_unpacking_again_goes_on_but_writes_over_nothing_else(tmp_path: Path) -> None:
    archive = make_zip(tmp_path / "x", FILES)
    out = tmp_path / "out"
    (out / "images").mkdir(parents=True)
    (out / "images" / "a.jpg").write_bytes(FILES["images/a.jpg"])
    unpack(archive, out, limit=10_000)
    assert content(out) == FILES
    (out / "images" / "a.jpg").write_bytes(b"mine")
    with pytest.raises(OutputError, match=r"a\.jpg: something else is there"):
        unpack(archive, out, limit=10_000)
    assert (out / "images" / "a.jpg").read_bytes() == b"mine"
    unpack(archive, out, limit=10_000, overwrite=True)
    assert content(out) == FILES
