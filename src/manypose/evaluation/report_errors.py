"""The parts of the report page that say why a model is wrong: kinds of errors, and what its scores are worth."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from xml.etree.ElementTree import Element

from manypose.evaluation import charts
from manypose.evaluation.html import Child, element, table
from manypose.evaluation.report_sections import interval, known, plain, section, share

# The kinds of `error_types.analyse_errors` with their colours and what they mean.
_KINDS = {
    "good": ("c2", "where it belongs"),
    "jitter": ("c5", "near its place, but not on it"),
    "inversion": ("c1", "on the other side's joint of the same person"),
    "swap": ("c4", "on the same joint of somebody else"),
    "miss": ("c3", "near no labelled joint of its sort, or not found"),
}
_CORRECTIONS = {
    "baseline": "as it is",
    "miss": "misses put right",
    "swap": "swaps too",
    "inversion": "inversions too",
    "jitter": "jitter too",
    "score": "the best possible scores",
    "false_positives": "nobody found who is not there",
    "false_negatives": "everybody found",
}


def error_types(errors: Any) -> Element | None:
    """What is wrong with the joints of the people found, and what each kind of error costs."""
    joints = errors.get("joints") if isinstance(errors, Mapping) else None
    if not isinstance(joints, Mapping) or not joints.get("total"):
        return None
    words = (
        f"The {joints['total']} labelled joints of the {errors['matched']} labelled people who were found, after "
        "Ronchi and Perona (2017)."
    )
    parts = [(kind, float(joints[kind])) for kind in _KINDS]
    colours = [colour for colour, _ in _KINDS.values()]
    rows: list[list[Child]] = [
        [element("span", charts.swatch(colour), kind), meaning, str(joints[kind]), _percent(errors["shares"][kind])]
        for kind, (colour, meaning) in _KINDS.items()
    ]
    return section(
        "errors",
        "Kinds of errors",
        element("p", words, class_="soft"),
        charts.parts_bar("Joints by kind of error", parts, colours),
        table(("kind", "the joint is", "joints", "share"), rows, numbers=(2, 3)),
        element("div", _by_joint(errors["by_joint"], colours), _costs(errors), class_="pair"),
    )


def calibration(figures: Any) -> Element | None:
    """What scores are worth: the share of right joints and people among those with like scores."""
    if not isinstance(figures, Mapping):
        return None
    kinds = [kind for kind in ("joints", "people") if isinstance(figures.get(kind), Mapping)]
    if not kinds:
        return None
    lines = [charts.Line("a score that means what it says", [(0, 0), (1, 1)], "ideal")]
    rows: list[list[Child]] = []
    for kind, colour in zip(kinds, ("c0", "c1"), strict=False):
        own = figures[kind]
        for group in own["curve"]:
            limits = [(group["score"], known(group.get(end))) for end in ("low", "high")]
            if all(share_of is not None for _, share_of in limits):
                lines.append(
                    charts.Line(f"{kind}, 95 % interval", [(x, y or 0.0) for x, y in limits], f"{colour} thin")
                )
        lines.append(charts.Line(kind, [(g["score"], g["right"]) for g in own["curve"]], colour, marks=True))
        name = element("span", charts.swatch(colour), kind)
        rows.append([name, share(own["ECE"]), interval(own, "ECE"), share(own["right"]), str(own["count"])])
    title = "Share of right joints and people over their score"
    chart = charts.curves(title, lines, across="score", up="share that is right")
    words = (
        f"Right is {figures.get('right', '')}. A score of 0.8 should be right in 80 % of all cases: the dashed line."
    )
    more = "The expected calibration error (ECE) is the mean distance from it; manypose calibrate mends it."
    legend = table(("scores of", "ECE", "95 % interval", "right", "count"), rows, numbers=(1, 2, 3, 4))
    beside = element("div", chart, element("div", legend, element("p", more, class_="soft")), class_="side")
    return section("calibration", "Calibration", element("p", words, class_="soft"), beside)


def _by_joint(joints: Mapping[str, Mapping[str, int]], colours: list[str]) -> Element:
    rows: list[list[Child]] = []
    for name, counts in joints.items():
        if counts["total"]:
            parts = [(kind, float(counts[kind])) for kind in _KINDS]
            drawn = charts.parts_bar(f"{plain(name)} by kind of error", parts, colours, small=True)
            rows.append([plain(name), drawn, _percent(counts["good"] / counts["total"]), str(counts["total"])])
    made = table(("joint", "", "good", "of"), rows, numbers=(2, 3))
    return element("div", element("h3", "Joint by joint"), made)


def _costs(errors: Mapping[str, Any]) -> Element:
    """AP when one kind of error after the other is put right."""
    rows: list[list[Child]] = []
    for name, value in errors["average_precision"].items():
        gain = errors["gain"].get(name)
        rows.append(
            [
                _CORRECTIONS.get(name, plain(name)),
                charts.bar(known(value)),
                share(value),
                "" if gain is None else f"{gain:+.3f}",
            ]
        )
    background = errors["background"]
    words = (
        f"AP when one kind of error after the other is put right. In the end {background['false_positives']} of "
        f"{background['found']} people found are nobody who is labelled, and {background['false_negatives']} of "
        f"{background['labelled']} labelled people are not found (OKS 0.50)."
    )
    made = table(("with", "", "AP", "gain"), rows, numbers=(2, 3))
    return element("div", element("h3", "What they cost"), made, element("p", words, class_="soft"))


def _percent(value: float) -> str:
    return f"{100 * value:.1f} %"
