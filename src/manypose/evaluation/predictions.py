"""What a model finds in the pictures of a set, as rows of COCO results: kept as it comes, by one process or several."""

from __future__ import annotations

import concurrent.futures
import copy
import hashlib
import itertools
import json
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from manypose import images
from manypose.errors import ManyposeError, OutputError
from manypose.estimators.inputs import Estimator
from manypose.files import read_member
from manypose.formats import coco
from manypose.people import People
from manypose.skeleton import Skeleton

PersonScore = Literal["own", "total", "total x joints", "total x (joints - 1)", "1 - 1 / total", "one"]
STAGES = ("detect", "prepare", "network", "decode")
AHEAD = 4  # pictures for each process that wait or are done out of their turn


@dataclass(frozen=True)
class Job:
    """One picture of the set: its id, its file (in a folder or zip file), and the boxes (N, 4) of people, if given.

    `owners` (N,) are the ids of the annotations that the boxes are of; their rows carry them as `annotation_id`.
    `fetch` gives its bytes, or its pixels, and is not `read_member` where it lies in an archive of another kind.
    """

    image_id: Any
    place: Path
    name: str
    boxes: tuple[tuple[float, ...], ...] | None = None
    box_scores: tuple[float, ...] | None = None
    owners: tuple[Any, ...] | None = None
    fetch: Callable[[Path, str], bytes | NDArray[np.uint8]] = read_member


@dataclass(frozen=True)
class RowRules:
    """How people become rows: the skeleton of the truth, its category, and what a product does there.

    `person_score` is the estimator's own, or one of the products', where "total" is the sum of the scores of the
    joints and limbs of a person. `offset` is added to x and y (0.5: places counted from the edges of pixels), and
    `whole` cuts the fractions off, both for results that are to be compared with a product's.
    """

    skeleton: Skeleton
    category_id: Any = 1
    person_score: PersonScore = "own"
    offset: float = 0.0
    whole: bool = False


@dataclass(frozen=True)
class Found:
    """The rows of one picture, the hash of its file, and the seconds of the stages."""

    image_id: Any
    rows: list[dict[str, Any]]
    sha256: str
    seconds: dict[str, float]

    def to_line(self) -> str:
        """One line of a journal."""
        return json.dumps(vars(self), allow_nan=False, separators=(",", ":"))


def find(estimator: Estimator, job: Job, rules: RowRules) -> Found:
    """The people in one picture; raises `ImageError` and `DataError` with its name."""
    data = job.fetch(job.place, job.name)
    picture = data if isinstance(data, np.ndarray) else images.open_image(data, name=str(job.place / job.name))
    before = copy.copy(estimator.times)
    if job.boxes is None:
        people = estimator(picture)
    else:
        # Only estimators that take boxes are given any.
        people = estimator.in_boxes(picture, np.array(job.boxes).reshape(-1, 4), job.box_scores)  # type: ignore[attr-defined]
    seconds = {stage: getattr(estimator.times, stage, 0.0) - getattr(before, stage, 0.0) for stage in STAGES}
    content = data if isinstance(data, bytes) else data.tobytes()
    rows = to_rows(people, job.image_id, rules)
    for row, owner in zip(rows, _owners(people, job), strict=False):
        row |= {} if owner is None else {"annotation_id": owner}
    return Found(job.image_id, rows, hashlib.sha256(content).hexdigest(), seconds)


def _owners(people: People, job: Job) -> list[Any]:
    """Whose boxes the people were found in; some may have been left out, but all stand in the order of their boxes."""
    if job.owners is None or job.boxes is None:
        return []
    left = iter(zip(np.array(job.boxes, np.float32).reshape(-1, 4), job.owners, strict=True))
    return [next(owner for edges, owner in left if np.array_equal(edges, box)) for box in people.boxes]


def to_rows(people: People, image_id: Any, rules: RowRules) -> list[dict[str, Any]]:
    """People as rows of COCO results with the joints of the truth, by name."""
    rows = coco.to_results(people.to(rules.skeleton), 0, skeleton=rules.skeleton)
    for n, row in enumerate(rows):
        row |= {"image_id": image_id, "category_id": rules.category_id}  # which may be texts
        if rules.person_score != "own":
            row["score"] = round(_person_score(people, n, row["keypoints"], rules.person_score), 6)
        if rules.offset or rules.whole:
            row["keypoints"] = _moved(row["keypoints"], rules)
    return rows


def _person_score(people: People, n: int, row: Sequence[float], rule: PersonScore) -> float:
    """The score that a product gives; sums are over the joints found, `rule` says which of them count."""
    if rule == "one":
        return 1.0
    # A person's own score is the sum of those of his limbs, for each limb that there is (`codecs.grouping`).
    limbs = float(people.person_scores[n]) * len(people.skeleton.fields)
    total = float(people.scores[n].sum()) + limbs
    joints = int(np.count_nonzero(people.scores[n] > 0))
    if rule == "total x joints":
        return total * sum(score > 0 for score in row[2::3])  # those that are exported, without the neck
    if rule == "total x (joints - 1)":
        return total * max(0, joints - 1)
    return 1 - 1 / total if rule == "1 - 1 / total" else total


