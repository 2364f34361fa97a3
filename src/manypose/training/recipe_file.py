"""Reads recipes from YAML files, with `key=value` overrides; every fault is named with its line, all together."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pydantic
import yaml

from manypose.errors import RecipeError
from manypose.training.combinations import find_faults
from manypose.training.recipe import Recipe

Place = tuple[str | int, ...]
LONGEST = 1_000_000  # bytes of a recipe: one that is longer is none


def read_recipe(file: Path, overrides: Sequence[str] = ()) -> Recipe:
    """The recipe of a YAML file with `key=value` overrides, whose values are YAML.

    An override may reach inside: `network_options.refinements=3`, `data.0.weight=2`. Raises `RecipeError` that lists
    every fault, each with its line: unknown keys, values that cannot be, and settings that do not go together.
    """
    settings, lines = _read(file)
    for override in overrides:
        place, value = _parse_override(override)
        _put(settings, place, value, override)
        lines = {known: line for known, line in lines.items() if known[: len(place)] != place}
    return check_recipe(settings, str(file), lines=lines, given=frozenset(o.partition("=")[0] for o in overrides))


def check_recipe(
    settings: dict[str, Any],
    where: str,
    *,
    lines: dict[Place, int] | None = None,
    given: frozenset[str] = frozenset(),
) -> Recipe:
    """The recipe of plain settings; raises `RecipeError` that lists every fault.

    `lines` are those of the settings in the file that `where` names, `given` the keys that came as overrides.
    """
    recipe, faults = _validate(settings)
    if recipe is not None:
        faults += find_faults(recipe)
    else:  # what goes together is asked of the settings that are right, so that all faults come at once
        wrong = {place[0] for place, _ in faults}
        rest, others = _validate({key: value for key, value in settings.items() if key not in wrong})
        faults += [] if rest is None or others else [f for f in find_faults(rest) if f[0][0] not in wrong]
    if faults:
        raise RecipeError(f"{where}: {'; '.join(_describe(*fault, lines or {}, given) for fault in faults)}")
    assert recipe is not None
    return recipe


def _validate(settings: dict[str, Any]) -> tuple[Recipe | None, list[tuple[Place, str]]]:
    try:
        return Recipe.model_validate(settings), []
    except pydantic.ValidationError as error:
        return None, list(dict.fromkeys((_place(fault["loc"], settings), fault["msg"]) for fault in error.errors()))


def _place(location: Place, settings: Any) -> Place:
    """Where a fault lies in the settings, without the names that pydantic adds for the members of a union."""
    place: list[str | int] = []
    for n, part in enumerate(location):
        is_there = isinstance(settings, dict) or (isinstance(settings, list) and isinstance(part, int))
        if n and not is_there:
            break
        place.append(part)
        try:
            settings = settings[part]
        except (KeyError, IndexError, TypeError):
            settings = None
    return tuple(place)


def _describe(place: Place, message: str, lines: dict[Place, int], given: frozenset[str]) -> str:
    key = ".".join(map(str, place))
    message = message.removeprefix("Value error, ")
    message = message[:1].lower() + message[1:]
    if message.startswith("extra inputs are not permitted"):
        message = f"there is no such key{_closest(place)}"
    nearest = next((lines[place[:n]] for n in range(len(place), 0, -1) if place[:n] in lines), None)
    if nearest is not None:
        return f"line {nearest}: {key}: {message}"
    return f"{key} (override): {message}" if key in given else f"{key}: {message}"


def _closest(place: Place) -> str:
    import difflib

    found = difflib.get_close_matches(str(place[-1]), Recipe.model_fields, n=1) if len(place) == 1 else []
    return f"; did you mean {found[0]}?" if found else ""


def _parse_override(override: str) -> tuple[Place, Any]:
    key, equals, value = override.partition("=")
    if not equals or not key:
        raise RecipeError(f"{override!r}: an override has the form key=value")
    try:
        parsed = yaml.safe_load(value)
    except (yaml.YAMLError, RecursionError) as error:
        raise RecipeError(f"{override!r}: its value is not valid YAML: {' '.join(str(error).split())}") from None
    return tuple(int(part) if part.isdigit() else part for part in key.split(".")), parsed


def _put(settings: dict[str, Any], place: Place, value: Any, override: str) -> None:
    target: Any = settings
    for n, part in enumerate(place[:-1]):
        if isinstance(target, dict):
            target = target.setdefault(part, {})
        elif isinstance(target, list) and isinstance(part, int) and part < len(target):
            target = target[part]
        else:
            raise RecipeError(f"{override!r}: the recipe has no {'.'.join(map(str, place[: n + 1]))}")
    fits = isinstance(target, list) and isinstance(place[-1], int) and place[-1] < len(target)
    if not fits and not isinstance(target, dict):
        raise RecipeError(f"{override!r}: the recipe has no {'.'.join(map(str, place))}")
    target[place[-1]] = value


def _read(file: Path) -> tuple[dict[str, Any], dict[Place, int]]:
    """The settings of a file, and the lines on which they stand."""
    try:
        if file.stat().st_size > LONGEST:
            raise RecipeError(f"{file}: {file.stat().st_size:,} bytes: no recipe is so long")
        text = file.read_text(encoding="utf-8")
    except OSError as error:
        raise RecipeError(f"{file}: {error.strerror}: give the path of a recipe") from None
    except UnicodeDecodeError as error:
        raise RecipeError(f"{file}: not valid YAML: {error}") from None
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
        settings = yaml.safe_load(text)
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise RecipeError(f"{file}: not valid YAML: {' '.join(str(error).split())}") from None
    if not isinstance(settings, dict):
        raise RecipeError(f"{file}: a recipe is a list of `key: value` lines")
    lines: dict[Place, int] = {}
    twice = _find_lines(root, (), lines)
    if twice:
        raise RecipeError(f"{file}: line {twice[1]}: {'.'.join(map(str, twice[0]))} stands there twice")
    return settings, lines


def _find_lines(node: Any, place: Place, lines: dict[Place, int]) -> tuple[Place, int] | None:
    """Fill in the lines of all keys below a node; gives a key that stands there twice, which YAML lets pass."""
    parts: list[tuple[str | int, Any, Any]] = []
    if isinstance(node, yaml.MappingNode):
        parts = [(key.value, key, value) for key, value in node.value]
    elif isinstance(node, yaml.SequenceNode):
        parts = [(n, value, value) for n, value in enumerate(node.value)]
    for name, key, value in parts:
        own = (*place, name)
        if own in lines:
            return own, key.start_mark.line + 1
        lines[own] = key.start_mark.line + 1
        twice = _find_lines(value, own, lines)
        if twice:
            return twice
    return None
