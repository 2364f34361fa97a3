"""`manypose compare`: the table, and the file with pictures."""

from __future__ import annotations

import sys
from argparse import ArgumentParser
from pathlib import Path

import cv2
import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "evaluation"))
from pictured_runs import write_two_runs

from manypose.cli import compare
from manypose.errors import FormatError, OutputError


def run(*arguments: object) -> int:
    parser = compare.add_parser(ArgumentParser().add_subparsers())
    return compare.run(parser.parse_intermixed_args([str(argument) for argument in arguments]))


def test_the_table_has_every_figure_and_the_pictures(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _, good, bad = write_two_runs(tmp_path)
    assert run(good, bad, "--top", 1) == 0
    out = capsys.readouterr().out
    assert "A = good, B = bad, on 6 pictures of " in out
    row = next(line.split() for line in out.splitlines() if line.startswith(" Average precision (AP)"))
    first, second, difference = map(float, row[3:6])
    assert difference == pytest.approx(first - second, abs=0.0011)
    assert row[-1] == "*"  # a clear difference
    assert "3.png" in out
    assert "1.png" not in out


def test_pages_and_sheets_are_written_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _, good, bad = write_two_runs(tmp_path)
    page, sheet = tmp_path / "page.html", tmp_path / "sheet.png"
    assert run(good, bad, "--out", page) == 0
    assert f"-> {page}" in capsys.readouterr().out
    assert b"<h1>good and bad</h1>" in page.read_bytes()
    assert run(good, bad, "--out", sheet, "--top", 2) == 0
    assert cv2.imread(str(sheet)).shape[1] == 1920
    with pytest.raises(OutputError, match=r"page\.html: the file exists"):
        run(good, bad, "--out", page)
    assert run(good, bad, "--out", page, "--overwrite") == 0
    with pytest.raises(OutputError, match=r"page\.pdf: written as \.html or as a picture"):
        run(good, bad, "--out", tmp_path / "page.pdf")


def test_runs_of_one_name_are_told_apart(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _, good, bad = write_two_runs(tmp_path)
    for folder, name in ((good, "new"), (bad, "old")):
        (tmp_path / name).mkdir()
        folder.rename(tmp_path / name / "run")
    assert run(tmp_path / "new" / "run", tmp_path / "old" / "run", "--top", 0) == 0
    assert "A = new/run, B = old/run" in capsys.readouterr().out


def test_a_folder_without_a_run(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match="no such folder; expected one that `manypose eval --out` has written"):
        run(tmp_path / "a", tmp_path / "b")