def _moved(keypoints: Sequence[float], rules: RowRules) -> list[float]:
    joints = np.array(keypoints, np.float64).reshape(-1, 3)
    there = joints[:, 2] > 0
    joints[there, :2] += rules.offset
    if rules.whole:
        joints[there, :2] = np.trunc(joints[there, :2])
    return [round(value, 4) for value in joints.ravel().tolist()]


def find_all(
    jobs: Sequence[Job], rules: RowRules, *, open_estimator: Callable[[], Estimator], processes: int = 1
) -> Iterator[Found]:
    """What is found in the pictures, in their order, as soon as it is there.

    With several processes each opens an estimator of its own by `open_estimator`, which must be picklable then.
    Raises `ManyposeError` when one of them dies, for example because memory ran out.
    """
    if processes == 1:
        estimator = open_estimator()
        yield from (find(estimator, job, rules) for job in jobs)
        return
    context = multiprocessing.get_context("spawn")  # a session does not survive a fork
    pool = concurrent.futures.ProcessPoolExecutor(
        processes, mp_context=context, initializer=_start_worker, initargs=(open_estimator, rules)
    )
    try:
        waiting: list[concurrent.futures.Future[Found]] = []
        coming = iter(jobs)
        waiting += [pool.submit(_find_in_worker, job) for job in itertools.islice(coming, AHEAD * processes)]
        while waiting:
            yield waiting.pop(0).result()
            waiting += [pool.submit(_find_in_worker, job) for job in itertools.islice(coming, 1)]
    except BrokenProcessPool:
        raise ManyposeError(
            "a process that ran the model has died, perhaps for want of memory; try fewer (--processes 1 shows why), "
            "and go on with --resume"
        ) from None
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


_worker: dict[str, Any] = {}


def _start_worker(open_estimator: Callable[[], Estimator], rules: RowRules) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C goes to all; the parent ends us
    threading.Thread(target=_end_with_parent, daemon=True).start()
    _worker.update(open=open_estimator, rules=rules)


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)  # it was killed, so nobody waits for us


def _find_in_worker(job: Job) -> Found:
    if "estimator" not in _worker:  # here and not at the start, where an error would lose its message
        _worker["estimator"] = _worker["open"]()
    return find(_worker["estimator"], job, _worker["rules"])


class Journal:
    """What a run has found so far, a line for each picture, so that it can go on after it was stopped.

    The first line says of what run it is. A last line that was cut off by a crash is dropped.
    """

    def __init__(self, file: Path, about: Mapping[str, Any]) -> None:
        self.file = file
        self._about = json.dumps(about, sort_keys=True, separators=(",", ":"), allow_nan=False)

    def resume(self) -> list[Found]:
        """What an earlier run has found, none where there was none; raises `OutputError` when that was another run."""
        if not self.file.exists():
            return []
        content = self.file.read_bytes()
        whole = content[: content.rfind(b"\n") + 1]
        lines = whole.decode().splitlines()
        if not lines:
            self.file.unlink()
            return []
        if lines[0] != self._about:
            raise OutputError(
                f"{self.file}: the run that was stopped there {self._difference(lines[0])}; repeat that command, or "
                "begin anew with --overwrite"
            )
        if whole != content:
            with open(self.file, "r+b") as file:
                file.truncate(len(whole))
        try:
            return [Found(**json.loads(line)) for line in lines[1:]]
        except (ValueError, TypeError):
            raise OutputError(f"{self.file}: is damaged; begin anew with --overwrite") from None

    def keep(self, found: Iterator[Found]) -> Iterator[Found]:
        """The same, each written down before it is given on."""
        try:
            self.file.parent.mkdir(parents=True, exist_ok=True)
            new = not self.file.exists()
            with open(self.file, "a", encoding="utf-8") as file:
                if new:
                    file.write(self._about + "\n")
                for one in found:
                    file.write(one.to_line() + "\n")
                    file.flush()
                    yield one
        except OSError as error:
            raise OutputError(f"{self.file}: cannot be written: {error.strerror}") from None

    def delete(self) -> None:
        """Remove the file, if it is there."""
        self.file.unlink(missing_ok=True)

    def _difference(self, line: str) -> str:
        try:
            before, now = json.loads(line), json.loads(self._about)
            names = [name for name in sorted({*before, *now}) if before.get(name) != now.get(name)]
        except (ValueError, TypeError):
            return "is not readable"
        return f"had another {' and '.join(names)}"
