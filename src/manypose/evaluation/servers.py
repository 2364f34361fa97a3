"""Sets whose truth only their servers have: what is found there, as the file that the server takes.

COCO test-dev: a JSON list of image_id, category_id, keypoints and score, named as its upload page asks. MPII's test
part, as the list `test.json` of HRNet's data: a .mat with `preds` (N, 16, 2), counted from 1, in the list's order.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from manypose.data.mpii import FIRST_PIXEL, square_box
from manypose.data.places import PicturePlaces
from manypose.errors import DataError, require
from manypose.evaluation.boxes import MPII_SHIFT
from manypose.evaluation.run_folder import Run
from manypose.evaluation.truth import Truth
from manypose.files import new_file, write_bytes
from manypose.skeleton import load_skeleton

MPII_TEST = "mpii-test"
_KEYS = ("image_id", "category_id", "keypoints", "score")
Boxes = dict[Any, tuple[list[list[float]], list[float]]]


def is_mpii_test(file: Path) -> bool:
    """Whether a file is a list of MPII's people without joints."""
    if file.suffix.lower() != ".json" or not file.is_file():
        return False
    with open(file, "rb") as stream:
        if not stream.read(4096).lstrip().startswith(b"["):
            return False
    rows = _load(file)
    return bool(rows) and isinstance(rows[0], Mapping) and "center" in rows[0] and "joints" not in rows[0]


def read_mpii_test(file: Path) -> tuple[Truth, Boxes]:
    """MPII's test part, every person a picture of its own, and the boxes (x1 y1 x2 y2) by number in the list.

    Raises `DataError` that names the entry at fault.
    """
    places = PicturePlaces(file, None)
    images, boxes = [], {}
    for n, row in enumerate(_load(file)):
        try:
            centre, scale = [float(value) for value in row["center"]], float(row["scale"])
            archive, name = places.find(str(row["image"]))
            # The program takes the centre, the index of a pixel, for a place between pixels (`boxes.truth_boxes`).
            box = square_box([centre[0] - 0.5, centre[1] - 0.5 + MPII_SHIFT * scale], scale)
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(f"{file}: person {n}: {error}; expected image, center and scale") from None
        images.append({"id": n, "file_name": name, "zip": str(Path(archive).absolute())})
        boxes[n] = ([box.tolist()], [1.0])
    truth = Truth(
        name=str(file),
        image_ids=tuple(boxes),
        other_ids=frozenset(),
        category_ids=(1,),
        joints=load_skeleton("mpii16").joints,
        annotations=(),
        images=tuple(images),
        kind=MPII_TEST,
        file=file,
    )
    return truth, boxes


def write_server_file(folder: Path, run: Run, truth: Truth, *, overwrite: bool = False) -> Path:
    """Write what the server of a test set takes, and give its path; raises `OutputError`."""
    name = re.sub(r"[^A-Za-z0-9.-]+", "-", str((run.manifest.get("model") or {}).get("name", "model")))
    folder.mkdir(parents=True, exist_ok=True)
    if truth.kind == MPII_TEST:
        file = folder / f"pred_keypoints_mpii_{name}.mat"
        with new_file(file, overwrite=overwrite) as temporary, open(temporary, "wb") as stream:
            require("scipy.io", extra="train").savemat(stream, {"preds": _mpii_places(truth, run.results)})
        return file
    part = Path(truth.name).stem.removeprefix("image_info_")
    file = folder / f"person_keypoints_{part}_{name}_results.json"
    rows = [{key: row[key] for key in _KEYS} for row in run.results]
    write_bytes(file, (json.dumps(rows, allow_nan=False) + "\n").encode(), overwrite=overwrite)
    return file


def _mpii_places(truth: Truth, rows: Sequence[Mapping[str, Any]]) -> np.ndarray[Any, Any]:
    """(N, 16, 2) places counted from 1; where a joint was not found, the middle of the others, since none may fail."""
    places = np.zeros((len(truth.image_ids), len(truth.joints), 2))
    for row in rows:
        joints = np.array(row["keypoints"], np.float64).reshape(-1, 3)
        there = joints[:, 2] > 0
        middle = joints[there, :2].mean(axis=0) if there.any() else np.zeros(2)
        places[row["image_id"]] = np.where(there[:, None], joints[:, :2], middle) + FIRST_PIXEL
    return places


def _load(file: Path) -> list[Any]:
    try:
        rows = json.loads(file.read_bytes())
    except (OSError, ValueError) as error:
        raise DataError(f"{file}: cannot be read: {error}") from None
    return rows if isinstance(rows, list) else []
