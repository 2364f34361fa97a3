"""Pictures of networks: valid SVG, every block in it, nothing on top of anything else, every line ends at a box."""

from __future__ import annotations

import re
from itertools import combinations, pairwise
from xml.etree import ElementTree

import pytest

torch = pytest.importorskip("torch", reason="needs the extra [train]")

from manypose.networks.describe import Description, describe_network  # noqa: E402
from manypose.networks.diagram import draw_svg  # noqa: E402

pytestmark = pytest.mark.train

NARROW = {
    "mobilenet_paf": 0.125,
    "ladder_paf": 0.25,
    "vgg_paf": 0.125,
    "body25": 0.125,
    "hrnet_w32": 0.25,
    "lpn_50": 0.25,
    "pose_resnet_50": 0.125,
}
SVG = "{http://www.w3.org/2000/svg}"
Rectangle = tuple[float, float, float, float]


class Drawn:
    """A network's description and what its picture holds."""

    def __init__(self, name: str) -> None:
        self.description: Description = describe_network(name, size=(96, 128), width=NARROW[name])
        self.root = ElementTree.fromstring(draw_svg(self.description))
        self.size = float(self.root.attrib["width"]), float(self.root.attrib["height"])
        self.texts = list(self.root.iter(f"{SVG}text"))
        self.boxes = [rectangle(element) for element in self.root.iter(f"{SVG}rect") if element.get("class") == "block"]
        paths = [element.attrib for element in self.root.iter(f"{SVG}path")]
        self.lines = [corners(path["d"]) for path in paths if path["fill"] == "none"]
        self.heads = [corners(path["d"])[0] for path in paths if " l-4 -7 h8 z" in path["d"]]


def rectangle(element: ElementTree.Element) -> Rectangle:
    x, y, width, height = (float(element.attrib[key]) for key in ("x", "y", "width", "height"))
    return x, y, x + width, y + height


def corners(path: str) -> list[tuple[float, float]]:
    return [(float(x), float(y)) for x, y in re.findall(r"[ML]([\d.]+) ([\d.]+)", path)]


def overlap(a: Rectangle, b: Rectangle) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


@pytest.fixture(scope="module", params=NARROW)
def drawn(request: pytest.FixtureRequest) -> Drawn:
    return Drawn(request.param)


def test_every_block_is_named_and_so_is_the_network(drawn: Drawn) -> None:
    texts = [text.text for text in drawn.texts]
    assert drawn.description.name in texts
    for block in drawn.description.blocks:
        assert block.name in texts
    assert f"{drawn.description.parameters:,} parameters" in " ".join(filter(None, texts))


def test_there_is_a_box_for_the_picture_each_block_and_each_result_and_none_overlap(drawn: Drawn) -> None:
    assert len(drawn.boxes) == 1 + len(drawn.description.blocks) + len(drawn.description.results)
    assert not [pair for pair in combinations(drawn.boxes, 2) if overlap(*pair)]


def test_everything_lies_within_the_picture(drawn: Drawn) -> None:
    points = [point for line in drawn.lines for point in line]
    points += [corner for x1, y1, x2, y2 in drawn.boxes for corner in ((x1, y1), (x2, y2))]
    assert all(0 <= x <= drawn.size[0] and 0 <= y <= drawn.size[1] for x, y in points)


def test_texts_fit_their_boxes(drawn: Drawn) -> None:
    for text in drawn.texts:
        if text.get("text-anchor") == "middle":
            width = 0.62 * float(text.attrib["font-size"]) * len(text.text or "")
            assert width < 208, text.text


def test_lines_are_upright_or_level_and_cross_no_box(drawn: Drawn) -> None:
    for line in drawn.lines:
        for (x1, y1), (x2, y2) in pairwise(line):
            assert x1 == x2 or y1 == y2
            stroke = (min(x1, x2) - 0.5, min(y1, y2) + 0.5, max(x1, x2) + 0.5, max(y1, y2) - 0.5)
            if stroke[1] < stroke[3]:
                assert not [box for box in drawn.boxes if overlap(stroke, box)]


def test_an_arrow_for_each_input_ends_on_top_of_a_box(drawn: Drawn) -> None:
    rows = {block.name: block.row for block in drawn.description.blocks}
    inputs = [
        (source, taker.name)
        for taker in (*drawn.description.blocks, *drawn.description.results)
        for source in taker.inputs
        if not (rows.get(taker.name) and rows.get(source) == rows[taker.name])
    ]
    assert len(drawn.heads) == len(inputs)
    for x, y in drawn.heads:
        assert [box for box in drawn.boxes if box[0] < x < box[2] and box[1] == y]
    assert len(set(drawn.heads)) == len(drawn.heads)
