"""models, doctor, eval, train and export: each once, and what each refuses."""

from __future__ import annotations

import json
import shutil
import tomllib
from pathlib import Path
from typing import Any

import pytest
from command_line import SMALL, Run

from manypose.cli import doctor
from manypose.cli.evaluate import rows_of
from manypose.model import find_model, shipped_models
from manypose.published import PUBLISHED


def test_models_lists_what_is_shipped(run: Run) -> None:
    ran = run("models")
    assert ran.code == 0
    assert "ladder (default)" in ran.out
    assert "openpose18" in ran.out


def test_models_as_json_has_size_skeleton_licence_and_figures(run: Run) -> None:
    (model,) = [model for model in json.loads(run("models", "--json").out) if model["default"]]
    assert 0 < model["megabytes"] <= 10
    assert {"skeleton", "licence", "figures", "sha256", "origin"} <= set(model)


def test_models_show_prints_the_metadata(run: Run) -> None:
    assert json.loads(run("models", "show", "default", "--json").out)["name"] == "ladder"
    assert "input.long_side" in run("models", "show", "default").out


def test_models_show_names_the_shipped_ones_when_asked_for_another(run: Run) -> None:
    ran = run("models", "show", "venus")
    assert ran.code == 1
    assert "venus: no such file, and no shipped model is called that; the shipped ones are ladder" in ran.err


