"""What runs have logged: read from their folders, joined over parts, drawn side by side and beside published curves."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from manypose.errors import DataError, MissingExtraError, OutputError
from manypose.training.curves import COLOURS, Look, draw_curves, smooth
from manypose.training.published_curves import PUBLISHED, published_curve
from manypose.training.recipe_file import read_recipe
from manypose.training.run_log import read_run_log

RECIPES = Path(__file__).parents[2] / "recipes"
SMALL = Look(size=(800, 450))
COLUMNS = ("epoch", "loss", "losses/fields_1", "losses/heatmaps_1", "lr-SGD/pg1", "step", "val_loss", "val_metric")


def write_run(
    folder: Path, steps: Sequence[int] = range(9, 100, 10), *, loss: float = 2.0, recipe: Mapping[str, Any] = {}
) -> Path:
    """A log as Lightning writes it: rates, losses and validation stand on lines of their own."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = [",".join(COLUMNS)]
    for step in steps:
        value = loss * (1 + 1 / (1 + step))
        lines += [f",,,,{0.01},{step},,", f"0,{value},{value * 0.6},{value * 0.4},,{step},,"]
        if step % 20 == 19:
            lines.append(f"0,,,,,{step},{value * 1.1},{step / 200}")
    (folder / "metrics.csv").write_text("\n".join(lines) + "\n")
    if recipe:
        (folder / "recipe.yaml").write_text(yaml.safe_dump(dict(recipe)))
    return folder


def settings_of(recipe: str) -> dict[str, Any]:
    """What a run by one of our recipes writes to its recipe.yaml."""
    settings: dict[str, Any] = read_recipe(RECIPES / f"{recipe}.yaml").model_dump(mode="json")
    return settings


def pixels(file: Path, colour: str) -> int:
    """How many pixels of the panels, below the legend, have about this colour."""
    panels = read(file)[len(read(file)) // 8 :, :, ::-1].astype(int)
    return int((abs(panels - [int(colour[n : n + 2], 16) for n in (1, 3, 5)]) <= 16).all(axis=2).sum())


def read(file: Path) -> NDArray[np.uint8]:
    picture = cv2.imread(str(file))
    assert picture is not None
    return np.asarray(picture, np.uint8)


def test_a_log_is_read_by_columns_over_the_steps_that_were_done(tmp_path: Path) -> None:
    log = read_run_log(write_run(tmp_path / "first", recipe={"network": "lpn_18"}))
    assert log.name == "first"
    assert log.settings == {"network": "lpn_18"}
    assert log.stages == ("losses/fields_1", "losses/heatmaps_1")
    assert log.rates == ("lr-SGD/pg1",)
    np.testing.assert_array_equal(log.figures["loss"].steps, np.arange(10, 101, 10))
    np.testing.assert_array_equal(log.figures["val_metric"].steps, [20, 40, 60, 80, 100])
    np.testing.assert_allclose(log.figures["val_metric"].values, [0.095, 0.195, 0.295, 0.395, 0.495])


def test_a_run_that_was_resumed_gives_one_curve(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", range(9, 100, 10))
    write_run(run / "from_step_100", range(109, 200, 10), loss=1.0)
    write_run(run / "from_step_50", range(59, 120, 10), loss=3.0)  # was gone back to, and went beyond 100
    (run / "from_step_70").mkdir()  # wrote nothing
    loss = read_run_log(run).figures["loss"]
    np.testing.assert_array_equal(loss.steps, np.arange(10, 201, 10))
    base = loss.values / (1 + 1 / loss.steps)
    np.testing.assert_allclose(base, [2.0] * 5 + [3.0] * 5 + [1.0] * 10)


def test_a_run_that_goes_on_with_another_has_its_own_part(tmp_path: Path) -> None:
    write_run(tmp_path / "run" / "from_step_40", range(49, 100, 10))
    np.testing.assert_array_equal(read_run_log(tmp_path / "run").figures["loss"].steps, np.arange(50, 101, 10))


def test_a_line_that_is_being_written_is_left_out(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run")
    whole = read_run_log(run)
    with open(run / "metrics.csv", "a") as file:
        file.write("0,1.23")
    np.testing.assert_array_equal(read_run_log(run).figures["loss"].values, whole.figures["loss"].values)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, r"run: there is no metrics\.csv: give the folder of a run"),
        ("", r"metrics\.csv: is empty: the run has not logged anything yet"),
        ("loss,step\n", r"metrics\.csv: is empty"),
        ("loss,epoch\n1,2\n", r"metrics\.csv: .* line 1 names no column `step`"),
        ("step,loss,loss\n1,2,3\n", r"metrics\.csv: .* or one twice"),
        ("step,loss\n1,2\n2\n", r"metrics\.csv: line 3: has 1 values, but there are 2 columns"),
        ("step,loss\n1,2\n2,few\n", r"metrics\.csv: line 3: loss: 'few' is not a number"),
        ("step,loss\n,2\n", r"metrics\.csv: line 2: step: '' is not a number"),
        ("step,loss\n1.5,2\n", r"metrics\.csv: line 2: step: 1\.5 is not a number of steps"),
        ("step,loss\n-1,2\n", r"metrics\.csv: line 2: step: -1 is not a number of steps"),
        ("step,loss\ninf,2\n", r"metrics\.csv: line 2: step: inf is not a number of steps"),
        (b"\xff\xfe\x00step", r"metrics\.csv: is not a log of `manypose train`: it is not text"),
    ],
)
def test_what_is_no_log_is_refused_by_name(tmp_path: Path, content: str | bytes | None, message: str) -> None:
    run = tmp_path / "run"
    run.mkdir()
    if content is not None:
        (run / "metrics.csv").write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(DataError, match=message):
        read_run_log(run)


