"""Runs an estimator over a labelled set and measures what it found."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from manypose.errors import DataError, ManyposeError, OutputError
from manypose.estimators.bottom_up import BottomUp, BottomUpOptions
from manypose.estimators.inputs import Estimator, FoundOptions
from manypose.evaluation.figures import measure
from manypose.evaluation.predictions import STAGES, Found, Job, Journal, RowRules, find_all
from manypose.evaluation.presets import preset
from manypose.evaluation.results_file import read_results
from manypose.evaluation.run_folder import METRICS, RESULTS, Run, json_ready
from manypose.evaluation.servers import Boxes, is_mpii_test, read_mpii_test
from manypose.evaluation.truth import Truth, read_image_ids, read_truth
from manypose.files import picture_place
from manypose.manifest import fingerprint_of, make_manifest
from manypose.model import load_model
from manypose.skeleton import Skeleton, load_skeleton, skeleton_names, skeleton_of_joints

Progress = Callable[[int, int], None]
JOURNAL = "journal.jsonl"
LEAST_BOX = 0.1  # score of a detector's box: weak ones cost little in AP, and missed people much
TOP_DOWN = ("top-down", "face", "hand")
_SIZES = ("long_side", "short_side", "height", "scale")


@dataclass(frozen=True)
class Opening:
    """How an estimator is opened, here or in another process: `options` are those of the model's task.

    `detector` finds the boxes for a top-down model. Raises, when called, what `load_model` raises, and `ManyposeError`
    for options that the task does not have.
    """

    model: str
    device: str = "auto"
    threads: int = 0
    options: Mapping[str, Any] = field(default_factory=dict)
    detector: str | None = None

    def __call__(self) -> Estimator:
        from manypose.api import WHOLE_PICTURES
        from manypose.estimators.top_down import TopDown, TopDownOptions

        if self.threads:
            import cv2

            cv2.setNumThreads(self.threads)
        model = load_model(self.model, device=self.device, threads=self.threads)
        task = model.metadata.task
        if task == "detector":
            raise ManyposeError(f"{self.model}: a detector finds boxes and no joints that could be measured")
        kind: Any = BottomUpOptions if task == "bottom-up" else TopDownOptions if task in TOP_DOWN else FoundOptions
        idle = sorted(set(self.options) - {option.name for option in dataclasses.fields(kind)})
        if idle:
            raise ManyposeError(f"{self.model}: {', '.join(idle)} has no effect on a {task} model; leave it out")
        options = kind(**self.options)
        if task == "bottom-up":
            return BottomUp(model, options)
        if task in TOP_DOWN:
            return TopDown(model, options, detector=self._detector(self.options.get("box_threshold")))
        return WHOLE_PICTURES[task](model, options)

    def shared_by(self, processes: int) -> Opening:
        """The same for one of several processes, which do not take the CPU's threads from each other."""
        return dataclasses.replace(self, threads=self.threads or max(1, (os.cpu_count() or 1) // processes))

    def _detector(self, least: float | None) -> Estimator | None:
        if self.detector is None:
            return None
        from manypose.api import load_detector

        found = load_detector(self.detector, self.device, self.threads)
        return dataclasses.replace(found, options=FoundOptions(threshold=LEAST_BOX if least is None else least))


@dataclass(frozen=True)
class Plan:
    """All that an evaluation needs, and needs to be done again.

    `data` is a set of any kind that `read_truth` reads; `image_ids` a file with those of the pictures that count, of
    which the first `limit` are run. `boxes` is for top-down models: "truth", a detector's JSON, or its ONNX file.
    `like` is the name of a preset, whose options those in `options` replace. With `results`, a COCO results file, no
    model is run: the people in it are measured, and `model` is empty.
    """

    model: str
    data: Path
    kind: str | None = None
    part: str | None = None
    image_ids: Path | None = None
    limit: int | None = None
    boxes: str | None = None
    like: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    device: str = "auto"
    threads: int = 0
    processes: int = 1
    results: Path | None = None

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready, with paths that hold from any folder."""
        plain: dict[str, Any] = json_ready(dataclasses.asdict(self))
        given = {"data": self.data, "image_ids": self.image_ids, "results": self.results}
        if self.boxes not in (None, "truth"):
            given["boxes"] = Path(str(self.boxes))
        if Path(self.model).is_file():
            given["model"] = Path(self.model)
        return plain | {name: str(path.absolute()) for name, path in given.items() if path is not None}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Plan:
        """The plan of `to_dict`; raises `DataError` for what is none."""
        try:
            given = dict(data)
            given["data"] = Path(given["data"])
            for name in ("image_ids", "results"):
                given[name] = Path(given[name]) if given.get(name) else None
            options = dict(given.get("options", {}))
            given["options"] = {k: tuple(v) if isinstance(v, list) else v for k, v in options.items()}
            return cls(**given)
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(f"the manifest's options are not those of an evaluation: {error}") from None


def run(
    plan: Plan, *, out: Path | None = None, resume: bool = False, fresh: bool = False, progress: Progress | None = None
) -> tuple[Run, Truth]:
    """Do an evaluation; the truth is given too, for a report.

    With `out` what is found is kept in a journal in that folder as it comes. With `resume` a run that was stopped goes
    on from there and ends with the same results; with `fresh` it is begun anew. The folder's other files are left to
    `write_run`, after which `forget_journal` is called.

    Raises `DataError` for a set that cannot be measured against, `ImageError` for a picture that cannot be opened, and
    `OutputError` for a journal that is there and not asked for, or of another run. Of `plan.results` nothing is kept;
    rows at fault raise `FormatError`.
    """
    truth, given = _read_truth(plan)
    if plan.results is not None:
        return _measure_results(truth, plan, plan.results), truth
    opening, rules, detections = _prepare(plan, truth)
    estimator = opening()
    jobs = _jobs(truth, plan, estimator, detections, given)
    manifest = _manifest(plan, estimator)
    done: list[Found] = []
    journal = Journal(out / JOURNAL, _about(manifest, plan, jobs)) if out is not None else None
    if journal is not None:
        if fresh:
            journal.delete()
        if journal.file.exists() and not resume:
            raise OutputError(
                f"{journal.file}: an evaluation was stopped here; go on with it (--resume) or begin anew (--overwrite)"
            )
        done = journal.resume()
    opener = opening.shared_by(plan.processes) if plan.processes > 1 else lambda: estimator
    coming: Iterable[Found] = find_all(jobs[len(done) :], rules, open_estimator=opener, processes=plan.processes)
    if journal is not None:
        coming = journal.keep(iter(coming))
    for found in coming:
        done.append(found)
        if progress:
            progress(len(done), len(jobs))
    return _measured(truth, done, manifest), truth


def _measure_results(truth: Truth, plan: Plan, file: Path) -> Run:
    """The figures of people who were found before, by whatever program."""
    if not truth.has_people:
        raise DataError(f"{truth.name}: nobody is labelled, so {file} cannot be measured with it")
    counted = frozenset(truth.image_ids)
    rows = [row for row in read_results(file, truth) if row["image_id"] in counted]
    manifest = make_manifest("eval", plan.to_dict(), inputs=_inputs(plan) | {"results": file})
    return Run(json_ready(measure(truth, rows)), manifest, rows)


def forget_journal(out: Path) -> None:
    """Remove what a run has kept, once its files are written."""
    (out / JOURNAL).unlink(missing_ok=True)


def evaluate(
    estimator: Estimator,
    data: Path | Truth,
    *,
    limit: int | None = None,
    rules: RowRules | None = None,
    progress: Progress | None = None,
) -> Run:
    """Measure an estimator that is loaded already on a set, or on its first `limit` pictures.

    Its boxes are its own affair; `rules` say how people become rows. `progress` is called with the number of pictures
    done and of all. Raises as `run` does.
    """
    truth = _first(data if isinstance(data, Truth) else read_truth(data), limit)
    plan = Plan(str(getattr(estimator.model, "path", estimator.model.metadata.name)), truth.file or Path(truth.name))
    jobs = _picture_jobs(truth)
    found: list[Found] = []
    for one in find_all(jobs, rules or _rules(truth), open_estimator=lambda: estimator):
        found.append(one)
        if progress:
            progress(len(found), len(jobs))
    return _measured(truth, found, _manifest(plan, estimator))


def _read_truth(plan: Plan) -> tuple[Truth, Boxes | None]:
    """The truth, and the boxes that a set without truth comes with."""
    boxes = None
    if plan.kind is None and is_mpii_test(plan.data):
        truth, boxes = read_mpii_test(plan.data)
    else:
        ids = read_image_ids(plan.image_ids) if plan.image_ids is not None else None
        truth = read_truth(plan.data, kind=plan.kind, part=plan.part, image_ids=ids)
    return _first(truth, plan.limit), boxes


def _first(truth: Truth, limit: int | None) -> Truth:
    if limit is None or limit >= len(truth.image_ids):
        return truth
    return read_truth(truth, image_ids=truth.image_ids[:limit])


def _rules(truth: Truth, options: Mapping[str, Any] | None = None) -> RowRules:
    return RowRules(_skeleton(truth.joints), truth.category_ids[0], **(options or {}))


def _skeleton(joints: tuple[str, ...]) -> Skeleton:
    shipped = (s for s in map(load_skeleton, skeleton_names()) if s.joints == joints)
    return next(shipped, None) or skeleton_of_joints(joints)


def _prepare(plan: Plan, truth: Truth) -> tuple[Opening, RowRules, Path | None]:
    """How the estimator is opened, how its people become rows, and the file of boxes, if any."""
    given, rows = dict(plan.options), {}
    one_each = truth.kind.startswith("mpii") and plan.boxes in (None, "truth")
    if plan.like is not None or one_each:
        task = load_model(plan.model, device="cpu", threads=1).metadata.task
    if plan.like is not None:
        like = preset(plan.like, "top-down" if task in TOP_DOWN else task)
        rows = dict(like.rows)
        sized = any(name in given for name in _SIZES)
        own = {name: value for name, value in like.estimator.items() if not (sized and name in _SIZES)}
        decoder = {**own.get("decoder", {}), **given.get("decoder", {})}  # setting by setting
        given = {**own, **given} | ({"decoder": decoder} if decoder else {})
    if one_each and task in TOP_DOWN and "suppression" not in plan.options:
        given["suppression"] = "none"  # everybody in MPII is measured in his own box; the products leave nobody out
    boxes = None if plan.boxes in (None, "truth") else Path(str(plan.boxes))
    is_table = boxes is not None and boxes.suffix.lower() == ".json"
    detector = None if boxes is None or is_table else str(plan.boxes)
    opening = Opening(plan.model, plan.device, plan.threads, given, detector)
    return opening, _rules(truth, rows), boxes if is_table else None


def _jobs(truth: Truth, plan: Plan, estimator: Estimator, detections: Path | None, given: Boxes | None) -> list[Job]:
    """The pictures in their order, with boxes where a top-down model is to be given some."""
    jobs = _picture_jobs(truth)
    task = estimator.model.metadata.task
    if task not in TOP_DOWN:
        if plan.boxes is not None:
            raise ManyposeError(f"{plan.model}: a {task} model takes no boxes: leave --boxes out")
        if given is not None:
            raise ManyposeError(f"{plan.model}: MPII's test part wants the person of each box: give a top-down model")
        return jobs
    if given is not None and plan.boxes in (None, "truth"):
        return [_with_boxes(job, given[job.image_id]) for job in jobs]
    if plan.boxes is not None and plan.boxes != "truth" and detections is None:
        return jobs  # the detector finds them
    from manypose.evaluation.boxes import box_owners, read_detections, truth_boxes

    if detections is None and not truth.annotations:
        raise DataError(f"{truth.name}: has no people whose boxes could be taken; give --boxes a detector's file")
    if detections is not None:
        boxes = read_detections(detections, truth)
        return [_with_boxes(job, boxes.get(job.image_id)) for job in jobs]
    boxes, owners = truth_boxes(truth), box_owners(truth)
    return [_with_boxes(job, boxes[job.image_id], owners[job.image_id]) for job in jobs]


def _with_boxes(job: Job, found: Any, owners: tuple[Any, ...] | None = None) -> Job:
    around, scores = ([], []) if found is None else found
    rows = tuple(tuple(float(value) for value in box) for box in around)
    return dataclasses.replace(job, boxes=rows, box_scores=tuple(float(score) for score in scores), owners=owners)


def _picture_jobs(truth: Truth) -> list[Job]:
    images = {row["id"]: row for row in truth.images}
    jobs = []
    for image_id in truth.image_ids:
        picture, row = truth.pictures.get(image_id), images.get(image_id, {})
        if picture is not None:
            jobs.append(Job(image_id, picture.archive.absolute(), picture.name, fetch=picture.fetch))
            continue
        name = row.get("file_name")
        if not isinstance(name, str) or truth.file is None:
            raise DataError(f"{truth.name}: image {image_id} has no file_name")
        jobs.append(Job(image_id, picture_place(truth.file, row), name))
    return jobs


def _measured(truth: Truth, found: Sequence[Found], manifest: dict[str, Any]) -> Run:
    rows = [row for one in found for row in one.rows]
    pictures = fingerprint_of((str(one.image_id), one.sha256) for one in found)
    inputs = manifest["inputs"] | {"pictures": {"count": len(found), "sha256": pictures}}
    times = {stage: sum(one.seconds.get(stage, 0.0) for one in found) for stage in STAGES}
    figures = measure(truth, rows) if truth.has_people else {}
    figures |= {"times": {stage: seconds for stage, seconds in times.items() if seconds}}
    return Run(json_ready(figures), manifest | {"inputs": inputs}, rows)


def _manifest(plan: Plan, estimator: Estimator) -> dict[str, Any]:
    inputs = _inputs(plan)
    if plan.boxes not in (None, "truth"):
        inputs["boxes"] = Path(str(plan.boxes))
    there = {name: path for name, path in inputs.items() if path.exists()}
    manifest = make_manifest("eval", plan.to_dict(), model=estimator.model, inputs=there)
    manifest["settings"] = json_ready(dataclasses.asdict(estimator.options))
    return manifest


def _inputs(plan: Plan) -> dict[str, Path]:
    return {"data": plan.data} | ({} if plan.image_ids is None else {"image_ids": plan.image_ids})


def _about(manifest: Mapping[str, Any], plan: Plan, jobs: Sequence[Job]) -> dict[str, Any]:
    """What must be the same when a run goes on: not how many processes run it, nor on what machine."""
    boxes = fingerprint_of((str(job.image_id), json.dumps(job.boxes)) for job in jobs)
    return {
        "model": manifest["model"]["sha256"],
        "device": manifest["model"]["device"],
        "data": manifest["inputs"].get("data", {}).get("sha256"),
        "settings": manifest["settings"],
        "like": plan.like,
        "pictures": [len(jobs), boxes],
        "versions": manifest["versions"],
    }


def refuse_files(out: Path, names: Sequence[str] = (RESULTS, METRICS)) -> None:
    """Raise `OutputError` when a folder holds one of these files, before the work that takes minutes."""
    for name in names:
        if (out / name).exists():
            raise OutputError(
                f"{out / name}: the file exists; choose another folder, or allow overwriting (--overwrite)"
            )
