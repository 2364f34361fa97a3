"""A network as a picture: its blocks in rows from the picture down to the maps, with arrows between them, as SVG.

An arrow between blocks that do not follow each other runs in a lane beside the boxes. All that come from one block are
one line which branches, so every horizontal line has its own height and no line crosses a box.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from xml.sax.saxutils import escape

from manypose.networks.describe import PICTURE, Block, Description, Shape, kinds_of

WIDTH, HEIGHT, BETWEEN = 208.0, 76.0, 34.0  # pixels: of a box, and between two of a row
MARGIN, TITLE, LABELS = 24.0, 64.0, 84.0  # around the picture; height of the title; width of the strides at the left
TRACK, LANE = 9.0, 12.0  # pixels between two parallel lines, across and down
COLOURS = {  # of the fill, of the border and of the lines that come from it
    "picture": ("#f4f4f5", "#71717a"),
    "convolutions": ("#e0edff", "#2f6fd0"),
    "convolutions, joined": ("#dff5ea", "#1d8a5a"),
    "depthwise convolutions": ("#fdf0d9", "#b7791f"),
    "deconvolutions": ("#fbe4ea", "#c03a5b"),
    "1x1 convolutions": ("#ece6fd", "#6d4bc4"),
    "maps": ("#1f2937", "#1f2937"),
}
_COLUMN = re.compile(r"(?:stage\d+\.branches|transition\d+)\.(\d+)")


@dataclass
class Box:
    """A box: what is written in it, where it stands (left and top), and the names of the boxes that lead to it."""

    name: str
    kind: str
    lines: tuple[str, ...]
    inputs: tuple[str, ...]
    row: str = ""
    stride: int | None = None
    x: float = 0.0
    y: float = 0.0
    rank: int = 0
    width: float = field(default=WIDTH)
    height: float = field(default=HEIGHT)

    @property
    def middle(self) -> float:
        return self.x + self.width / 2

    @property
    def bottom(self) -> float:
        return self.y + self.height


def draw_svg(description: Description) -> str:
    """The SVG file of a network, as text."""
    boxes = {box.name: box for box in _boxes(description)}
    rows = _rank(boxes)
    inner = _place_across(rows)
    wires = _Wires(boxes, rows, right=MARGIN + LABELS + inner)
    wires.place_down()
    # A letter of the line below the title is about 7 pixels wide.
    width = max(MARGIN + LABELS + inner + wires.lanes_width, MARGIN + 7 * len(_costs(description))) + MARGIN
    bottom = max(box.bottom for box in boxes.values())
    legend, height = _legend(boxes, bottom + 34, width)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height:g}" width="{width:g}" '
        f'height="{height:g}" font-family="DejaVu Sans, Helvetica, Arial, sans-serif">',
        f"<title>{escape(description.name)}</title>",
        f'<rect width="{width:g}" height="{height:g}" fill="white"/>',
        *_title(description),
        *_frames(rows),
        *_strides(rows),
        *wires.draw(),
        *(part for box in boxes.values() for part in _draw_box(box)),
        *legend,
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def _boxes(description: Description) -> Iterator[Box]:
    across, down = description.size
    yield Box(PICTURE, "picture", (_shape((3, down, across)),), (), height=52)
    for block in description.blocks:
        kinds = [f"{count} × {_kind(kind, kernel)}" for (kind, kernel), count in kinds_of(block).most_common(2)]
        lines = (
            ", ".join(_shape(shape) for shape in block.outputs),
            ", ".join(kinds),
            f"{_short(block.parameters)} parameters, {_short(block.multiply_adds)} multiply-adds",
        )
        yield Box(block.name, _colour(block), lines, block.inputs, block.row, _stride(block, down))
    taken = {PICTURE, *(block.name for block in description.blocks)}
    for result in description.results:
        name = result.name if result.name not in taken else f"{result.name} (result)"
        yield Box(name, "maps", (_shape(result.shape),), result.inputs, height=52)


def _colour(block: Block) -> str:
    kinds = kinds_of(block)
    if any(kind == "deconvolution" for kind, _ in kinds):
        return "deconvolutions"
    if any(kind in ("depthwise convolution", "grouped convolution") for kind, _ in kinds):
        return "depthwise convolutions"
    if all(kernel in ((1, 1), None) for _, kernel in kinds):
        return "1x1 convolutions"
    return "convolutions, joined" if block.joins else "convolutions"


def _kind(kind: str, kernel: tuple[int, int] | None) -> str:
    short = kind.replace("depthwise convolution", "dw conv").replace("grouped convolution", "gr conv")
    short = short.replace("deconvolution", "deconv").replace("convolution", "conv")
    return short if kernel is None else f"{short} {kernel[0]}×{kernel[1]}"


def _shape(shape: Shape) -> str:
    return " × ".join(map(str, shape))


def _short(number: int) -> str:
    for factor, unit in ((1e9, " G"), (1e6, " M"), (1e3, " k")):
        if number >= factor:
            return f"{number / factor:.3g}{unit}"
    return str(number)


def _stride(block: Block, down: int) -> int | None:
    largest = max((shape[1] for shape in block.outputs if len(shape) == 3), default=0)
    return round(down / largest) if largest else None


def _rank(boxes: dict[str, Box]) -> list[list[Box]]:
    """Rows of boxes: each behind all that it takes from; boxes of one named row stand together."""
    key = {name: box.row or name for name, box in boxes.items()}
    ranks = dict.fromkeys(key.values(), 0)
    for _ in boxes:
        for name, box in boxes.items():
            for source in box.inputs:
                if key[source] != key[name]:
                    ranks[key[name]] = max(ranks[key[name]], ranks[key[source]] + 1)
    last = max(ranks.values())
    rows: list[list[Box]] = [[] for _ in range(last + 1)]
    for name, box in boxes.items():
        box.rank = last if box.kind == "maps" else ranks[key[name]]
        rows[box.rank].append(box)
    for row in rows:
        if row[0].kind != "maps":
            row.sort(key=lambda box: [int(part) if part.isdigit() else 0 for part in re.split(r"(\d+)", box.name)])
    return rows


def _place_across(rows: list[list[Box]]) -> float:
    """Set the left sides; gives the width of all rows. Branches keep their column, other rows are centred."""
    columns = any(_COLUMN.fullmatch(box.name) for row in rows for box in row)
    step = WIDTH + BETWEEN
    widest = max(len(row) for row in rows) * step - BETWEEN
    for row in rows:
        if row[0].kind == "maps":  # below what they come from, so that the lines do not cross
            places = {box.name: box for above in rows for box in above}
            row.sort(key=lambda box: max(places[name].middle for name in box.inputs))
        left = MARGIN + LABELS + (0 if columns else (widest - (len(row) * step - BETWEEN)) / 2)
        for place, box in enumerate(row):
            match = _COLUMN.fullmatch(box.name)
            box.x = left + step * (int(match[1]) if match else place)
    return widest


class _Wires:
    """The lines between the boxes. In the gap above row r, every source has one track (height) of its own; a source
    that leads farther than to the next row has a lane at the right, which branches in each gap that it is wanted in."""

    def __init__(self, boxes: dict[str, Box], rows: list[list[Box]], *, right: float) -> None:
        self.boxes, self.rows, self.right = boxes, rows, right
        edges = [
            (boxes[source], box)
            for box in boxes.values()
            for source in box.inputs
            if not (box.row and boxes[source].row == box.row)
        ]
        self.straight = [(a, b) for a, b in edges if b.rank - a.rank > 1 and self._is_free(a, b)]
        self.edges = [edge for edge in edges if edge not in self.straight]
        self.lanes: dict[str, float] = {}
        for source, target in self.edges:
            if target.rank - source.rank > 1 and source.name not in self.lanes:
                self.lanes[source.name] = right + 18 + LANE * len(self.lanes)
        self.lanes_width = 18 + LANE * len(self.lanes) if self.lanes else 0.0
        self.tracks = [self._tracks_above(rank) for rank in range(len(rows))]
        self.ports = self._ports()

    def _is_free(self, source: Box, target: Box) -> bool:
        """Whether a straight line leads down past the rows between."""
        between = [box for row in self.rows[source.rank + 1 : target.rank] for box in row]
        return source.x == target.x and not any(box.x <= source.middle <= box.x + box.width for box in between)

    def _tracks_above(self, rank: int) -> list[str]:
        """The sources with a horizontal line in the gap above a row; those from afar stand lowest."""
        near = [a.name for a, _ in self.edges if a.rank == rank - 1]
        far = [a.name for a, b in self.edges if b.rank == rank and a.rank < rank - 1]
        return list(dict.fromkeys([*near, *far]))

    def place_down(self) -> None:
        """Set the tops of the boxes; a gap is as high as its tracks need."""
        y = MARGIN + TITLE
        for rank, row in enumerate(self.rows):
            if rank:
                framed = 14 if row[0].row else 0
                y += 30 + TRACK * max(0, len(self.tracks[rank]) - 1) + framed
            for box in row:
                box.y = y
            y += max(box.height for box in row)

    def _track_y(self, source: str, rank: int) -> float:
        top = max(box.bottom for box in self.rows[rank - 1])
        return top + 12 + TRACK * self.tracks[rank].index(source)

    def _ports(self) -> dict[tuple[str, str], float]:
        """Where on the top of a box (x) the line from each of its sources ends."""
        ports = {}
        for box in self.boxes.values():
            # From left to right as the sources stand; what comes by a lane, from the right, is last.
            sources = sorted(
                (a for a, b in self.edges if b is box), key=lambda a: (a.rank < box.rank - 1, a.middle, a.rank)
            )
            above = self.rows[box.rank - 1] if box.rank else []
            for place, source in enumerate(sources):
                x = box.middle + 32 * (place - (len(sources) - 1) / 2)
                # No line may run along that of another source, which leaves its box in the middle.
                while any(abs(x - other.middle) < 6 for other in above if other is not source):
                    x += 8
                ports[box.name, source.name] = x
        return ports

    def draw(self) -> Iterator[str]:
        """Lines, then arrow heads."""
        for source, target in self.straight:
            yield _line(source.kind, [(source.middle, source.bottom), (source.middle, target.y)])
            yield _head(source.kind, source.middle, target.y)
        for name, lane in self.lanes.items():
            source = self.boxes[name]
            last = max(b.rank for a, b in self.edges if a is source)
            y = self._track_y(name, source.rank + 1)
            corners = [(source.middle, source.bottom), (source.middle, y), (lane, y), (lane, self._track_y(name, last))]
            yield _line(source.kind, corners)
        for source, target in self.edges:
            x = self.ports[target.name, source.name]
            y = self._track_y(source.name, target.rank)
            start = (source.middle, source.bottom) if target.rank == source.rank + 1 else (self.lanes[source.name], y)
            yield _line(source.kind, [start, (start[0], y), (x, y), (x, target.y)])
            yield _head(source.kind, x, target.y)


def _line(kind: str, corners: list[tuple[float, float]]) -> str:
    path = "M" + " L".join(f"{x:g} {y:g}" for x, y in corners)
    return f'<path d="{path}" fill="none" stroke="{COLOURS[kind][1]}" stroke-width="1.5" stroke-linejoin="round"/>'


def _head(kind: str, x: float, y: float) -> str:
    return f'<path d="M{x:g} {y:g} l-4 -7 h8 z" fill="{COLOURS[kind][1]}"/>'


def _text(x: float, y: float, text: str, *, size: float, colour: str, anchor: str = "start", bold: bool = False) -> str:
    weight = ' font-weight="bold"' if bold else ""
    place = f'x="{x:g}" y="{y:g}" text-anchor="{anchor}"'
    return f'<text {place} font-size="{size:g}" fill="{colour}"{weight}>{escape(text)}</text>'


def _draw_box(box: Box) -> Iterator[str]:
    fill, border = COLOURS[box.kind]
    light = box.kind == "maps"
    yield (
        f'<rect class="block" x="{box.x:g}" y="{box.y:g}" width="{box.width:g}" height="{box.height:g}" rx="7" '
        f'fill="{fill}" stroke="{border}" stroke-width="1.2"/>'
    )
    yield _text(
        box.middle, box.y + 20, box.name, size=13, colour="white" if light else "#111827", anchor="middle", bold=True
    )
    for number, line in enumerate(box.lines):
        size = (11.5, 10.0, 9.5)[number]
        size = min(size, (box.width - 14) / (0.6 * max(1, len(line))))  # a letter is about 0.6 of the size wide
        colour = "white" if light else ("#111827", "#374151", "#6b7280")[number]
        yield _text(box.middle, box.y + 37 + 15 * number, line, size=round(size, 2), colour=colour, anchor="middle")


def _title(description: Description) -> Iterator[str]:
    yield _text(MARGIN, MARGIN + 16, description.name, size=20, colour="#111827", bold=True)
    yield _text(MARGIN, MARGIN + 36, _costs(description), size=12, colour="#4b5563")


def _costs(description: Description) -> str:
    across, down = description.size
    return (
        f"{description.parameters:,} parameters, {description.multiply_adds:,} multiply-adds for "
        f"{across} × {down} pixels"
    )


def _frames(rows: list[list[Box]]) -> Iterator[str]:
    """A frame around branches that exchange their maps."""
    for row in rows:
        if row[0].row:
            left, top = row[0].x - 10, row[0].y - 14
            width, height = row[-1].x + row[-1].width - left + 10, row[0].height + 22
            yield (
                f'<rect x="{left:g}" y="{top:g}" width="{width:g}" height="{height:g}" rx="10" fill="#f9fafb" '
                'stroke="#9ca3af" stroke-dasharray="5 4"/>'
            )
            for a, b in itertools.pairwise(row):
                x, y = (a.x + a.width + b.x) / 2, a.y + a.height / 2
                heads = f"M{x - 13:g} {y:g} l7 -4 v8 z M{x + 13:g} {y:g} l-7 -4 v8 z M{x - 8:g} {y:g} h16"
                yield f'<path d="{heads}" fill="#6b7280" stroke="#6b7280"/>'


def _strides(rows: list[list[Box]]) -> Iterator[str]:
    """At the left of each row, the pixels for a cell of its maps."""
    for row in rows:
        strides = sorted({box.stride for box in row if box.stride})
        if strides:
            text = f"stride {strides[0]}" + (f"–{strides[-1]}" if len(strides) > 1 else "")
            yield _text(MARGIN, row[0].y + row[0].height / 2 + 4, text, size=10, colour="#6b7280")


def _legend(boxes: dict[str, Box], y: float, width: float) -> tuple[list[str], float]:
    """Which colour is what, in as many lines as it takes; and the height of the whole picture."""
    parts, x = [], MARGIN
    for kind in (kind for kind in COLOURS if any(box.kind == kind for box in boxes.values())):
        needed = 18 + 6.6 * len(kind) + 18
        if x + needed > width - MARGIN:
            x, y = MARGIN, y + 20
        fill, border = COLOURS[kind]
        parts.append(f'<rect x="{x:g}" y="{y - 10:g}" width="12" height="12" rx="3" fill="{fill}" stroke="{border}"/>')
        parts.append(_text(x + 18, y, kind, size=10.5, colour="#374151"))
        x += needed
    return parts, y + MARGIN
