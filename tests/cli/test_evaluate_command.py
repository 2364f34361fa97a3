"""eval and repro: what they print and write, that they do it again, and what they refuse."""

from __future__ import annotations

import json
import sys
from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command_line import SMALL, Run, make_picture

from manypose.cli import repro
from manypose.cli.evaluate import make_plan
from manypose.cli.evaluate import run as evaluate
from manypose.errors import ManyposeError
from manypose.manifest import FOLDER_FILE

pytest.importorskip("pycocotools", reason="needs the extra [eval]")
sys.path.insert(0, str(Path(__file__).parents[1] / "data"))
from tiny_coco import person, write_set


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Three small pictures of drawn people."""
    rows = [person(10 * n, 5, 60, 100, image_id=n, id=n) for n in (1, 2, 3)]
    return write_set(tmp_path / "set", rows, pictures=3)


def parse(command: Any, *arguments: object) -> Namespace:
    """The arguments of one command."""
    parser = ArgumentParser()
    own = command.add_parser(parser.add_subparsers())
    parsed: Namespace = own.parse_intermixed_args([str(argument) for argument in arguments])
    return parsed


def run_repro(*arguments: object) -> int:
    return repro.run(parse(repro, *arguments))


def test_a_run_is_written_and_is_the_same_again(run: Run, data: Path, tmp_path: Path) -> None:
    out = tmp_path / "measured"
    ran = run("eval", "default", "--data", data, "--threshold", "0", "--out", out, *SMALL)
    assert (ran.code, ran.err) == (0, "")
    for text in ("ladder on set.json: 3 photos", "AP at OKS 0.50", "PCK@0.2", "seconds: network", "report.html"):
        assert text in ran.out
    assert sorted(file.name for file in out.iterdir()) == ["metrics.json", "report.html", "results.json"]
    figures = json.loads((out / "metrics.json").read_text())["figures"]
    assert {"average_precision", "pck", "by", "error_types", "times", "people_found"} <= set(figures)
    for place in (out, out / "metrics.json"):
        again = run("eval", "--from", place)
        assert (again.code, again.err) == (0, "")
        assert again.out.endswith("the same figures again\n")
    assert run_repro(out) == 0


def test_other_figures_are_a_table_and_exit_code_1(run: Run, data: Path, tmp_path: Path) -> None:
    out = tmp_path / "measured"
    run("eval", "default", "--data", data, "--out", out, "--no-report", *SMALL)
    metrics = json.loads((out / "metrics.json").read_text())
    metrics["figures"]["people_found"] += 5
    metrics["manifest"]["versions"]["numpy"] = "1.0"
    (out / "metrics.json").write_text(json.dumps(metrics))
    ran = run("eval", "--from", out)
    assert ran.code == 1
    assert "people_found" in ran.out
    assert "numpy: was 1.0, is " in ran.out
    assert "1 figure is not the same" in ran.out
    data.write_text(data.read_text() + "\n")
    ran = run("eval", "--from", out)
    assert (ran.code, ran.out) == (1, "")
    assert "not the same any more: data: " in ran.err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "give a MODEL or --results FILE, and --data FILE; or --from DIR"),
        (("default",), "give a MODEL or --results FILE, and --data FILE"),
        (("default", "--results", "r.json", "--data", "x.json"), "give a MODEL or --results FILE, and --data FILE"),
        (("--results", "r.json", "--data", "x.json", "--flip", "--boxes", "truth"), "so --flip, --boxes has no effect"),
        (("default", "--data", "x.json", "--resume"), "--resume goes with --out DIR"),
        (("default", "--data", "x.json", "--decoder", "peak"), "'peak' is not a setting like"),
        (("default", "--data", "x.json", "--like", "cmu"), "invalid choice: 'cmu'"),
    ],
)
def test_wrong_use(run: Run, arguments: tuple[str, ...], message: str) -> None:
    ran = run("eval", *arguments)
    assert ran.code == 2
    assert message in ran.err


def test_options_replace_those_of_a_preset(data: Path) -> None:
    from manypose.cli import evaluate as command
    from manypose.evaluation.run import run as run_plan

    arguments = ("default", "--data", data, "--like", "mxnet", "--long-side", "64", "--scales", "1", *SMALL[2:])
    arguments += ("--decoder", "field_threshold=0.07")
    plan = make_plan(parse(command, *arguments), "default")
    found, _ = run_plan(plan)
    settings = found.manifest["settings"]
    assert (settings["long_side"], settings["short_side"], settings["scales"]) == (64, None, [1.0])
    assert (settings["flip"], settings["fill"]) == (True, 0)
    assert (settings["decoder"]["peak_threshold"], settings["decoder"]["field_threshold"]) == (0.1, 0.07)


def test_a_set_without_truth_gives_the_file_for_its_server(run: Run, data: Path, tmp_path: Path) -> None:
    content = json.loads(data.read_text())
    test_set = data.with_name("image_info_test-dev2017.json")
    test_set.write_text(json.dumps({"images": content["images"], "categories": [{"id": 1, "name": "person"}]}))
    ran = run("eval", "default", "--data", test_set, *SMALL)
    assert ran.code == 1
    assert "has no truth, so there are no figures; give --out DIR" in ran.err
    out = tmp_path / "server"
    ran = run("eval", "default", "--data", test_set, "--threshold", "0", "--out", out, *SMALL)
    assert (ran.code, ran.err) == (0, "")
    assert "AP" not in ran.out
    name = "person_keypoints_test-dev2017_ladder_results.json"
    assert sorted(file.name for file in out.iterdir()) == [name, f"{name}.manifest.json"]
    rows = json.loads((out / name).read_text())
    assert all(set(row) == {"image_id", "category_id", "keypoints", "score"} for row in rows)
    assert all(len(row["keypoints"]) == 51 for row in rows)
    assert run_repro(out / name) == 0
    (out / name).write_text("[]\n" if rows else "[1]\n")
    assert run_repro(out / name) == 1


def test_the_test_part_of_mpii_becomes_what_its_server_takes(tmp_path: Path) -> None:
    """The file's layout and order, from rows of two people; counted from 1, in the order of the list."""
    import scipy.io

    from manypose.evaluation.run import Plan
    from manypose.evaluation.run import run as run_plan
    from manypose.evaluation.run_folder import Run as Evaluated
    from manypose.evaluation.servers import is_mpii_test, read_mpii_test, write_server_file

    (tmp_path / "images").mkdir()
    make_picture(tmp_path / "images" / "7.jpg")
    entry = {"image": "7.jpg", "center": [31.0, 21.0], "scale": 0.1}
    file = tmp_path / "test.json"
    file.write_text(json.dumps([entry, entry | {"scale": 0.2}]))
    assert is_mpii_test(file)
    truth, boxes = read_mpii_test(file)
    assert not truth.has_people
    # 20 pixels around x 30, y 20, which moves down by 1.5; half a pixel, as the reference takes the centre.
    assert boxes[0] == ([[19.5, 11.0, 39.5, 31.0]], [1.0])
    joints = np.zeros((16, 3))
    joints[:2] = [[3, 4, 0.9], [5, 8, 0.8]]
    row = {"image_id": 1, "category_id": 1, "keypoints": joints.ravel().tolist(), "score": 0.5}
    made = write_server_file(tmp_path, Evaluated({}, {"model": {"name": "my model"}}, [row]), truth)
    assert made.name == "pred_keypoints_mpii_my-model.mat"
    places = scipy.io.loadmat(made)["preds"]
    assert places.shape == (2, 16, 2)
    assert places[1, :3].tolist() == [[4, 5], [6, 9], [5, 7]]
    with pytest.raises(ManyposeError, match="MPII's test part wants the person of each box: give a top-down model"):
        run_plan(Plan("default", file))
    file.write_text(json.dumps([{"image": "7.jpg", "center": [1]}]))
    with pytest.raises(ManyposeError, match=r"person 0: .*; expected image, center and scale"):
        read_mpii_test(file)