def test_fetched_models_are_listed_and_shown_by_name(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MANYPOSE_CACHE", str(tmp_path))
    fetched = PUBLISHED["cmu-coco"].file
    fetched.parent.mkdir(exist_ok=True)
    shutil.copy(find_model("ladder"), fetched)
    assert [model["name"] for model in json.loads(run("models", "--json").out)] == [*shipped_models(), "cmu-coco"]
    assert json.loads(run("models", "show", "cmu-coco", "--json").out)["name"] == "cmu-coco"
    fetched.write_bytes(b"broken")
    ran = run("models")
    assert ran.code == 1
    assert "ladder (default)" in ran.out
    assert "cmu-coco.onnx: not an ONNX model" in ran.err


def test_doctor_says_what_works(run: Run) -> None:
    ran = run("doctor", "--json", "--runs", "1")
    report = json.loads(ran.out)
    assert (ran.code, report["faults"]) == (0, [])
    assert report["devices"]["cpu"] == "works"
    assert all(report["core"].values())
    assert all(speed["network_ms"] > 0 for speed in report["speed"])
    assert "works" in run("doctor", "--runs", "0").out


def test_doctor_fails_when_a_needed_package_is_missing(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(doctor.CORE, "absent-package", "absent_package")
    ran = run("doctor")
    assert ran.code == 1
    assert "manypose: absent-package: does not load" in ran.err


def test_doctor_knows_the_packages_of_the_project() -> None:
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
    bare = [name.split(">=")[0].split("[")[0] for name in project["dependencies"]]
    assert set(doctor.CORE) == set(bare) - {"typer"}
    for extra, names in doctor.EXTRAS.items():
        listed = [name.split(">=")[0].split("[")[0] for name in project["optional-dependencies"][extra]]
        assert list(names) == listed


def test_eval_measures_writes_and_does_not_overwrite(run: Run, shared_data: Path, tmp_path: Path) -> None:
    data = shared_data / "lsp_extended" / "val.json"
    arguments = ("eval", "default", "--data", data, "--limit", "2", "--out", tmp_path / "measured", *SMALL)
    ran = run(*arguments)
    assert (ran.code, ran.err) == (0, "")
    assert "PCK@0.2" in ran.out
    metrics = json.loads((tmp_path / "measured" / "metrics.json").read_text())
    assert metrics["manifest"]["inputs"]["pictures"]["count"] == 2
    assert isinstance(json.loads((tmp_path / "measured" / "results.json").read_text()), list)
    again = run(*arguments)
    assert (again.code, again.out) == (1, "")
    assert "results.json: the file exists" in again.err


def test_eval_of_a_set_that_is_not_there_is_one_line(run: Run, tmp_path: Path) -> None:
    ran = run("eval", "default", "--data", tmp_path / "none.json")
    assert ran.code == 1
    assert ran.err.startswith("manypose: ")
    assert "none.json" in ran.err
    assert len(ran.err.splitlines()) == 1


def test_figures_that_mean_nothing_are_a_dash() -> None:
    figures: dict[str, Any] = {
        "average_precision": {"AP": 0.1234, "AP_low": 0.1, "AP_high": 0.2, "APm": -1.0, "people": 3},
        "pck": {"PCK": 0.5, "PCK_low": 0.4, "PCK_high": 0.6, "joints": {"neck": float("nan")}, "labelled": 7},
    }
    assert list(rows_of(figures)) == [
        ("AP", "0.123", "0.100 to 0.200"),
        ("AP of medium people", "-", ""),
        ("PCK@0.2", "0.500", "0.400 to 0.600"),
        ("  neck", "-", ""),
        ("people labelled", "3", ""),
        ("joints labelled", "7", ""),
    ]


@pytest.mark.train
def test_train_checks_a_recipe_and_lists_its_faults(run: Run, tmp_path: Path) -> None:
    pytest.importorskip("lightning", reason="needs the extra [train]")
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text("data: [{file: train.json}]\nname: small\n")
    assert "max_steps: 7\n" in run("train", recipe, "max_steps=7", "--check").out
    ran = run("train", recipe, "max_steps=0", "colour_of_hair=red")
    assert ran.code == 1
    assert "max_steps (override): input should be greater than 0" in ran.err
    assert "colour_of_hair (override): there is no such key" in ran.err
    assert len(ran.err.splitlines()) == 1


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    """A checkpoint of a network that has not learnt anything."""
    torch = pytest.importorskip("torch", reason="needs the extra [train]")
    pytest.importorskip("lightning", reason="needs the extra [train]")
    from manypose.training.module import Training
    from manypose.training.recipe_file import check_recipe
    from manypose.training.task import make_task

    torch.manual_seed(0)
    settings = {"data": [{"file": "train.json"}], "skeleton": "openpose18", "max_steps": 1, "width": 0.25, "sigma": 6.0}
    module = Training(make_task(check_recipe(settings, "test")), steps=1, epoch_length=1.0)
    file = tmp_path / "last.ckpt"
    torch.save({"state_dict": module.state_dict(), "hyper_parameters": dict(module.hparams)}, file)
    return file


@pytest.mark.train
def test_export_makes_a_model_of_a_checkpoint(run: Run, checkpoint: Path, picture: Path, tmp_path: Path) -> None:
    model = tmp_path / "mine.onnx"
    ran = run("export", checkpoint, "-o", model, "--licence", "CC0-1.0")
    assert (ran.code, ran.err) == (0, "")
    shown = json.loads(run("models", "show", model, "--json").out)
    assert (shown["licence"], shown["maps"]["sigma"], shown["origin"]["recipe"]["width"]) == ("CC0-1.0", 6.0, 0.25)
    assert run("predict", picture, "--model", model, "--json", *SMALL).code == 0
    again = run("export", checkpoint, "-o", model)
    assert again.code == 1
    assert "mine.onnx: the file exists" in again.err


@pytest.mark.train
@pytest.mark.parametrize("content", [b"", b"not a checkpoint", None])
def test_export_refuses_what_is_no_checkpoint(run: Run, tmp_path: Path, content: bytes | None) -> None:
    pytest.importorskip("lightning", reason="needs the extra [train]")
    if content is not None:
        (tmp_path / "bad.ckpt").write_bytes(content)
    ran = run("export", tmp_path / "bad.ckpt", "-o", tmp_path / "mine.onnx")
    assert ran.code == 1
    assert "bad.ckpt" in ran.err
    assert len(ran.err.splitlines()) == 1
    assert not (tmp_path / "mine.onnx").exists()
