"""Leeds Sports Pose and its extension: axes and flags that differ under one name."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import scipy.io
from small_sets import body, write_picture

from manypose.data.faults import Fault
from manypose.data.lsp import read_lsp
from manypose.errors import DataError
from manypose.skeleton import load_skeleton

LSP = load_skeleton("lsp14")


def write_lsp(folder: Path, count: int, digits: int, flags: list[int]) -> Path:
    """The file of Leeds Sports Pose (4 digits) or of its extension (5); person i has the joints of `body`, seed i."""
    rows = np.stack([np.column_stack([body(14, seed=i), flags]) for i in range(count)])  # N, 14, 3
    scipy.io.savemat(folder / "joints.mat", {"joints": rows.transpose((2, 1, 0) if digits == 4 else (1, 2, 0))})
    for i in range(min(count, 3)):
        write_picture(folder / "images" / f"im{i + 1:0{digits}d}.jpg")
    return folder / "joints.mat"


def test_a_flag_of_the_first_set_means_hidden(tmp_path: Path) -> None:
    pictures = read_lsp(write_lsp(tmp_path, 2, 4, [1, 1] + [0] * 12), LSP)
    assert [p.name for p in pictures] == ["im0001.jpg", "im0002.jpg"]
    np.testing.assert_array_equal(pictures[1].keypoints[0], body(14, seed=1))
    assert np.flatnonzero(~pictures[0].visible[0]).tolist() == [0, 1]


def test_a_flag_of_the_extension_means_labelled(tmp_path: Path) -> None:
    pictures = read_lsp(write_lsp(tmp_path, 2, 5, [0, 0] + [1] * 12), LSP)
    assert [p.name for p in pictures] == ["im00001.jpg", "im00002.jpg"]
    assert np.flatnonzero(np.isnan(pictures[0].keypoints[0, :, 0])).tolist() == [0, 1]
    np.testing.assert_array_equal(pictures[1].keypoints[0, 2:], body(14, seed=1)[2:])
    assert pictures[0].visible[0, 2:].all()


def test_boxes_are_those_of_the_joints_a_tenth_wider(tmp_path: Path) -> None:
    (read,) = read_lsp(write_lsp(tmp_path, 1, 4, [0] * 14), LSP)
    low, high = body(14).min(axis=0), body(14).max(axis=0)
    margin = (high - low).max() / 10
    np.testing.assert_allclose(read.boxes[0], [*(low - margin), *(high + margin)], rtol=1e-6)


def test_parts(tmp_path: Path) -> None:
    file = write_lsp(tmp_path, 1002, 4, [0] * 14)
    write_picture(tmp_path / "images" / "im1001.jpg")
    assert [p.id for p in read_lsp(file, LSP, part="test", on_fault="skip")] == [1001]
    assert [p.id for p in read_lsp(file, LSP, part="train", on_fault="skip")] == [1, 2, 3]
    with pytest.raises(DataError, match="has no part 'val'; give train or test"):
        read_lsp(file, LSP, part="val")


def test_the_extension_has_no_test_part(tmp_path: Path) -> None:
    file = write_lsp(tmp_path, 2, 5, [1] * 14)
    assert len(read_lsp(file, LSP, part="train")) == 2
    assert read_lsp(file, LSP, part="test") == []


@pytest.mark.parametrize(
    ("joints", "message"),
    [
        (np.zeros((14, 3, 1)), r"joints\(:, :, 1\): no joint is labelled"),
        (np.ones((14, 3, 1)), "all joints lie in one place"),
        (np.full((3, 14, 1), np.nan), "a labelled joint is not a number"),
    ],
)
def test_faults(tmp_path: Path, joints: np.ndarray, message: str) -> None:
    scipy.io.savemat(tmp_path / "joints.mat", {"joints": joints})
    for name in ("im0001.jpg", "im00001.jpg"):
        write_picture(tmp_path / name)
    with pytest.raises(DataError, match=message):
        read_lsp(tmp_path / "joints.mat", LSP)
    faults: list[Fault] = []
    assert read_lsp(tmp_path / "joints.mat", LSP, on_fault="skip", faults=faults) == []
    assert len(faults) == 1


def test_missing_pictures_and_other_arrays(tmp_path: Path) -> None:
    file = write_lsp(tmp_path, 4, 4, [0] * 14)
    with pytest.raises(DataError, match=r"joints\.mat: joints\(:, :, 4\): its picture is not to be had"):
        read_lsp(file, LSP)
    scipy.io.savemat(file, {"joints": np.zeros((14, 4, 2))})
    with pytest.raises(DataError, match=r"joints have shape \(14, 4, 2\), expected \(3, 14, N\) or \(14, 3, N\)"):
        read_lsp(file, LSP)
    scipy.io.savemat(file, {"poses": np.zeros((14, 3, 2))})
    with pytest.raises(DataError, match="it has no variable joints"):
        read_lsp(file, LSP)
