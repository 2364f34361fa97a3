"""From a picture of any size to people in its pixels, with a stand-in for the network that always knows better.

The colours of a test picture are ramps from left to right and from top to bottom. The stand-in finds out from them
where the places of the picture lie in what it is shown, however that was resized, padded or mirrored, and answers
with the maps that `FieldsCodec` makes of the people there. So all errors are those of the way there and back.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from manypose.codecs.fields import FieldsCodec
from manypose.errors import ImageError, ManyposeError
from manypose.estimators.bottom_up import BottomUp, BottomUpOptions
from manypose.model import InputSettings, Metadata
from manypose.people import People
from manypose.skeleton import Skeleton, load_skeleton

SKELETON = load_skeleton("openpose18")
# A person in parts of his height; left is at the right of the picture, as he looks at us.
BODY = np.array(
    [
        (0.00, 0.08), (0.00, 0.20), (-0.12, 0.21), (-0.17, 0.36), (-0.19, 0.50), (0.12, 0.20), (0.18, 0.35),
        (0.17, 0.48), (-0.07, 0.52), (-0.08, 0.74), (-0.09, 0.95), (0.08, 0.51), (0.07, 0.73), (0.10, 0.94),
        (-0.03, 0.05), (0.03, 0.055), (-0.06, 0.07), (0.065, 0.075),
    ],
    np.float64,
)  # fmt: skip


@dataclass
class StandIn:
    """Looks like a `Model`; `answers` are the colours (N, K, 2) of the joints in the picture of each label."""

    long_side: int = 256
    metadata: Metadata = field(init=False)
    batches: list[tuple[int, ...]] = field(default_factory=list)
    skeleton: Skeleton = SKELETON
    codec: FieldsCodec = field(default_factory=lambda: FieldsCodec(SKELETON))
    answers: dict[int, NDArray[np.float64]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        settings = InputSettings(long_side=self.long_side)
        self.metadata = Metadata(
            name="stand-in",
            task="bottom-up",
            skeleton="openpose18",
            outputs={"h": "heatmaps", "f": "fields"},
            input=settings,
        )

    def prepare(self, pictures: list[NDArray[np.uint8]]) -> NDArray[np.float32]:
        return np.stack([picture.astype(np.float32).transpose(2, 0, 1) for picture in pictures])

    def run(self, batch: NDArray[np.float32]) -> dict[str, NDArray[np.float32]]:
        self.batches.append(batch.shape)
        size = (batch.shape[3], batch.shape[2])
        maps = [self.codec.encode(self.read(picture), size) for picture in batch]
        return {"heatmaps": np.stack([m[0] for m in maps]), "fields": np.stack([m[1] for m in maps])}

    def read(self, picture: NDArray[np.float32]) -> NDArray[np.float32]:
        """The people (N, K, 2) of a picture (3, h, w), as a network would see them.

        Red and green are ramps across and down the picture as it was given, so a joint is where both have its values;
        blue names the picture, and tells it from the padding. Where red falls the picture is mirrored: the side that
        looks like the left one is the left one.
        """
        rows, columns = np.nonzero(picture[2] > 140)
        (top, left), (bottom, right) = ((f(rows), f(columns)) for f in (np.min, np.max))
        inner = (rows > top + 1) & (rows < bottom - 1) & (columns > left + 1) & (columns < right - 1)
        rows, columns = rows[inner], columns[inner]  # the ramps are bent at the border of a resized picture
        design = np.column_stack([columns, rows, np.ones(len(rows))])
        planes, *_ = np.linalg.lstsq(design, picture[:2, rows, columns].T, rcond=None)
        people = self.answers[round(float(picture[2, rows, columns].mean()))]
        places = np.linalg.solve(planes[:2].T, (people - planes[2]).reshape(-1, 2).T).T.reshape(people.shape)
        return (places[:, self.skeleton.flip] if planes[0, 0] < 0 else places).astype(np.float32)


def ramp_picture(width: int, height: int, label: int = 200) -> NDArray[np.uint8]:
    """A picture whose red grows from left to right and whose green grows from top to bottom."""
    picture = np.empty((height, width, 3), np.uint8)
    picture[..., 0] = np.round(np.linspace(20, 235, width))
    picture[..., 1] = np.round(np.linspace(20, 235, height))[:, None]
    picture[..., 2] = label
    return picture


def ramp_values(people: NDArray[np.float64], width: int, height: int) -> NDArray[np.float64]:
    return 20 + 215 * people / (width - 1, height - 1)


def crowd(width: int, height: int, count: int = 1) -> NDArray[np.float64]:
    """People (N, 18, 2) side by side in a picture."""
    tall = 0.9 * min(height, 2 * width / count)
    offsets = (np.arange(count) + 0.5) * width / count
    return np.stack([BODY * tall + (x, 0.05 * height) for x in offsets])


def scene(
    network: StandIn, width: int, height: int, count: int = 1, label: int = 200
) -> tuple[NDArray[np.uint8], NDArray[np.float64]]:
    people = crowd(width, height, count)
    network.answers[label] = ramp_values(people, width, height)
    return ramp_picture(width, height, label), people


def estimator(network: StandIn, **options: Any) -> BottomUp:
    return BottomUp(network, BottomUpOptions(**options))  # type: ignore[arg-type]


def errors(people: People, truth: NDArray[np.float64]) -> NDArray[np.float64]:
    """Distances (N, K) in pixels; people from left to right."""
    assert len(people) == len(truth)
    order = np.argsort(people.joint("neck")[:, 0])
    assert people.visible.all()
    return np.linalg.norm(people.keypoints[order] - truth, axis=2)


@pytest.mark.parametrize(
    ("width", "height", "count"),
    [
        (256, 256, 1),  # as the network likes it
        (640, 480, 3),  # smaller by a factor that is no whole number
        (1024, 512, 4),  # smaller by four
        (123, 77, 1),  # larger
        (301, 407, 1),  # upright
    ],
)
@pytest.mark.parametrize("flip", [False, True])
def test_people_come_back_in_pixels_of_the_picture(width: int, height: int, count: int, flip: bool) -> None:
    network = StandIn()
    picture, truth = scene(network, width, height, count)
    people = estimator(network, flip=flip)(picture)
    assert people.image_size == (width, height)
    assert people.skeleton is SKELETON
    scale = max(width, height) / 256
    error = errors(people, truth)
    # The decoder's own error, of a quarter of the network's pixel, is far from the half pixel of a wrong convention.
    assert error.mean() < 0.25 * scale
    bias = (people.keypoints[np.argsort(people.joint("neck")[:, 0])] - truth).mean(axis=(0, 1))
    assert np.abs(bias).max() < 0.15 * scale


def test_a_mirrored_picture_gives_mirrored_people() -> None:
    network = StandIn()
    picture, _ = scene(network, 300, 200, 2)
    plain = estimator(network, flip=True)(picture)
    mirrored = estimator(network, flip=True)(np.ascontiguousarray(picture[:, ::-1]))
    back = mirrored.keypoints[:, SKELETON.flip]
    back[..., 0] = 299 - back[..., 0]
    order = [np.argsort(keypoints[:, 1, 0]) for keypoints in (plain.keypoints, back)]
    np.testing.assert_allclose(back[order[1]], plain.keypoints[order[0]], atol=0.2)


@pytest.mark.parametrize(("width", "height"), [(256, 192), (250, 190), (211, 256)])
def test_averaging_with_the_mirror_image_changes_nothing_in_exact_maps(width: int, height: int) -> None:
    network = StandIn()
    picture, _ = scene(network, width, height)
    (plain,) = estimator(network).maps([picture])
    (both,) = estimator(network, flip=True).maps([picture])
    assert both.heatmaps.shape == plain.heatmaps.shape
    # What is left is that the places are found in another picture, and cells on the edge of a limb.
    assert np.abs(both.heatmaps[:18] - plain.heatmaps[:18]).max() < 0.01
    assert (np.abs(both.fields - plain.fields) > 0.01).mean() < 1e-3


@pytest.mark.parametrize("scales", [(1.0, 0.5), (0.5, 1.0), (1.0, 1.5, 2.0)])
@pytest.mark.parametrize("flip", [False, True])
def test_several_scales_agree_on_the_places(scales: tuple[float, ...], flip: bool) -> None:
    network = StandIn()
    picture, truth = scene(network, 333, 222)
    people = estimator(network, scales=scales, flip=flip)(picture)
    assert errors(people, truth).mean() < 0.75
    assert len(network.batches) == len(scales)


def test_the_grid_of_averaged_maps_is_the_finest_without_padding_whatever_the_order_of_scales() -> None:
    network = StandIn()
    picture, _ = scene(network, 200, 100)
    (maps,) = estimator(network, scales=(1.0, 2.0)).maps([picture])
    (turned,) = estimator(network, scales=(2.0, 1.0)).maps([picture])
    assert maps.heatmaps.shape == (19, 32, 64)
    np.testing.assert_array_equal(turned.heatmaps, maps.heatmaps)
    (plain,) = estimator(network).maps([picture])
    assert plain.fields.shape == (38, 16, 32)


@pytest.mark.parametrize(
    ("options", "shape"),
    [
        ({}, (1, 3, 128, 256)),
        ({"long_side": 100}, (1, 3, 64, 128)),
        ({"scale": 1}, (1, 3, 160, 320)),
        ({"scale": 0.5, "scales": (2.0,)}, (1, 3, 160, 320)),
        ({"flip": True}, (2, 3, 128, 256)),
    ],
)
def test_the_size_at_which_the_network_sees_a_picture(options: dict[str, Any], shape: tuple[int, ...]) -> None:
    network = StandIn()
    picture, _ = scene(network, 300, 150)
    estimator(network, **options)(picture)
    assert network.batches == [shape]


def test_pictures_of_one_size_run_together_and_the_batch_changes_nothing() -> None:
    network = StandIn()
    sizes = [(256, 128), (100, 200), (256, 128), (512, 256), (90, 90)]
    pictures = [scene(network, *size, label=150 + 20 * n)[0] for n, size in enumerate(sizes)]
    together = estimator(network).batch(pictures)
    assert sorted(network.batches) == [(1, 3, 256, 128), (1, 3, 256, 256), (3, 3, 128, 256)]
    alone = [estimator(network)(picture) for picture in pictures]
    assert together == alone
    assert estimator(network).batch(pictures[::-1]) == alone[::-1]
    assert [people.image_size for people in together] == sizes


def test_no_pictures_give_no_results() -> None:
    assert estimator(StandIn()).batch([]) == []


@pytest.mark.parametrize("size", [(1, 1), (5000, 3), (2, 4000), (1, 300)])
@pytest.mark.parametrize("flip", [False, True])
def test_strange_sizes_have_nobody(size: tuple[int, int], flip: bool) -> None:
    network = StandIn()
    network.read = lambda _: np.zeros((0, 18, 2), np.float32)  # type: ignore[method-assign]
    picture = np.full((size[1], size[0], 3), 200, np.uint8)
    people = estimator(network, flip=flip, scales=(1.0, 0.5))(picture)
    assert people == People.empty(SKELETON, size)


def test_a_long_picture_at_its_own_size() -> None:
    network = StandIn()
    network.read = lambda _: np.zeros((0, 18, 2), np.float32)  # type: ignore[method-assign]
    picture = np.zeros((1, 300_000, 3), np.uint8)
    assert estimator(network, scale=1.0, flip=True)(picture) == People.empty(SKELETON, (300_000, 1))


def test_a_scale_by_mistake_is_refused_before_it_takes_the_memory() -> None:
    with pytest.raises(ImageError, match="more than the limit of 40 million pixels; choose a smaller size"):
        estimator(StandIn(), scale=1000)(np.zeros((100, 100, 3), np.uint8))


def test_joints_stay_within_the_picture() -> None:
    network = StandIn()
    picture, _ = scene(network, 256, 256)
    network.answers[200] = ramp_values(crowd(256, 256) + np.array((0, 22)), 256, 256)
    people = estimator(network)(picture)
    assert len(people) == 1
    places = people.keypoints[people.visible]
    assert places.min() >= 0
    assert places.max() <= 255
    np.testing.assert_array_equal(people.boxes[0], [*places.min(axis=0), *places.max(axis=0)])


def test_the_threshold_is_the_least_score_of_a_person() -> None:
    network = StandIn()
    picture, _ = scene(network, 320, 200, 2)
    network.answers[200][1, 8:14] = 1e6  # the second one has no legs
    everybody = estimator(network)(picture)
    assert len(everybody) == 2
    high, low = everybody.person_scores
    assert high > low
    assert len(estimator(network, threshold=float(high + low) / 2)(picture)) == 1
    assert len(estimator(network, threshold=0.0)(picture)) == 2
    assert len(estimator(network, threshold=1.1)(picture)) == 0


def test_a_picture_comes_as_path_bytes_or_array(tmp_path: Path) -> None:
    import cv2

    network = StandIn()
    picture, _ = scene(network, 256, 160)
    file = tmp_path / "scene.png"
    file.write_bytes(cv2.imencode(".png", picture[..., ::-1])[1].tobytes())
    people = estimator(network).batch([picture, file, str(file), file.read_bytes()])
    assert people[0] == people[1] == people[2] == people[3]
    with pytest.raises(ImageError, match=r"none\.png: no such file"):
        estimator(network)(tmp_path / "none.png")


def test_times_add_up_what_the_stages_took() -> None:
    network = StandIn()
    picture, _ = scene(network, 256, 160)
    run = estimator(network)
    run(picture)
    first = (run.times.prepare, run.times.network, run.times.decode)
    assert min(first) > 0
    run(picture)
    assert run.times.network > first[1]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"long_side": 100, "scale": 1.0}, "long_side and scale are two ways to set one size"),
        ({"long_side": 0}, "long_side and scale must be positive"),
        ({"scale": -1.0}, "long_side and scale must be positive"),
        ({"scale": float("nan")}, "long_side and scale must be positive"),
        ({"scales": ()}, "scales are .* expected one or more positive numbers"),
        ({"scales": (1.0, 0.0)}, "scales are .* expected one or more positive numbers"),
        ({"threshold": float("nan")}, "threshold is nan, expected a number"),
    ],
)
def test_options_that_make_no_sense(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ManyposeError, match=message):
        BottomUpOptions(**options)


def test_a_large_batch_is_run_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    network = StandIn()
    pictures = [scene(network, 256, 128 + 32 * (n % 2))[0] for n in range(5)]
    whole = [estimator(network)(picture) for picture in pictures]
    network.batches.clear()
    monkeypatch.setattr("manypose.estimators.bottom_up.PICTURES_AT_ONCE", 4)
    monkeypatch.setattr("manypose.estimators.bottom_up.INPUTS_AT_ONCE", 3 * 256 * 128)
    assert estimator(network).batch(pictures) == whole
    # Four pictures, two of each size, of which the larger ones are too many for one run; then the last one.
    assert [batch[0] for batch in network.batches] == [2, 2, 1]
    monkeypatch.setattr("manypose.estimators.bottom_up.INPUTS_AT_ONCE", 1)
    network.batches.clear()
    assert estimator(network).batch(pictures) == whole
    assert [batch[0] for batch in network.batches] == [1] * 5


def test_each_thread_has_its_own_times() -> None:
    from concurrent.futures import ThreadPoolExecutor

    network = StandIn()
    picture, _ = scene(network, 256, 160)
    run = estimator(network)
    run(picture)
    before = dataclasses.replace(run.times)
    with ThreadPoolExecutor(1) as pool:
        pool.submit(run, picture).result()
        others = pool.submit(lambda: run.times).result()
    assert run.times == before
    assert others.network > 0


@pytest.mark.parametrize(
    ("options", "size"),
    [
        ({"height": 128}, (128, 288)),
        ({"short_side": 128}, (128, 288)),
        ({"long_side": 256}, (128, 256)),
        ({"scale": 0.5}, (160, 320)),
    ],
)
def test_what_sets_the_size_of_the_input(options: dict[str, Any], size: tuple[int, int]) -> None:
    network = StandIn()
    picture, truth = scene(network, 640, 290)
    for interpolation in ("auto", "linear", "cubic"):
        network.batches.clear()
        people = estimator(network, interpolation=interpolation, **options)(picture)
        assert network.batches[0][2:] == size
        assert errors(people, truth).mean() < 8, interpolation  # places are where they were, however it is resized


def test_the_padding_and_the_decoder_can_be_set() -> None:
    network = StandIn()
    picture, _ = scene(network, 256, 150)
    run = estimator(network, fill=7, decoder={"min_joints": 19})
    (view,) = run._views(picture)
    assert (view.picture[150:] == 7).all()
    assert view.picture.shape == (160, 256, 3)
    assert len(run(picture)) == 0
    assert run.codec.decoder.min_joints == 19
    with pytest.raises(ManyposeError, match="the decoder has no setting 'joints'; there are peak_threshold"):
        estimator(network, decoder={"joints": 3})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"height": 100, "short_side": 80}, "short_side and height are two ways to set one size"),
        ({"interpolation": "lanczos"}, "interpolation is 'lanczos', expected auto, linear or cubic"),
        ({"fill": 300}, "fill is 300, expected a grey value"),
    ],
)
def test_options_of_comparisons_that_make_no_sense(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ManyposeError, match=message):
        BottomUpOptions(**options)
