"""The options of other programs are those of the facts; flips and scales average what a plain program would."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from manypose.cli.evaluate import PRESETS as NAMES
from manypose.codecs.grouping import DecoderSettings
from manypose.errors import ManyposeError
from manypose.estimators.bottom_up import BottomUpOptions
from manypose.estimators.top_down import TopDownOptions
from manypose.evaluation.presets import PRESETS, preset
from manypose.skeleton import load_skeleton

OPENPOSE = load_skeleton("openpose18")
# Name, size, scales, flip, least peak, least field, share of the places, joints, mean, heights a limb may have: the
# table of parameters of CMU's family of programs, and of the Keras and MXNet programs' evaluation.
BOTTOM_UP = [
    ("treb1en", ("short_side", 368), (1.0,), False, 0.05, 0.05, 0.9, 3, 0.2, 0.0),
    ("keras", ("height", 368), (0.5, 1.0, 1.5, 2.0), False, 0.1, 0.05, 0.9, 4, 0.4, 0.5),
    ("mxnet", ("short_side", 368), (0.5, 1.0, 1.5, 2.0, 2.5), True, 0.1, 0.05, 0.9, 3, 0.2, 0.5),
    ("xuexingyu", ("scale", 0.3), (1.0,), False, 0.1, 0.1, 0.9, 4, 0.4, 0.5),
    ("hzzone", ("height", 368), (0.5,), False, 0.1, 0.05, 0.9, 4, 0.4, 0.5),
    ("tensorboy", ("short_side", 368), (1.0,), False, 0.1, 0.05, 0.7, 4, 0.3, 0.5),
    ("daniil", ("height", 368), (1.0,), False, 0.1, 0.05, 0.9, 3, 0.2, 0.0),
    ("openpose", ("height", 368), (1.0,), False, 0.05, 0.05, 0.95, 3, 0.4, 0.0),
]
SCORES = {
    "treb1en": ("total", 0.0, False),
    "keras": ("1 - 1 / total", 0.0, True),
    "mxnet": ("total x joints", 0.5, False),
    "xuexingyu": ("total", 0.0, False),
    "hzzone": ("total", 0.0, False),
    "tensorboy": ("one", 0.0, False),
    "daniil": ("total x (joints - 1)", 0.5, False),
    "openpose": ("total", 0.0, False),
}


@pytest.mark.parametrize("row", BOTTOM_UP, ids=lambda row: row[0])
def test_options_of_bottom_up_programs(row: tuple[Any, ...]) -> None:
    name, (side, pixels), scales, flip, peak, field, support, joints, mean, heights = row
    chosen = preset(name, "bottom-up")
    options = BottomUpOptions(**chosen.estimator)
    sizes = {size: getattr(options, size) for size in ("long_side", "short_side", "height", "scale")}
    assert {size: value for size, value in sizes.items() if value is not None} == {side: pixels}
    assert (options.scales, options.flip) == (scales, flip)
    decoder = DecoderSettings(**dict(options.decoder))  # type: ignore[arg-type]
    assert (decoder.peak_threshold, decoder.field_threshold, decoder.field_support) == (peak, field, support)
    assert (decoder.min_joints, decoder.min_mean, decoder.limb_heights) == (joints, mean, heights)
    assert decoder.limb_widths == (1.0 if name == "treb1en" else 0.0)
    assert (decoder.min_score, decoder.sure_joint, decoder.longest_limb) == (0, 0, 0)
    rows = {"person_score": "own", "offset": 0.0, "whole": False, **chosen.rows}
    assert (rows["person_score"], rows["offset"], rows["whole"]) == SCORES[name]


@pytest.mark.parametrize("name", ["keras", "hzzone", "daniil"])
def test_programs_that_resize_cubic_and_pad_with_grey(name: str) -> None:
    assert PRESETS[name].estimator["interpolation"] == "cubic"
    assert PRESETS[name].estimator["fill"] == 128
    assert PRESETS["mxnet"].estimator["fill"] == 0


@pytest.mark.parametrize(("name", "decoding"), [("hrnet", "quarter"), ("humanpose", "soft-argmax+quarter")])
def test_options_of_top_down_programs(name: str, decoding: str) -> None:
    options = TopDownOptions(**preset(name, "top-down").estimator)
    assert (options.flip, options.flip_shift, options.decoding) == (True, True, decoding)
    assert (options.rescore, options.joint_threshold) == (True, 0.2)
    assert (options.suppression, options.similarity) == ("hard", 0.9)


def test_every_preset_is_offered_and_documented() -> None:
    assert set(NAMES) == set(PRESETS)
    page = (Path(__file__).parents[2] / "docs" / "evaluate.md").read_text()
    assert [name for name in PRESETS if f"| `{name}` |" not in page] == []
    with pytest.raises(ManyposeError, match="no preset is called 'cmu'; there are treb1en"):
        preset("cmu", "bottom-up")
    with pytest.raises(ManyposeError, match="--like hrnet is for top-down models, and this is a bottom-up one; there"):
        preset("hrnet", "bottom-up")


def test_mirrored_maps_are_permuted_as_the_products_lists_have_it() -> None:
    heat = [0, 1, 5, 6, 7, 2, 3, 4, 11, 12, 13, 8, 9, 10, 15, 14, 17, 16, 18]
    limbs = [3, 4, 5, 0, 1, 2, 10, 11, 12, 13, 6, 7, 8, 9, 14, 16, 15, 18, 17]
    fields = [*range(6, 12), *range(6), *range(20, 28), *range(12, 20), 28, 29, 32, 33, 30, 31, 36, 37, 34, 35]
    assert [*OPENPOSE.flip.tolist(), 18] == heat
    channels, signs = OPENPOSE.field_flip
    assert channels.tolist() == fields
    assert (channels[::2] // 2).tolist() == limbs
    assert signs.tolist() == [-1.0, 1.0] * 19


def test_maps_of_scales_and_mirrors_are_averaged_as_a_plain_program_does() -> None:
    """Each view's maps are turned back and enlarged to the finest grid by themselves, then their mean is taken."""
    from dataclasses import dataclass, field

    from manypose.codecs.fields import FieldsCodec
    from manypose.estimators.bottom_up import BottomUp
    from manypose.metadata import InputSettings, Metadata

    @dataclass
    class Noise:
        """A network whose maps are smooth noise that depends on the picture's size and first pixel alone."""

        metadata: Metadata = field(
            default_factory=lambda: Metadata(
                name="noise",
                task="bottom-up",
                skeleton="openpose18",
                outputs={"h": "heatmaps", "f": "fields"},
                input=InputSettings(stride=8),
            )
        )
        skeleton: Any = OPENPOSE
        codec: FieldsCodec = field(default_factory=lambda: FieldsCodec(OPENPOSE))

        def prepare(self, pictures: list[Any]) -> Any:
            return np.stack(pictures).astype(np.float32).transpose(0, 3, 1, 2)

        def run(self, batch: Any) -> dict[str, Any]:
            both = [self.maps(picture) for picture in batch]
            return {"heatmaps": np.stack([b[:19] for b in both]), "fields": np.stack([b[19:] for b in both])}

        @staticmethod
        def maps(picture: Any) -> Any:
            _, height, width = picture.shape
            rng = np.random.default_rng([height, width, int(picture[0, 0, 0])])
            coarse = rng.random((57, height // 32, width // 32), np.float32)
            return np.stack([cv2.resize(m, (width // 8, height // 8)) for m in coarse])

    network = Noise()
    picture = np.zeros((128, 256, 3), np.uint8)
    picture[:, :128] = 200  # so that the mirrored picture begins with another pixel
    options = BottomUpOptions(long_side=256, scales=(1.0, 2.0, 0.5), flip=True)
    (maps,) = BottomUp(network, options).maps([picture])  # type: ignore[arg-type]
    total = np.zeros((57, 32, 64))
    channels, signs = OPENPOSE.field_flip
    for scale in (2.0, 1.0, 0.5):
        for corner, mirrored in ((200, False), (0, True)):
            shown = np.full((3, int(128 * scale), int(256 * scale)), corner)
            own = Noise.maps(shown)
            if mirrored:
                own = own[:, :, ::-1]
                own = np.concatenate([own[[*OPENPOSE.flip, 18]], signs[:, None, None] * own[19:][channels]])
            total += np.stack([cv2.resize(np.ascontiguousarray(m), (64, 32)) for m in own]) / 6
    assert np.abs(maps.heatmaps - total[:19]).max() < 2e-2  # a plain program's enlargement has 5 bits of fraction
    assert np.abs(maps.fields - total[19:]).max() < 2e-2
    assert np.abs(maps.heatmaps - total[:19]).mean() < 1e-3


def test_a_limb_longer_than_is_free_scores_less_and_may_be_refused() -> None:
    from manypose.codecs.limbs import connect
    from manypose.codecs.peaks import Peaks

    a, b = OPENPOSE.fields[0]
    joints = np.array(sorted((a, b)))
    peaks = Peaks(
        joints=joints,
        x=np.array([2, 18], np.float32) if a < b else np.array([18, 2], np.float32),
        y=np.array([5, 5], np.float32),
        scores=np.ones(2, np.float32),
        starts=np.searchsorted(joints, np.arange(19)),
    )
    fields = np.zeros((38, 12, 24), np.float32)
    fields[0] = 0.8  # the first limb points to the right

    def scores(free: float) -> list[float]:
        found = connect(peaks, fields, OPENPOSE, threshold=0.05, support=0.9, free_length=free)
        return [round(score, 4) for score in found.scores.tolist()]

    assert scores(0) == scores(16) == [0.8]
    assert scores(8) == [0.3]  # 0.8 + 8 / 16 - 1
    assert scores(3) == []  # 0.8 + 3 / 16 - 1 < 0


def test_people_whose_scores_are_low_on_the_mean_are_left_out() -> None:
    from dataclasses import replace

    from manypose.codecs.fields import FieldsCodec

    codec = FieldsCodec(OPENPOSE)
    standing = np.full((1, 18, 2), np.nan)
    standing[0, :] = np.column_stack([np.linspace(60, 100, 18), np.linspace(20, 180, 18)])
    heatmaps, fields = codec.encode(standing.astype(np.float32), (160, 200))
    assert len(codec.decode(heatmaps, fields)) == 1
    for mean, count in ((0.5, 1), (5.0, 0)):
        strict = replace(codec, decoder=replace(codec.decoder, min_mean=mean))
        assert len(strict.decode(heatmaps, fields)) == count
