"""Long runs: what is found is kept, a killed run goes on to the same results, several processes do the same."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from manypose.errors import DataError, FormatError, ManyposeError, ModelError, OutputError
from manypose.evaluation.predictions import Job, RowRules, find_all, to_rows
from manypose.evaluation.replay import compare, flatten, replay
from manypose.evaluation.run import JOURNAL, Opening, Plan, forget_journal, run
from manypose.evaluation.run_folder import Run, json_ready, read_run, write_run
from manypose.people import People
from manypose.skeleton import load_skeleton

pytest.importorskip("pycocotools", reason="needs the extra [eval]")
sys.path.insert(0, str(Path(__file__).parents[1] / "data"))
from tiny_coco import COCO, person, write_set

OPTIONS = {"long_side": 128, "threshold": 0.0}
KILLED = """
import os, signal, sys
from pathlib import Path
from manypose.evaluation.run import Plan, run
plan = Plan("default", Path(sys.argv[1]), options={"long_side": 128, "threshold": 0.0}, device="cpu", threads=1)
run(plan, out=Path(sys.argv[2]), progress=lambda done, total: done == 3 and os.kill(os.getpid(), signal.SIGKILL))
"""


@pytest.fixture
def plan(tmp_path: Path) -> Plan:
    """The shipped model at its smallest on six pictures."""
    rows = [person(10 * n, 5, 60, 100, image_id=n, id=n) for n in range(1, 7)]
    file = write_set(tmp_path / "set", rows, pictures=6)
    with zipfile.ZipFile(tmp_path / "set" / "images.zip") as archive:
        archive.extractall(tmp_path / "set" / "images")
    content = json.loads(file.read_text())
    for row in content["images"]:
        del row["zip"]
    file.write_text(json.dumps(content))
    return Plan("default", file, options=OPTIONS, device="cpu", threads=1)


def written(plan: Plan, out: Path, **more: Any) -> bytes:
    """The results file of a whole run."""
    write_run(out, run(plan, out=out, **more)[0])
    forget_journal(out)
    return (out / "results.json").read_bytes()


def test_a_run_that_was_killed_goes_on_to_the_same_results(plan: Plan, tmp_path: Path) -> None:
    killed = subprocess.run([sys.executable, "-c", KILLED, str(plan.data), str(tmp_path / "out")], check=False)
    assert killed.returncode < 0
    journal = tmp_path / "out" / JOURNAL
    assert len(journal.read_text().splitlines()) == 1 + 3
    with journal.open("a") as file:
        file.write('{"image_id": 4, "ro')  # as when it is killed while it writes
    with pytest.raises(OutputError, match=r"journal\.jsonl: an evaluation was stopped here; go on .*--resume"):
        run(plan, out=tmp_path / "out")
    steps: list[int] = []
    resumed = written(plan, tmp_path / "out", resume=True, progress=lambda done, _total: steps.append(done))
    assert steps == [4, 5, 6]
    assert resumed == written(plan, tmp_path / "whole")
    assert not journal.exists()


def test_a_run_goes_on_only_as_it_was_begun(plan: Plan, tmp_path: Path) -> None:
    def stop(done: int, _total: int) -> None:
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(plan, out=tmp_path, progress=stop)
    other = Plan("default", plan.data, options={"long_side": 160}, device="cpu", threads=1)
    with pytest.raises(OutputError, match=r"the run that was stopped there had another settings"):
        run(other, out=tmp_path, resume=True)
    journal = tmp_path / JOURNAL
    journal.write_text(journal.read_text() + '{"image_id": 3}\n')
    with pytest.raises(OutputError, match=r"journal\.jsonl: is damaged; begin anew"):
        run(plan, out=tmp_path, resume=True)
    steps: list[int] = []
    run(other, out=tmp_path, fresh=True, progress=lambda done, _total: steps.append(done))
    assert steps[0] == 1


def test_several_processes_find_the_same_in_the_same_order(plan: Plan, tmp_path: Path) -> None:
    alone = written(plan, tmp_path / "one")
    assert written(dataclasses.replace(plan, processes=2), tmp_path / "two") == alone


def fall_over() -> Any:
    """An estimator whose process dies when it is opened."""
    os._exit(7)


def refuse() -> Any:
    """An estimator that cannot be opened."""
    raise ModelError("bad.onnx: broken")


def test_a_process_that_dies_is_told(tmp_path: Path) -> None:
    jobs = [Job(n, tmp_path, "none.png") for n in range(3)]
    with pytest.raises(ManyposeError, match="a process that ran the model has died"):
        list(find_all(jobs, RowRules(COCO), open_estimator=fall_over, processes=2))
    with pytest.raises(ModelError, match=r"bad\.onnx: broken"):
        list(find_all(jobs, RowRules(COCO), open_estimator=refuse, processes=2))


def test_an_evaluation_done_again_gives_the_same(plan: Plan, tmp_path: Path) -> None:
    written(plan, tmp_path / "out")
    now, differences = replay(tmp_path / "out" / "metrics.json")
    assert differences == []
    assert now.manifest["inputs"]["pictures"]["count"] == 6
    metrics = json.loads((tmp_path / "out" / "metrics.json").read_text())
    metrics["figures"]["average_precision"]["AP"] += 0.25
    (tmp_path / "out" / "metrics.json").write_text(json.dumps(metrics))
    (difference,) = replay(tmp_path / "out")[1]
    assert difference.name == "average_precision.AP"
    assert difference.before == difference.now + 0.25


def test_what_has_changed_since_is_named(plan: Plan, tmp_path: Path) -> None:
    written(plan, tmp_path / "out")
    picture = tmp_path / "set" / "images" / "1.png"
    before = picture.read_bytes()
    picture.write_bytes(picture.with_name("2.png").read_bytes())
    with pytest.raises(DataError, match="the pictures of the set have changed: together they have SHA-256"):
        replay(tmp_path / "out")
    picture.write_bytes(before)
    plan.data.write_text(plan.data.read_text() + " ")
    with pytest.raises(DataError, match=r"data: .* has SHA-256 .* but the manifest says"):
        replay(tmp_path / "out")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "not a JSON file"),
        ("{}", "no object 'figures'"),
        ('{"figures": {}, "manifest": 3}', "no object 'manifest'"),
    ],
)
def test_folders_that_are_no_run(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "metrics.json").write_text(text)
    (tmp_path / "results.json").write_text("[]")
    with pytest.raises(FormatError, match=rf"metrics\.json: {message}"):
        read_run(tmp_path)
    with pytest.raises(FormatError, match="no such folder"):
        read_run(tmp_path / "none")


def test_figures_are_plain_json() -> None:
    figures = {"a": np.float32(0.5), "b": float("nan"), "c": np.array([1, 2]), 3: (np.int64(4),), "p": Path("x")}
    assert json_ready(figures) == {"a": 0.5, "b": None, "c": [1, 2], "3": [4], "p": "x"}
    assert flatten({"times": {"network": 3.0}, "a": {"b": [1, 2]}}) == {"a.b.0": 1, "a.b.1": 2}
    assert compare(Run({"a": None}, {}, []), Run({"a": None, "times": {"x": 1}}, {}, [])) == []


def test_how_products_score_people_and_count_places() -> None:
    skeleton = load_skeleton("openpose18")
    keypoints = np.full((1, 18, 2), np.nan)
    keypoints[0, :4] = [[10.26, 5], [20, 5], [30, 5], [40, 5.74]]
    people = People.build(keypoints, skeleton=skeleton, person_scores=[2 / len(skeleton.fields)])  # limbs: 2, joints: 4
    expected = {
        "own": 2 / len(skeleton.fields),
        "total": 6.0,
        "total x joints": 18.0,  # three are exported, the neck is none of COCO's
        "total x (joints - 1)": 18.0,
        "1 - 1 / total": 5 / 6,
        "one": 1.0,
    }
    for rule, score in expected.items():
        (row,) = to_rows(people, 7, RowRules(COCO, 1, rule))  # type: ignore[arg-type]
        assert row["score"] == pytest.approx(score, rel=1e-5), rule
    (moved,) = to_rows(people, 7, RowRules(COCO, 1, offset=0.5))
    assert moved["keypoints"][:3] == [10.76, 5.5, 1.0]
    (whole,) = to_rows(people, 7, RowRules(COCO, 1, whole=True))
    assert whole["keypoints"][:3] == [10.0, 5.0, 1.0]
    assert whole["keypoints"][3:6] == [0.0, 0.0, 0.0]


def test_options_of_another_task_are_refused(plan: Plan) -> None:
    with pytest.raises(ManyposeError, match="default: decoding, rescore has no effect on a bottom-up model"):
        Opening("default", options={"decoding": "dark", "rescore": False})()
    with pytest.raises(ManyposeError, match="takes no boxes"):
        run(dataclasses.replace(plan, boxes="truth"))
