"""Writing in one step, and never over somebody's file."""

from __future__ import annotations

import os
import zipfile
from pathlib import Path

import pytest

from manypose.errors import DataError, OutputError
from manypose.files import read_member, write_bytes


def test_bytes_arrive_and_nothing_else_is_left(tmp_path: Path) -> None:
    write_bytes(tmp_path / "a.json", b"[]")
    assert (tmp_path / "a.json").read_bytes() == b"[]"
    assert os.listdir(tmp_path) == ["a.json"]


def test_the_file_has_the_rights_of_any_other_new_file(tmp_path: Path) -> None:
    (tmp_path / "plain").touch()
    write_bytes(tmp_path / "ours", b"")
    assert (tmp_path / "ours").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_an_existing_file_is_kept_unless_overwriting_is_allowed(tmp_path: Path) -> None:
    write_bytes(tmp_path / "a", b"old")
    with pytest.raises(OutputError, match="a: the file exists; choose another name, or allow overwriting"):
        write_bytes(tmp_path / "a", b"new")
    assert (tmp_path / "a").read_bytes() == b"old"
    write_bytes(tmp_path / "a", b"new", overwrite=True)
    assert (tmp_path / "a").read_bytes() == b"new"


def test_a_file_that_appears_meanwhile_is_kept_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a").write_bytes(b"theirs")
    monkeypatch.setattr(Path, "exists", lambda _: False)
    with pytest.raises(OutputError, match="a: somebody else has just written that file"):
        write_bytes(tmp_path / "a", b"ours")
    assert (tmp_path / "a").read_bytes() == b"theirs"
    assert os.listdir(tmp_path) == ["a"]


def test_without_hard_links_the_file_is_renamed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    write_bytes(tmp_path / "a", b"ours")
    assert (tmp_path / "a").read_bytes() == b"ours"
    assert os.listdir(tmp_path) == ["a"]


@pytest.mark.parametrize(
    ("name", "message"), [("", "is a folder; give the name of a file"), ("no/a", "the folder .*no does not exist")]
)
def test_places_where_nothing_can_be_written(tmp_path: Path, name: str, message: str) -> None:
    with pytest.raises(OutputError, match=message):
        write_bytes(tmp_path / name, b"")


def test_what_the_disk_refuses_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(OutputError, match="a: cannot be written: No space left on device"):
        write_bytes(tmp_path / "a", b"ours", overwrite=True)
    assert os.listdir(tmp_path) == []


def write_zip(file: Path, **members: bytes) -> Path:
    with zipfile.ZipFile(file, "w") as made:
        for name, data in members.items():
            made.writestr(name, data)
    return file


def test_a_zip_file_that_is_written_anew_is_read_anew(tmp_path: Path) -> None:
    file = write_zip(tmp_path / "a.zip", one=b"first")
    assert read_member(file, "one") == b"first"
    write_zip(file, one=b"second, longer", two=b"2")
    assert read_member(file, "one") == b"second, longer"
    write_zip(tmp_path / "b.zip", one=b"replace", two=b"2").replace(file)
    assert read_member(file, "one") == b"replace"
    file.unlink()
    with pytest.raises(DataError, match=r"a\.zip: cannot read one: No such file or directory"):
        read_member(file, "one")