def test_what_is_no_folder_of_a_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"none: is not a folder; give that of a run"):
        read_run_log(tmp_path / "none")
    run = write_run(tmp_path / "run")
    for content in ("network: [", "just text"):
        (run / "recipe.yaml").write_text(content)
        with pytest.raises(DataError, match=r"recipe\.yaml: cannot be read as a recipe"):
            read_run_log(run)


@given(
    values=st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=50),
    weight=st.one_of(st.none(), st.floats(0, 0.99)),
)
def test_smoothing_stays_between_the_values_it_has_seen(values: list[float], weight: float | None) -> None:
    smoothed = smooth(np.array(values), weight)
    assert smoothed[0] == pytest.approx(values[0])
    for n, value in enumerate(smoothed, 1):
        assert min(values[:n]) - 1e-6 <= value <= max(values[:n]) + 1e-6


def test_smoothing_forgets_by_its_weight_and_passes_over_what_is_no_number() -> None:
    np.testing.assert_allclose(smooth(np.array([4.0, 1.0]), 0.5), [4.0, (0.25 * 4 + 0.5 * 1) / 0.75])
    np.testing.assert_allclose(smooth(np.array([np.nan, 2.0, np.nan, 2.0]), 0.5), [np.nan, 2, 2, 2])
    noise = np.random.default_rng(0).normal(size=3000)
    assert smooth(noise).std() < 0.15 * noise.std()
    np.testing.assert_array_equal(smooth(noise, 0.0), noise)
    np.testing.assert_array_equal(smooth(noise[:20]), noise[:20])  # a short curve stays as it is


@pytest.mark.parametrize(("recipe", "rules"), [("keras_openpose", "keras"), ("openpose_coco", "cmu-2017")])
def test_the_recipes_of_products_know_the_loss_that_was_published(recipe: str, rules: str) -> None:
    settings = settings_of(recipe)
    assert published_curve(settings) is PUBLISHED[rules]
    for other in (
        {"network": "ladder_paf"}, {"network_options": {"stages": 4}}, {"width": 0.5}, {"loss": "mean"},
        {"skeleton": "lsp14"}, {"size": 256}, {"target_rules": "ours"},
    ):  # fmt: skip
        assert published_curve(settings | other) is None, other


def test_other_recipes_have_no_published_curve() -> None:
    for recipe in ("openpose_mpi", "custom"):
        assert published_curve(settings_of(recipe)) is None
    assert published_curve({}) is None


def test_published_losses_are_consistent() -> None:
    keras, cmu = PUBLISHED["keras"], PUBLISHED["cmu-2017"]
    for curve in (keras, cmu):
        assert all(a < b for a, b in zip(curve.steps, curve.steps[1:], strict=False))
        assert {len(values) for values in curve.columns.values()} == {len(curve.steps)}
    parts = [values for column, values in keras.columns.items() if column != "loss"]
    assert len(parts) == 12
    decay = np.array(keras.columns["loss"]) - np.sum(parts, axis=0)
    assert (decay[0], decay[-1]) == pytest.approx((2.8, 4.7), abs=0.06)  # the total counts it, ours does not
    # A stage's two losses are about a sixth of the total once the first steps are done.
    late = np.array(cmu.steps) >= 500
    sums = np.array(cmu.columns["losses/fields_3"]) + np.array(cmu.columns["losses/heatmaps_3"])
    np.testing.assert_allclose((sums / np.array(cmu.columns["loss"]))[late], 1 / 6, rtol=0.06)