def test_what_predict_has_written_is_made_again_and_compared(predict: Run, picture: Path, tmp_path: Path) -> None:
    out = tmp_path / "found"
    assert predict(picture, "--out", out).code == 0
    manifest = json.loads((out / FOLDER_FILE).read_text())
    assert set(manifest["outputs"]) == {"noise.json", "noise_people.png"}
    assert run_repro(out) == 0
    assert run_repro(out / "noise.json") == 0
    (out / "noise.json").write_text("{}")
    assert run_repro(out / "noise.json") == 1
    assert run_repro(out / "noise_people.png") == 0
    make_picture(picture, seed=9)
    with pytest.raises(ManyposeError, match=r"not the same any more: noise: .* has SHA-256"):
        run_repro(out)


def test_runs_into_one_folder_are_each_made_again(predict: Run, picture: Path, tmp_path: Path) -> None:
    out = tmp_path / "found"
    second = make_picture(tmp_path / "deep" / "in" / "second.png", seed=1)
    assert predict(picture, "--out", out).code == 0
    assert predict(tmp_path / "deep", "--recursive", "--out", out, "--threshold", "0").code == 0
    manifest = json.loads((out / FOLDER_FILE).read_text())
    assert [set(one["outputs"]) for one in (manifest, *manifest["earlier"])] == [
        {"in/second.json", "in/second_people.png"},
        {"noise.json", "noise_people.png"},
    ]
    for file in (out / "in" / "second.json", out / "noise.json", out):
        assert run_repro(file) == 0
    assert predict(picture, "--out", out, "--overwrite").code == 0
    manifest = json.loads((out / FOLDER_FILE).read_text())
    assert [list(one["inputs"]) for one in (manifest, *manifest["earlier"])] == [["noise"], ["in/second"]]
    second.unlink()
    with pytest.raises(ManyposeError, match=r"in/second: .*second\.png is no longer there"):
        run_repro(out / "in" / "second.json")


def test_outputs_that_cannot_be_replayed(tmp_path: Path) -> None:
    (tmp_path / "metrics.json").write_text('{"manifest": {"manifest": 1, "command": "train", "options": {}}}')
    with pytest.raises(ManyposeError, match="is of the command 'train'; only predict and eval can be replayed"):
        run_repro(tmp_path)


def test_ctrl_c_and_sigterm_end_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    import os
    import signal

    monkeypatch.setattr("manypose.cli.evaluate._evaluate", lambda _: os.kill(os.getpid(), signal.SIGTERM))
    from manypose.cli import evaluate as command

    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(KeyboardInterrupt):
        evaluate(parse(command, "default", "--data", "x.json"))
    assert signal.getsignal(signal.SIGTERM) is before
