"""`manypose curves`: the picture, what is said of it, and wrong use in one line."""

from __future__ import annotations

import sys
from pathlib import Path

import cv2
import pytest
from command_line import Run

pytest.importorskip("matplotlib", reason="needs the extra [plot]")

THEIRS = """\
network: vgg_paf
skeleton: openpose18
size: 368
loss: euclidean
target_rules: keras
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The folder of a run that logged ten times."""
    folder = tmp_path / "first"
    folder.mkdir()
    rows = "".join(f"{step},{900 / (step + 1)},{step / 100}\n" for step in range(10))
    (folder / "metrics.csv").write_text(f"step,loss,val_metric\n{rows}")
    return folder


def test_runs_are_drawn_to_the_file(run: Run, folder: Path, tmp_path: Path) -> None:
    file = tmp_path / "curves.png"
    ran = run("curves", folder, folder, "-o", file, "--width", 800, "--height", 450, "--log", "--smooth", 0.5)
    assert ran == (0, f"2 runs -> {file}\n", "")
    assert cv2.imread(str(file)).shape == (450, 800, 3)


def test_the_source_of_a_published_curve_is_told(run: Run, folder: Path, tmp_path: Path) -> None:
    (folder / "recipe.yaml").write_text(THEIRS)
    ran = run("curves", folder, "-o", tmp_path / "curves.png", "--metrics", "loss, val_metric")
    assert ran.code == 0
    assert "dashed: published by michalfaber/keras_Realtime_Multi-Person_Pose_Estimation" in ran.out


def test_what_cannot_be_drawn_is_told_in_one_line(run: Run, folder: Path, tmp_path: Path) -> None:
    file = tmp_path / "curves.png"
    for arguments, code, message in (
        ([tmp_path / "none"], 1, "none: is not a folder"),
        ([tmp_path], 1, "there is no metrics.csv"),
        ([folder, "--metrics", "AP"], 1, "no run has a figure 'AP'; there are loss, val_metric"),
        ([folder, "--metrics", "loss,,"], 2, "is not a list of names"),
        ([folder, "--smooth", "1"], 2, "1 is not 0 or more and below 1"),
        ([folder, "--width", "10"], 2, "10 is not 320 to 16000"),
    ):
        ran = run("curves", *arguments, "-o", file)
        assert ran.code == code
        assert message in ran.err
        assert not file.exists()
    file.write_text("mine")
    ran = run("curves", folder, "-o", file)
    assert (ran.code, ran.err.count("\n")) == (1, 1)
    assert "the file exists; choose another name, or allow overwriting (--overwrite)" in ran.err


def test_without_matplotlib_it_says_what_to_install(
    run: Run, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    ran = run("curves", folder, "-o", tmp_path / "curves.png")
    assert ran.code == 1
    assert "pip install 'manypose[plot]'" in ran.err
