"""Learning from another model: the same maps cost nothing, whatever order its joints and limbs have."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from kites import write_kites

from manypose.errors import RecipeError
from manypose.training.distillation import Teacher, _match_fields, _move
from manypose.training.export import export_model
from manypose.training.module import Training, load_task, stages_of
from manypose.training.program import train
from manypose.training.recipe_file import check_recipe
from manypose.training.task import Task

pytestmark = [
    pytest.mark.train,
    pytest.mark.filterwarnings("ignore:.*does not have many workers"),
    pytest.mark.filterwarnings("ignore::UserWarning:lightning.*"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]
SETTINGS: dict[str, Any] = {
    "network": "ladder_paf_small", "width": 0.25, "size": 64, "data": [{"file": "set.json"}], "batch_size": 2,
    "max_steps": 1, "device": "cpu", "threads": 1, "workers": 0,
}  # fmt: skip


@pytest.fixture(scope="module")
def taught(tmp_path_factory: pytest.TempPathFactory) -> tuple[Task, Any, Path]:
    """A task, its network, and the same as a model file."""
    folder = tmp_path_factory.mktemp("taught")
    write_kites(folder, pictures=2)
    last = train(check_recipe(SETTINGS | {"root": folder, "out": folder}, "test"), progress=False)
    file = folder / "teacher.onnx"
    export_model(last, file)
    return *load_task(torch.load(last, weights_only=True)), file


def pictures() -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(0).integers(0, 256, (2, 3, 64, 64), dtype=np.uint8))


def test_a_network_that_gives_its_teachers_maps_has_nothing_to_learn(taught: tuple[Task, Any, Path]) -> None:
    task, network, file = taught
    with torch.no_grad():
        losses = Teacher(task, file, weight=2.0).losses(stages_of(network, task.normalise(pictures())), pictures())
    assert set(losses) == {"teacher_heatmaps", "teacher_fields"}
    assert all(float(value) < 1e-9 for value in losses.values())


def test_channels_go_by_name(taught: tuple[Task, Any, Path]) -> None:
    task, network, file = taught
    joints = task.skeleton.joints
    order = [3, 0, 4, 1, 2]
    fields = tuple((order.index(b), order.index(a)) for a, b in task.skeleton.fields)  # and the limbs run backwards
    pairs = tuple((order.index(a), order.index(b)) for a, b in task.skeleton.pairs)
    other = dataclasses.replace(
        task.skeleton, joints=tuple(joints[i] for i in order), fields=fields, limbs=(), colours=(), pairs=pairs
    )
    student = dataclasses.replace(task, skeleton=other)
    with torch.no_grad():
        heatmaps, maps = stages_of(network, task.normalise(pictures()))
        losses = Teacher(student, file, weight=1.0).losses(([heatmaps[-1][:, [*order, 5]]], [-maps[-1]]), pictures())
    assert all(float(value) < 1e-9 for value in losses.values())
    assert _match_fields(other, task.skeleton)[1] == [-1.0] * 8


def test_joints_that_the_teacher_lacks_do_not_count(taught: tuple[Task, Any, Path]) -> None:
    task, network, file = taught
    renamed = dataclasses.replace(task.skeleton, joints=("beak", *task.skeleton.joints[1:]))
    teacher = Teacher(dataclasses.replace(task, skeleton=renamed), file, weight=1.0)
    assert teacher.joints == [None, 1, 2, 3, 4, None]
    assert teacher.fields == [None] * 8  # all limbs of a kite begin at its nose
    with torch.no_grad():
        losses = teacher.losses(stages_of(network, task.normalise(pictures())), pictures())
    assert float(losses["teacher_fields"]) == 0
    assert float(losses["teacher_heatmaps"]) < 1e-9


def test_fields_that_lie_between_the_cells_are_moved_onto_them() -> None:
    ramp = np.arange(5, dtype=np.float32) * np.ones((1, 1, 5, 1), np.float32)
    np.testing.assert_allclose(_move(ramp, 0.4375)[0, 0, 0], [0.4375, 1.4375, 2.4375, 3.4375, 4.0])
    np.testing.assert_allclose(_move(ramp, -0.4375)[0, 0, 0], [0, 0.5625, 1.5625, 2.5625, 3.5625])


@pytest.mark.parametrize(("rules", "shift"), [("ours", 0.0), ("cmu", -3.5 / 8)])
def test_only_what_the_fields_lie_apart_is_moved(taught: tuple[Task, Any, Path], rules: str, shift: float) -> None:
    task, _, file = taught
    student = dataclasses.replace(task, recipe=task.recipe.model_copy(update={"target_rules": rules}))
    assert Teacher(student, file, weight=1.0).shift == shift


def test_a_process_opens_a_teacher_where_it_runs_it(taught: tuple[Task, Any, Path]) -> None:
    """Not before: threads of the runtime are left behind where a run forks its processes."""
    task, network, file = taught
    student = dataclasses.replace(task, recipe=task.recipe.model_copy(update={"devices": 2, "threads": 0}))
    teacher = Teacher(student, file, weight=1.0)
    assert "model" not in vars(teacher)
    with torch.no_grad():
        teacher.losses(stages_of(network, task.normalise(pictures())), pictures())
    assert teacher.model.session.get_session_options().intra_op_num_threads == 1


def test_a_run_learns_from_labels_and_a_teacher(taught: tuple[Task, Any, Path], tmp_path: Path) -> None:
    task, _, file = taught
    recipe = task.recipe.model_copy(update={"teacher": file, "out": tmp_path, "log_every": 1})
    last = train(recipe, progress=False)
    assert "losses/teacher_fields" in (last.parent / "metrics.csv").read_text()
    assert isinstance(Training(task, steps=1, epoch_length=1.0).teacher, type(None))


def test_a_teacher_of_another_kind_is_refused(taught: tuple[Task, Any, Path], tmp_path: Path) -> None:
    task, _, file = taught
    crops = check_recipe(
        SETTINGS | {"network": "lpn_18", "root": task.recipe.root, "teacher": file, "out": tmp_path}, "test"
    )
    with pytest.raises(RecipeError, match=r"teacher: .* gives maps of another kind or stride than lpn_18"):
        train(crops, progress=False)
    strange = dataclasses.replace(task.skeleton, joints=("a", "b", "left_c", "right_c", "d"))
    with pytest.raises(RecipeError, match="has no joint of 'kite'"):
        Teacher(dataclasses.replace(task, skeleton=strange), file, weight=1.0)
