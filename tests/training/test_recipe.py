"""Recipes: checked as a whole before anything starts."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from manypose.errors import RecipeError
from manypose.training.recipe_file import read_recipe

GOOD = "name: tiny\nmax_steps: 9\ndata:\n  - {file: a.json}\n"


def write(folder: Path, text: str) -> Path:
    (folder / "recipe.yaml").write_text(text)
    return folder / "recipe.yaml"


def test_settings_come_from_the_file_and_overrides_win(tmp_path: Path) -> None:
    recipe = read_recipe(write(tmp_path, GOOD + "size: 128\n"), ["max_steps=7", "size=64", "person_size=[0.5, 1]"])
    assert (recipe.name, recipe.size, recipe.max_steps, recipe.person_size) == ("tiny", 64, 7, (0.5, 1.0))
    assert recipe.data[0].file == Path("a.json")


def test_all_faults_stand_in_one_message(tmp_path: Path) -> None:
    text = GOOD + "size: 100\nbach_size: 3\nlearning_rate: .inf\nskeleton: octopus\n"
    with pytest.raises(RecipeError) as caught:
        read_recipe(write(tmp_path, text), ["optimiser=gsd", "person_size=[1, 0.5]"])
    message = str(caught.value)
    assert "\n" not in message
    for part in (
        "recipe.yaml: ",
        "line 5: size: 100 x 100 pixels do not divide into the cells of ladder_paf",
        "line 6: bach_size: there is no such key; did you mean batch_size?",
        "line 7: learning_rate: input should be a finite number",
        "optimiser (override): input should be 'adam', 'adamw', 'sgd' or 'muon'",
        "line 8: skeleton: no skeleton is called 'octopus'",
        "person_size (override): must be the least and the largest",
    ):
        assert part in message


@pytest.mark.parametrize(
    ("text", "overrides", "message"),
    [
        ("", [], "a recipe is a list of `key: value` lines"),
        ("- 1\n", [], "a recipe is a list of `key: value` lines"),
        ("a: [", [], "not valid YAML"),
        (GOOD, ["size"], "'size': an override has the form key=value"),
        (GOOD, ["size=[1"], r"'size=\[1': its value is not valid YAML"),
        ("name: tiny\n", [], "data: field required"),
        (GOOD + "1: 2\n", [], "recipe.yaml: .*keys should be strings"),
        (GOOD, ["name=a/b"], r"name \(override\): string should match pattern"),
        (GOOD + "name: b\n", [], "line 5: name stands there twice"),
        ("data:\n  - {file: a.json, weight: 0}\n", [], r"line 2: data\.0\.weight: input should be greater than 0"),
        ("data:\n  - {file: a.json}\n", [], "max_steps: say how long the run shall be"),
        (GOOD, ["max_epochs=3"], "line 2: max_steps: .* either max_steps or max_epochs"),
        (GOOD, ["data=[{}]"], r"data\.0: needs either a file of labels \(file\) or sample servers \(server\)"),
        (GOOD, ["data.3.weight=1"], r"'data\.3\.weight=1': the recipe has no data\.3"),
        (GOOD, ["name.x=1"], r"'name\.x=1': the recipe has no name\.x"),
        (GOOD, ["network=lader_paf"], r"network \(override\): no network is called 'lader_paf'; there are body25"),
        (GOOD, ["network_options.depth=3"], r"network_options.*: network 'ladder_paf': .*its options are joints"),
        (GOOD, ["network_options.joints=3"], r"network_options\.joints.*: comes from the setting `skeleton`"),
        (GOOD, ["seed=4294967296"], r"seed \(override\): input should be less than 4294967296"),
        (GOOD, ["stride=4"], "the maps of ladder_paf have a stride of 8: leave it out"),
        (GOOD, ["half_body=0.5"], r"half_body \(override\): has no effect on ladder_paf, a bottom-up network"),
        (GOOD, ["network=lpn_18", "mosaic=0.5"], "mosaic .*: has no effect on lpn_18, a top-down network"),
        (GOOD, ["loss=joint-mse"], "'joint-mse' is no loss of a bottom-up network: focused, "),
        (GOOD, ["schedule=milestones"], "milestones: schedule=milestones needs some"),
        (GOOD, ["schedule=milestones", "milestones=[3, 3]"], "each above the one before"),
        (GOOD, ["schedule=every"], "every: goes with schedule=every"),
        (GOOD, ["schedule=plateau"], "plateau needs a validation part"),
        (GOOD, ["patience=3"], "an early stop needs a validation part"),
        (GOOD, ["val_size=0.1", "val=[{file: b.json}]"], "val names the pictures to validate on already"),
        (GOOD, ["nesterov=true"], "nesterov .*: goes with optimiser=sgd"),
        (GOOD, ["devices=0,2", "device=cpu"], "a CPU has no devices to choose from"),
        (GOOD, ["devices=0,0"], "the numbers of different ones"),
        (GOOD, ["parameters=[{names: '('}]"], r"'\(' is not a regular expression"),
        (GOOD, ["target_rules=mine"], "no target rules are called 'mine'; there are ours, cmu"),
        (GOOD, ["data=[{file: a.json, kind: x}]"], r"data\.0\.kind: 'x' is none of coco, wholebody"),
    ],
)
def test_recipes_at_fault(tmp_path: Path, text: str, overrides: list[str], message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        read_recipe(write(tmp_path, text), overrides)


def test_a_recipe_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"none\.yaml: No such file or directory: give the path of a recipe"):
        read_recipe(tmp_path / "none.yaml")


def test_a_file_that_is_no_text(tmp_path: Path) -> None:
    (tmp_path / "r.yaml").write_bytes(b"\xff\xfe\x00\x81")
    with pytest.raises(RecipeError, match=r"r\.yaml: not valid YAML"):
        read_recipe(tmp_path / "r.yaml")


def test_devices_are_a_number_or_chosen_ones(tmp_path: Path) -> None:
    file = write(tmp_path, GOOD)
    assert read_recipe(file, ["devices=2"]).processes == 2
    chosen = read_recipe(file, ["devices=0,2", "nodes=3", "batch_size=4", "accumulate=5"])
    assert chosen.devices == (0, 2)
    assert (chosen.processes, chosen.samples_per_step) == (6, 120)


def test_an_override_reaches_inside(tmp_path: Path) -> None:
    recipe = read_recipe(write(tmp_path, GOOD), ["data.0.weight=2", "network=vgg_paf", "network_options.stages=3"])
    assert recipe.data[0].weight == 2
    assert recipe.network_options == {"stages": 3}


def test_a_recipe_as_it_was_run_can_be_read_again(tmp_path: Path) -> None:
    recipe = read_recipe(write(tmp_path, GOOD), ["parameters=[{names: 'stem.*', rate: 2}]", "size=[64, 64]"])
    saved = tmp_path / "saved.yaml"
    saved.write_text(yaml.safe_dump(recipe.model_dump(mode="json")))
    assert read_recipe(saved) == recipe
