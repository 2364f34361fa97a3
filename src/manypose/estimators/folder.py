"""Many pictures, one by one: files, folders and patterns become sources, and sources become people."""

from __future__ import annotations

import copy
import glob
import os
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from manypose import images
from manypose.errors import ImageError, ManyposeError
from manypose.estimators.bottom_up import BottomUp, PictureMaps
from manypose.estimators.inputs import Estimator
from manypose.people import People

SUFFIXES = (".jpg", ".jpeg", ".jpe", ".png", ".webp", ".bmp", ".dib", ".tif", ".tiff", ".gif")


@dataclass(frozen=True)
class Source:
    """A picture file, and the name under which its results are kept: unique, relative, with "/" and no suffix."""

    path: Path
    name: str


@dataclass(frozen=True)
class Failure:
    """An input that gave nothing, and why."""

    path: Path
    error: ManyposeError


@dataclass(frozen=True, eq=False)
class Prediction:
    """The people in one picture, in its own pixels.

    `picture` is RGB uint8 (H, W, 3), `maps` are those of a bottom-up network, one cell for `stride` pixels of its
    input, None of any other; `task` is what the model does; `seconds` says what the stages open, detect (where there
    is a detector), prepare, network and decode took.
    """

    source: Source
    picture: NDArray[np.uint8]
    people: People
    maps: PictureMaps | None
    stride: int
    seconds: dict[str, float]
    task: str = "bottom-up"


def find_pictures(
    inputs: Sequence[str | os.PathLike[str]], *, recursive: bool = False, leave_out: Path | None = None
) -> list[Source | Failure]:
    """The pictures of files, folders and patterns (`*`, `?`, `[...]`, `**`), each once, in the order of the inputs.

    Of folders and patterns only files with one of `SUFFIXES` count, and none whose name begins with a dot; `recursive`
    adds the folders inside of folders. Pictures inside the folder `leave_out` are passed over there: the results of an
    earlier run. A file that is named is taken as it is. What is empty, or matches nothing, is a `Failure`.

    The name of a source is its path inside the folder (or inside the fixed part of the pattern), so that equal names in
    different folders stay apart; where two names would still be the same, the later ones get a number.
    """
    found: dict[str, tuple[Path, str] | Failure] = {}
    for entry in inputs:
        given = os.fspath(entry)
        entries = _expand(given, recursive=recursive, leave_out=leave_out)
        if isinstance(entries, Failure):
            found.setdefault(f"failure {given}", entries)
            continue
        for path, base in entries:
            found.setdefault(os.path.abspath(path), (path, _name_within(path, base)))
    return _with_unique_names(list(found.values()))


def predict_pictures(estimator: Estimator, sources: Sequence[Source | Failure]) -> Iterator[Prediction | Failure]:
    """One `Prediction` or `Failure` for each source, in order, as soon as it is there.

    A picture that cannot be opened or run is a `Failure`; the next ones follow all the same.
    """
    for source in sources:
        if isinstance(source, Failure):
            yield source
            continue
        try:
            yield _predict(estimator, source)
        except ManyposeError as error:
            yield Failure(source.path, error)
        except MemoryError:
            yield Failure(source.path, ImageError(f"{source.path}: not enough memory; shrink it, or lower the scale"))


def _predict(estimator: Estimator, source: Source) -> Prediction:
    started = time.perf_counter()
    picture = images.open_image(source.path)
    seconds = {"open": time.perf_counter() - started}
    before = copy.copy(estimator.times)
    maps, stride = None, 1
    if isinstance(estimator, BottomUp):
        (maps,), stride = estimator.maps([picture]), estimator.model.codec.stride
        people = estimator.decode(maps)
    else:
        people = estimator(picture)
    for stage in ("detect", "prepare", "network", "decode"):
        seconds[stage] = getattr(estimator.times, stage) - getattr(before, stage)
    if not seconds["detect"]:  # a model that needs no detector, or has none
        del seconds["detect"]
    return Prediction(source, picture, people, maps, stride, seconds, task=estimator.model.metadata.task)


def _expand(given: str, *, recursive: bool, leave_out: Path | None) -> list[tuple[Path, Path]] | Failure:
    """The pictures of one input, each with the folder that its name is relative to."""
    path = Path(given)
    if not given:
        return Failure(path, ImageError("an input is empty: give the path of a picture or of a folder"))
    if os.path.isdir(given):
        found = _keep(_walk(path, recursive), path, leave_out)
        deeper = "" if recursive else ", or search the folders in it too (--recursive)"
        hint = f"no picture in this folder ({', '.join(SUFFIXES)}); choose another{deeper}"
        return found or Failure(path, ImageError(f"{given}: {hint}"))
    # A file whose own name holds a * or [ is that file; an address is refused where it is opened.
    if os.path.lexists(given) or not glob.has_magic(given) or "://" in given:
        return [(path, path.parent)]
    found = _keep(map(Path, sorted(glob.glob(given, recursive=True))), _fixed_part(path), leave_out)
    return found or Failure(path, ImageError(f"{given}: no picture matches this pattern; check the path"))


def _walk(folder: Path, recursive: bool) -> Iterator[Path]:
    for root, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith(".")) if recursive else []
        yield from (Path(root, name) for name in sorted(names))


def _is_picture(path: Path) -> bool:
    return path.suffix.lower() in SUFFIXES and not path.name.startswith(".") and path.is_file()


def _keep(files: Iterable[Path], base: Path, leave_out: Path | None) -> list[tuple[Path, Path]]:
    """The pictures among files, without those of a folder to be left out, where it lies inside of `base`."""
    pictures = [(file, base) for file in files if _is_picture(file)]
    if leave_out is None or not _is_inside(leave_out, base) or os.path.abspath(leave_out) == os.path.abspath(base):
        return pictures
    return [(file, base) for file, base in pictures if not _is_inside(file, leave_out)]


def _is_inside(path: Path, folder: Path) -> bool:
    return Path(os.path.abspath(path)).is_relative_to(os.path.abspath(folder))


def _fixed_part(pattern: Path) -> Path:
    """The folders of a pattern before the first one with a wildcard."""
    fixed = Path(pattern.anchor)
    for part in pattern.parts[len(fixed.parts) : -1]:
        if glob.has_magic(part):
            break
        fixed /= part
    return fixed


def _name_within(path: Path, base: Path) -> str:
    bare = path.with_suffix("")
    inside = bare.relative_to(base) if bare.is_relative_to(base) else Path(bare.name)
    return bare.name if ".." in inside.parts else inside.as_posix()  # no result is ever written outside of its folder


def _with_unique_names(found: list[tuple[Path, str] | Failure]) -> list[Source | Failure]:
    # Compared without case, since many file systems do so.
    wanted = {entry[1].casefold() for entry in found if not isinstance(entry, Failure)}
    taken: set[str] = set()
    sources: list[Source | Failure] = []
    for entry in found:
        if isinstance(entry, Failure):
            sources.append(entry)
            continue
        path, name = entry
        unique, number = name, 2
        while unique.casefold() in taken or (unique != name and unique.casefold() in wanted):
            unique, number = f"{name}_{number}", number + 1
        taken.add(unique.casefold())
        sources.append(Source(path, unique))
    return sources