class TestPicture:
    @pytest.fixture(autouse=True)
    def _with_matplotlib(self) -> None:
        pytest.importorskip("matplotlib", reason="needs the extra [plot]")

    @pytest.mark.parametrize("log", [False, True], ids=["linear", "log"])
    def test_each_run_has_its_colour_in_a_picture_of_the_size_asked_for(self, tmp_path: Path, log: bool) -> None:
        runs = [write_run(tmp_path / f"run{n}", loss=2.0 + n) for n in range(3)]
        file = tmp_path / "curves.png"
        draw_curves(runs, file, look=Look(size=(900, 500), log=log))
        assert read(file).shape == (500, 900, 3)
        for colour in COLOURS[:3]:
            assert pixels(file, colour) > 200
        assert pixels(file, COLOURS[3]) == 0

    def test_the_published_curve_is_drawn_where_the_recipe_is_the_same(self, tmp_path: Path) -> None:
        steps = range(999, 30_000, 1000)
        plain = write_run(tmp_path / "a" / "run", steps, loss=600)
        theirs = write_run(tmp_path / "b" / "run", steps, loss=600, recipe=settings_of("openpose_coco"))
        assert draw_curves([plain], tmp_path / "a.png", metrics=["loss"], look=SMALL) == []
        found = draw_curves([theirs], tmp_path / "b.png", metrics=["loss"], look=SMALL)
        assert found == [PUBLISHED["cmu-2017"]]
        assert "ZheC/Realtime_Multi-Person_Pose_Estimation" in found[0].label
        assert pixels(tmp_path / "b.png", "#444444") > pixels(tmp_path / "a.png", "#444444") + 50
        both = [theirs, write_run(tmp_path / "c", steps, loss=600, recipe=settings_of("keras_openpose"))]
        assert draw_curves(both, tmp_path / "c.png", look=SMALL) == [PUBLISHED["cmu-2017"], PUBLISHED["keras"]]

    def test_one_chooses_the_figures_that_are_drawn(self, tmp_path: Path) -> None:
        run = write_run(tmp_path / "run")
        for number, metrics in enumerate((["loss"], ["val_metric"], ["loss", "val_metric"])):
            draw_curves([run], tmp_path / f"{number}.png", metrics=metrics, look=SMALL)
        pictures = [read(tmp_path / f"{number}.png") for number in range(3)]
        assert (pictures[0] != pictures[1]).any()
        assert (pictures[0] != pictures[2]).any()
        with pytest.raises(DataError, match=r"no run has a figure 'AP'; there are loss, losses/fields_1, .*val_metric"):
            draw_curves([run], tmp_path / "none.png", metrics=["AP"], look=SMALL)
        assert not (tmp_path / "none.png").exists()

    def test_a_run_without_validation_or_with_strange_names_is_drawn(self, tmp_path: Path) -> None:
        names = ("_hidden", "$x^2", "名", "a" * 200, "run")
        runs = [write_run(tmp_path / name, [0]) for name in names] + [write_run(tmp_path / "other" / "run", [4])] * 3
        draw_curves(runs, tmp_path / "curves.png", look=SMALL)
        assert pixels(tmp_path / "curves.png", COLOURS[0]) > 0

    def test_losses_that_are_no_numbers_leave_gaps(self, tmp_path: Path) -> None:
        run = tmp_path / "run"
        run.mkdir()
        (run / "metrics.csv").write_text("step,loss,val_metric\n0,nan,nan\n1,1,nan\n2,inf,nan\n3,0.5,nan\n")
        draw_curves([run], tmp_path / "curves.png", look=SMALL)
        assert pixels(tmp_path / "curves.png", COLOURS[0]) > 0

    def test_settings_of_matplotlib_stay_as_they_were(self, tmp_path: Path) -> None:
        import matplotlib

        def settings() -> dict[str, Any]:  # but the backend, which matplotlib chooses when it is asked for it
            return {key: matplotlib.rcParams[key] for key in matplotlib.rcParams if key != "backend"}

        before = settings()
        draw_curves([write_run(tmp_path / "run")], tmp_path / "curves.png", look=SMALL)
        assert settings() == before

    def test_files_are_not_overwritten_unasked(self, tmp_path: Path) -> None:
        run, file = write_run(tmp_path / "run"), tmp_path / "curves.png"
        file.write_text("mine")
        with pytest.raises(OutputError, match=r"curves\.png: the file exists"):
            draw_curves([run], file, look=SMALL)
        assert file.read_text() == "mine"
        draw_curves([run], file, look=SMALL, overwrite=True)
        assert read(file).shape == (450, 800, 3)
        with pytest.raises(OutputError, match=r"curves\.svg: curves are drawn as PNG"):
            draw_curves([run], tmp_path / "curves.svg", look=SMALL)


def test_without_matplotlib_one_line_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(MissingExtraError, match=r"this needs matplotlib, .*: pip install 'manypose\[plot\]'"):
        draw_curves([write_run(tmp_path / "run")], tmp_path / "curves.png")
    assert not (tmp_path / "curves.png").exists()
