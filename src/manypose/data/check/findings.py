"""What a check found: one finding for each fault, with its file, its entry and how bad it is."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

Level = Literal["error", "warning", "note"]

# What each kind of finding is about; the level says whether training on it goes wrong (error), may go wrong (warning).
KINDS: dict[str, tuple[Level, str]] = {
    "field-missing": ("error", "a field that every entry needs is missing or of the wrong kind"),
    "entry-refused": ("error", "the reader of this kind of data set refuses an entry"),
    "duplicate-image-id": ("error", "several pictures have one id"),
    "duplicate-annotation-id": ("error", "several annotations have one id"),
    "duplicate-picture": ("error", "one picture file is listed several times"),
    "duplicate-person": ("error", "the same person is annotated twice"),
    "unknown-image": ("error", "an annotation belongs to a picture that is not listed"),
    "unknown-category": ("error", "an annotation belongs to a category that is not listed"),
    "joint-count": ("error", "an annotation has another number of joints than its category"),
    "not-a-number": ("error", "a coordinate is not a finite number"),
    "box-empty": ("error", "a box has no size"),
    "box-outside": ("error", "a box lies outside of its picture"),
    "joint-outside": ("error", "a labelled joint lies far outside of its picture"),
    "unsafe-name": ("error", "a picture's name leads out of the data set"),
    "picture-missing": ("error", "a picture cannot be read"),
    "picture-damaged": ("error", "a picture cannot be decoded"),
    "size-wrong": ("error", "a picture has another size than its labels say"),
    "same-in-splits": ("error", "the same picture is in several files"),
    "sides-swapped-all": ("error", "left and right look swapped in most people"),
    "alike-in-splits": ("warning", "nearly the same picture is in several files"),
    "same-picture": ("warning", "the same picture is in one file under several names"),
    "sides-swapped": ("warning", "left and right look swapped"),
    "joints-piled": ("warning", "the joints lie in one place"),
    "joint-beside": ("warning", "a labelled joint lies a little outside of its picture"),
    "joint-at-corner": ("warning", "a labelled joint lies on the corner of its person's box, as if nobody had set it"),
    "joint-far-from-box": ("warning", "a labelled joint lies far outside of its person's box"),
    "box-beside": ("warning", "a box reaches over the edge of its picture"),
    "flag-odd": ("warning", "a visibility flag is none of 0, 1, 2"),
    "count-wrong": ("warning", "num_keypoints is not the number of labelled joints"),
    "area-odd": ("warning", "area is not above 0, or larger than the box"),
    "segment-odd": ("warning", "a polygon has less than three points, or a mask another size than the picture"),
    "person-twice": ("warning", "two annotations may be the same person"),
    "alike-pictures": ("note", "nearly the same picture is in one file several times"),
    "people-unlabelled": ("note", "annotations have a box but no joints"),
    "pictures-empty": ("note", "pictures have no annotation"),
}


@dataclass(frozen=True)
class Finding:
    """One fault: its kind (a key of `KINDS`), the file, the entry in it, and what is wrong there.

    `image` and `annotation` are the places in the file's lists, None where it is about none.
    """

    kind: str
    file: Path
    entry: str
    text: str
    image: int | None = None
    annotation: int | None = None

    @property
    def level(self) -> Level:
        """How bad it is."""
        return KINDS[self.kind][0]

    def __str__(self) -> str:
        return f"{self.file}: {self.entry + ': ' if self.entry else ''}{self.text}"

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return {
            "kind": self.kind,
            "level": self.level,
            "file": str(self.file),
            "entry": self.entry,
            "text": self.text,
            "image": self.image,
            "annotation": self.annotation,
        }


@dataclass(frozen=True)
class Report:
    """All that a check found; `counts` by file, `histograms` over all files (see `manypose.data.check.figures`)."""

    files: tuple[Path, ...]
    findings: tuple[Finding, ...]
    counts: dict[str, dict[str, Any]]
    histograms: dict[str, Any] = field(default_factory=dict)

    @property
    def errors(self) -> tuple[Finding, ...]:
        """The findings that training goes wrong with."""
        return tuple(finding for finding in self.findings if finding.level == "error")

    def by_kind(self) -> dict[str, int]:
        """How many findings of each kind there are, the worst kinds first."""
        counted = Counter(finding.kind for finding in self.findings)
        return {kind: counted[kind] for kind in KINDS if counted[kind]}

    def to_dict(self) -> dict[str, Any]:
        """Plain data, as `check.json` holds it."""
        levels = Counter(finding.level for finding in self.findings)
        return {
            "schema": 1,
            "files": [str(file) for file in self.files],
            "good": not self.errors,
            "errors": levels["error"],
            "warnings": levels["warning"],
            "notes": levels["note"],
            "kinds": self.by_kind(),
            "counts": self.counts,
            "histograms": self.histograms,
            "findings": [finding.to_dict() for finding in self.findings],
        }
