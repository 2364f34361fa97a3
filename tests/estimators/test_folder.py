"""Files, folders and patterns become sources with names of their own; nothing here runs a network."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from manypose.estimators.folder import Failure, Source, find_pictures
from manypose.estimators.results import image_ids


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of files that are named like pictures, which is also the current one."""
    names = (
        "b.png",
        "a.JPG",
        "notes.txt",
        ".hidden.jpg",
        "one/a.jpg",
        "one/two/a.jpg",
        ".git/a.jpg",
        "out/a_people.jpg",
    )
    for name in names:
        (tmp_path / "in" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "in" / name).write_bytes(b"")
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def names_of(inputs: Sequence[str], *, recursive: bool = False, leave_out: Path | None = None) -> list[str]:
    found = find_pictures(inputs, recursive=recursive, leave_out=leave_out)
    assert all(isinstance(source, Source) for source in found)
    return [source.name for source in found if isinstance(source, Source)]


@pytest.mark.parametrize(
    ("inputs", "names"),
    [
        (["in"], ["a", "b"]),  # sorted, without text and hidden files
        (["in/b.png", "in"], ["b", "a"]),  # the order of the inputs, each file once
        (["in/notes.txt"], ["notes"]),  # what is named is taken: opening it says what is wrong
        (["gone.jpg"], ["gone"]),
        (["in/*.png"], ["b"]),
        (["in/*"], ["a", "b"]),  # no folders, no text
        (["in/*/a.jpg"], ["one/a"]),  # the part below the fixed folder
        (["in/one/**/*.jpg"], ["a", "two/a"]),
        (["in/a.JPG", "in/one/a.jpg"], ["a", "a_2"]),
        (["in/../in/one/../*.png"], ["b"]),
        (["https://example.org/a.jpg?b=*"], ["a"]),  # an address is no pattern
    ],
)
def test_inputs_become_names(tree: Path, inputs: list[str], names: list[str]) -> None:
    assert names_of(inputs) == names


def test_recursive_folders_keep_their_structure_without_the_results_of_before(tree: Path) -> None:
    assert names_of(["in"], recursive=True, leave_out=Path("in/out")) == ["a", "b", "one/a", "one/two/a"]


def test_results_that_are_asked_for_themselves_are_taken(tree: Path) -> None:
    assert names_of(["in/out"], leave_out=Path("in/out")) == ["a_people"]


def test_a_number_never_takes_the_name_of_another_picture(tree: Path) -> None:
    for name in ("x/A.png", "x/a_2.png", "y/a.png"):
        (tree / name).parent.mkdir(exist_ok=True)
        (tree / name).write_bytes(b"")
    assert names_of(["x/A.png", "y/a.png", "x/a_2.png"]) == ["A", "a_3", "a_2"]


def test_a_file_whose_name_is_a_pattern_is_that_file(tree: Path) -> None:
    (tree / "a[b].png").write_bytes(b"")
    assert names_of(["a[b].png"]) == ["a[b]"]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("empty", "empty: no picture in this folder .*--recursive"),
        ("in/*.webp", r"in/\*.webp: no picture matches this pattern; check the path"),
        ("", "an input is empty: give the path of a picture or of a folder"),
    ],
)
def test_an_input_without_pictures_is_a_failure(tree: Path, given: str, message: str) -> None:
    first, failure = find_pictures(["in/b.png", given])
    assert isinstance(first, Source)
    assert isinstance(failure, Failure)
    with pytest.raises(Exception, match=message):
        raise failure.error


@pytest.mark.parametrize(
    ("names", "ids"),
    [
        (["COCO_val2014_000000000139.jpg", "000000000285.jpg"], [139, 285]),
        (["beach.jpg", "7.jpg"], [1, 2]),  # one without digits: all are numbered
        (["a1.jpg", "b01.jpg"], [1, 2]),  # the same id twice: all are numbered
        (["9" * 30 + ".jpg"], [1]),  # more than an id can hold
        (["a٣.jpg", "b4.jpg"], [1, 2]),  # only the digits 0 to 9 count
    ],
)
def test_image_ids_come_from_names_where_they_can(names: list[str], ids: list[int]) -> None:
    sources = [Source(Path(name), Path(name).stem) for name in names]
    assert list(image_ids(sources).values()) == ids
