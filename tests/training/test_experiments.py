"""Experiment files of HRNet's programs become recipes."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from manypose.errors import RecipeError
from manypose.training.experiments import Imported, import_experiment
from manypose.training.library import named_recipes
from manypose.training.recipe_file import check_recipe, read_recipe

sys.path.insert(0, str(Path(__file__).parent))
from experiment_files import head_extra, hrnet_extra, w32, write_experiment

pytestmark = pytest.mark.train


def imported(folder: Path, content: dict[str, Any], **changes: dict[str, Any]) -> Imported:
    """`changes` go into the sections of that name."""
    for section, values in changes.items():
        content.setdefault(section, {}).update(values)
    return import_experiment(write_experiment(folder / "experiment.yaml", content))


def test_hrnets_own_file_is_the_published_recipe(tmp_path: Path) -> None:
    ours = read_recipe(named_recipes()["hrnet_w32_coco_256x192"]).model_dump()
    theirs = check_recipe(imported(tmp_path, w32()).settings, "test").model_dump()
    different = {key for key in ours if ours[key] != theirs[key]}
    assert different == {"name", "root", "data", "val", "val_every", "val_batch_size", "workers", "devices"}
    assert (theirs["devices"], str(theirs["root"])) == (4, "data/coco")
    assert [str(source["file"]) for source in theirs["data"]] == ["annotations/person_keypoints_train2017.json"]


def test_the_text_is_a_recipe_with_what_was_said(tmp_path: Path) -> None:
    found = imported(tmp_path, w32())
    (tmp_path / "recipe.yaml").write_text(found.text)
    assert read_recipe(tmp_path / "recipe.yaml") == check_recipe(found.settings, "test")
    assert found.text.startswith("# Made of experiment.yaml\n# ")
    assert all(f"# {note}\n" in found.text for note in found.notes)


def test_dead_settings_are_told(tmp_path: Path) -> None:
    notes = imported(tmp_path, w32(), LOSS={"USE_OHKM": True, "TOPK": 8}).notes
    dead = {note.split(":")[0] for note in notes if ": dead: " in note}
    assert dead == {"LOSS.USE_OHKM", "LOSS.TOPK", "TRAIN.GAMMA1", "TRAIN.GAMMA2", "TRAIN.WD", "TRAIN.MOMENTUM",
                    "TRAIN.NESTEROV", "TEST.NMS_THRE", "TEST.BBOX_THRE", "DATASET.DATA_FORMAT"}  # fmt: skip


def test_with_sgd_its_own_settings_count(tmp_path: Path) -> None:
    found = imported(tmp_path, w32(), TRAIN={"OPTIMIZER": "sgd", "WD": 0.001, "NESTEROV": True})
    chosen = {key: found.settings[key] for key in ("optimiser", "weight_decay", "momentum", "nesterov")}
    assert chosen == {"optimiser": "sgd", "weight_decay": 0.001, "momentum": 0.9, "nesterov": True}
    assert not any(note.startswith("TRAIN.WD") for note in found.notes)


def test_humanposes_files_have_the_batch_that_its_program_had(tmp_path: Path) -> None:
    content = w32()
    content["MODEL"]["EXTRA"] = head_extra(18, deconvolutions=2, ATTENTION="GC")
    content["MODEL"] |= {"NAME": "lpn", "PRETRAINED": ""}
    found = imported(tmp_path, content, DATASET={"ROOT": "../data/coco/"}, TEST={"SOFT_ARGMAX": True})
    assert (found.settings["network"], found.settings["batch_size"], found.settings["devices"]) == ("lpn_18h", 128, 4)
    assert found.settings["decoding"] == "soft-argmax+quarter"
    assert "init" not in found.settings
    for part in ("builds lpn_18h of it", "loads 32 x 4 samples in each of its 4 processes"):
        assert any(part in note for note in found.notes)


@pytest.mark.parametrize(
    ("extra", "network", "options"),
    [
        (hrnet_extra(48, 4, (1, 4, 3)), "hrnet_w48", {}),
        (hrnet_extra(16, 2, (1, 1, 1)), "hrnet_w18_small_v1", {"layer1_channels": 64}),
        (hrnet_extra(18, 2, (1, 3, 2)), "hrnet_w18_small_v2", {}),
        (head_extra(50, deconvolutions=2, ATTENTION="SE"), "lpn_50", {"attention": "se"}),
        (head_extra(34, deconvolutions=3), "pose_resnet_34", {}),
        (head_extra(101, deconvolutions=3, NUM_DECONV_KERNELS=[2, 2, 2]), "pose_resnet_101", {"kernel": 2}),
    ],
)
def test_networks_are_known_by_their_numbers(
    tmp_path: Path, extra: dict[str, Any], network: str, options: dict[str, Any]
) -> None:
    name = {"hr": "pose_hrnet", "lp": "lpn", "po": "pose_resnet"}[network[:2]]
    found = imported(tmp_path, w32(), MODEL={"NAME": name, "EXTRA": extra, "PRETRAINED": ""})
    assert (found.settings["network"], found.settings.get("network_options", {})) == (network, options)


def test_simple_baselines_files_have_the_targets_elsewhere(tmp_path: Path) -> None:
    extra = head_extra(50, deconvolutions=3, TARGET_TYPE="gaussian", SIGMA=3, HEATMAP_SIZE=[96, 96])
    content = {
        "GPUS": "0", "DATASET": {"DATASET": "mpii", "ROOT": "data/mpii/"},
        "MODEL": {"NAME": "pose_resnet", "STYLE": "caffe", "PRETRAINED": "models/resnet50-caffe.pth.tar",
                  "IMAGE_SIZE": [384, 384], "NUM_JOINTS": 16, "EXTRA": extra},
        "TRAIN": {"BATCH_SIZE": 24},
    }  # fmt: skip
    found = imported(tmp_path, content)
    assert found.settings["network_options"] == {"caffe": True}
    assert (found.settings["size"], found.settings["devices"], found.settings["batch_size"]) == ([384, 384], 1, 24)
    assert (found.settings["scale"], found.settings["rotation"], found.settings["half_body"]) == (0.25, 30, 0)
    assert (found.settings["milestones"], found.settings["max_epochs"]) == ([90, 110], 140)  # the program's defaults
    assert found.settings["data"] == [{"file": "annot/train.json", "kind": "mpii-json", "images": "images"}]
    assert found.settings["colours"] == "bgr"
    assert "init" not in found.settings  # Caffe's is not torchvision's
    assert "MODEL.PRETRAINED: resnet50-caffe.pth.tar goes by no name here" in " ".join(found.notes)


@pytest.mark.parametrize(("given", "devices"), [("(0,1)", 2), ("0,", 1), ("(2,3)", [2, 3]), (1, [1]), ([0, 1], 2)])
def test_gpus_are_read_and_not_evaluated(tmp_path: Path, given: Any, devices: Any) -> None:
    assert imported(tmp_path, w32() | {"GPUS": given}).settings["devices"] == devices


def test_all_faults_come_at_once_with_their_lines(tmp_path: Path) -> None:
    content = w32() | {"GPUS": "__import__('os').getpid()", "NEW": 1}
    with pytest.raises(RecipeError) as caught:
        imported(tmp_path, content, TRAIN={"LR": "fast"}, TEST={"OKS": 1}, DATASET={"DATASET": "eval(1)"})
    lines = yaml.safe_dump(content, sort_keys=False).splitlines()
    for key in ("GPUS", "NEW", "  OKS", "  LR", "  DATASET"):
        number = next(n for n, line in enumerate(lines, 1) if line.startswith(f"{key}:"))
        assert f"line {number}: " in str(caught.value), key
    assert "there is no such key" in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"MODEL": {"NAME": "pose_other"}}, r"MODEL\.NAME: 'pose_other' is none of pose_hrnet, lpn, pose_resnet"),
        ({"MODEL": {"EXTRA": hrnet_extra(40, 4, (1, 4, 3))}}, r"MODEL\.EXTRA: no network of ours has these channels"),
        ({"MODEL": {"NUM_JOINTS": 16}}, r"MODEL\.NUM_JOINTS: 16, but coco has 17"),
        ({"MODEL": {"HEATMAP_SIZE": [96, 128]}}, r"MODEL\.HEATMAP_SIZE: 96 x 128 is no quarter of 192 x 256"),
    ],
)
def test_what_ours_cannot_be_is_refused_with_its_line(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(RecipeError, match=rf"experiment\.yaml: line \d+: {message}"):
        imported(tmp_path, w32(), **changes)


def test_what_has_no_counterpart_is_told(tmp_path: Path) -> None:
    found = imported(
        tmp_path, w32(), DATASET={"SELECT_DATA": True, "TEST_SET": "test-dev2017"}, TEST={"BIAS": 1.0},
        LOSS={"USE_DIFFERENT_JOINTS_WEIGHT": True, "USE_TARGET_WEIGHT": False},
        MODEL={"SIGMA": 3, "PRETRAINED": "models/own.pth"},
    )  # fmt: skip
    assert "val" not in found.settings
    assert found.settings["joint_weights"] == {"elbow": 1.2, "knee": 1.2, "wrist": 1.5, "ankle": 1.5}
    assert found.settings["sigma"] == 12
    told = {note.split(":")[0] for note in found.notes}
    assert {
        "DATASET.SELECT_DATA",
        "DATASET.TEST_SET",
        "TEST.BIAS",
        "LOSS.USE_TARGET_WEIGHT",
        "MODEL.PRETRAINED",
    } <= told
