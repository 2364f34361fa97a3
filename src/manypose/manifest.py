"""Manifests: with what an output was made, so that it can be made again and compared.

A manifest is a JSON object. It stands in the output where that has room (`metrics.json`), else in a file
`.manifest.json` in the folder of the output, or `NAME.manifest.json` beside it.
"""

from __future__ import annotations

import functools
import hashlib
import importlib.metadata
import json
import os
import platform
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from manypose import __version__
from manypose.errors import DataError, FormatError
from manypose.files import write_bytes

if TYPE_CHECKING:
    from manypose.model import Model

VERSION = 1
FOLDER_FILE = ".manifest.json"
MOST_FOLDERS = 16  # around a file in which its manifest is looked for
MOST_EARLIER = 100  # runs that a folder's manifest remembers beside the last
PACKAGES = ("numpy", "opencv-python-headless", "onnxruntime", "pycocotools")


def make_manifest(
    command: str,
    options: Mapping[str, Any],
    *,
    model: Model | None = None,
    inputs: Mapping[str, Path] | None = None,
    outputs: Mapping[str, Path] | None = None,
) -> dict[str, Any]:
    """What made an output, as a JSON object.

    `options` are all that replaying the command needs. `inputs` are files and folders by what they are to the command,
    `outputs` files by their names beside the manifest; of each, its SHA-256 is kept (see `fingerprint`).

    Raises `DataError` for one that cannot be read.
    """
    manifest: dict[str, Any] = {
        "manifest": VERSION,
        "command": command,
        "options": json.loads(json.dumps(options, default=_plain)),
        "model": None if model is None else describe_model(model),
        "inputs": {name: _entry(path) for name, path in (inputs or {}).items()},
        "versions": versions(),
        "machine": machine(),
    }
    if outputs is not None:
        manifest["outputs"] = {name: {"sha256": fingerprint(path)} for name, path in outputs.items()}
    return manifest


def describe_model(model: Model) -> dict[str, Any]:
    """Name, file, hash and device of a model."""
    return {
        "name": model.metadata.name,
        "path": str(model.path.absolute()),
        "sha256": model.sha256,
        "device": model.device,
    }


def changed_inputs(manifest: Mapping[str, Any]) -> list[str]:
    """What is no longer what the manifest says, a line for each: the model and the inputs that are files or folders."""
    known = dict(manifest.get("inputs") or {})
    if manifest.get("model"):
        known = {"model": manifest["model"], **known}
    changes = []
    for name, entry in known.items():
        if not isinstance(entry, Mapping) or "path" not in entry:
            continue
        path = Path(entry["path"])
        if not path.exists():
            changes.append(f"{name}: {path} is no longer there (SHA-256 {entry['sha256']})")
            continue
        now = fingerprint(path)
        if now != entry["sha256"]:
            changes.append(f"{name}: {path} has SHA-256 {now}, but the manifest says {entry['sha256']}")
    return changes


def fingerprint(path: Path) -> str:
    """SHA-256 of a file; of a folder that of the names and hashes of all files in it, in the order of their names.

    Raises `DataError` when something cannot be read.
    """
    try:
        if not path.is_dir():
            return _hash_file(path)
        files = sorted(file for file in path.rglob("*") if file.is_file())
        return fingerprint_of((file.relative_to(path).as_posix(), _hash_file(file)) for file in files)
    except OSError as error:
        raise DataError(f"{error.filename or path}: cannot be read: {error.strerror}") from None


def fingerprint_of(hashes: Iterable[tuple[str, str]]) -> str:
    """One SHA-256 for several named ones, which must come in one order."""
    total = hashlib.sha256()
    for name, value in hashes:
        total.update(f"{name}\0{value}\n".encode("utf-8", "surrogateescape"))
    return total.hexdigest()


def versions() -> dict[str, str]:
    """Versions of Python, of manypose and of what it computes with; packages that are not installed are left out."""
    found = {"manypose": __version__, "python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


@functools.cache
def machine() -> dict[str, Any]:
    """System and processor; nothing that tells whose it is."""
    return {
        "system": platform.system(),
        "release": platform.release(),
        "architecture": platform.machine(),
        "processor": _processor(),
        "cores": os.cpu_count() or 0,
    }


def write_manifest(manifest: Mapping[str, Any], file: Path, *, overwrite: bool = False) -> None:
    """Write a manifest as a file of its own; raises `OutputError` when that cannot be."""
    write_bytes(file, (json.dumps(manifest, indent=1, allow_nan=False) + "\n").encode(), overwrite=overwrite)


def beside(output: Path) -> Path:
    """Where the manifest of an output stands which has no room for it: in a folder, or beside a file."""
    return output / FOLDER_FILE if output.is_dir() else output.with_name(f"{output.name}.manifest.json")


def add_earlier(manifest: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """A folder's manifest with those of earlier runs, as "earlier", whose outputs in the folder are still theirs."""
    known = _manifest_in(folder / FOLDER_FILE)
    earlier = []
    for one in () if known is None else (known, *known.get("earlier", ())):
        left = {name: entry for name, entry in one.get("outputs", {}).items() if name not in manifest["outputs"]}
        if left:
            earlier.append({key: value for key, value in one.items() if key != "earlier"} | {"outputs": left})
    return dict(manifest) | ({"earlier": earlier[:MOST_EARLIER]} if earlier else {})


def find_manifest(place: Path) -> tuple[dict[str, Any], Path]:
    """The manifest of an output, a file or a folder, and the file that it stands in.

    Looked for in the file itself (the key "manifest" of a JSON object, or a manifest as a whole), in
    `NAME.manifest.json` beside it, in the folder's `metrics.json`, and in the `.manifest.json` of the folder, or of one
    around it, whose outputs hold the file; of several runs into one folder that which wrote the file.

    Raises `FormatError` when there is none.
    """
    if not place.exists():
        raise FormatError(f"{place}: no such file or folder")
    folder = place if place.is_dir() else place.parent
    for file in [place, beside(place), folder / "metrics.json"] if place.is_file() else [folder / "metrics.json"]:
        manifest = _manifest_in(file)
        if manifest is not None:
            return manifest, file
    around = [folder] if place.is_dir() else [*place.absolute().parents][:MOST_FOLDERS]
    for file in (above / FOLDER_FILE for above in around):
        known = _manifest_in(file)
        for manifest in () if known is None else (known, *known.get("earlier", ())):
            if place.is_dir() or place.absolute().relative_to(file.parent).as_posix() in manifest.get("outputs", {}):
                return manifest, file
    raise FormatError(f"{place}: has no manifest, inside or beside it ({beside(place).name}); it cannot be replayed")


def _manifest_in(file: Path) -> dict[str, Any] | None:
    if not file.is_file() or file.suffix != ".json":
        return None
    try:
        content = json.loads(file.read_bytes())
    except (ValueError, RecursionError):
        return None
    except OSError as error:
        raise FormatError(f"{file}: cannot be read: {error.strerror}") from None
    if not isinstance(content, dict):
        return None
    manifest = content.get("manifest")
    found = content if isinstance(manifest, int) else manifest
    if not isinstance(found, dict) or not {"command", "options"} <= set(found):
        return None
    if found.get("manifest") != VERSION:
        raise FormatError(f"{file}: its manifest has version {found.get('manifest')}, this manypose knows {VERSION}")
    return found


def _entry(path: Path) -> dict[str, Any]:
    return {"path": str(path.absolute()), "sha256": fingerprint(path)}


def _hash_file(file: Path) -> str:
    with open(file, "rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")


def _plain(value: Any) -> Any:
    if isinstance(value, Path):
        return str(value)
    raise TypeError(f"{type(value).__name__} cannot stand in a manifest")


def changed_versions(now: Mapping[str, Any], before: Mapping[str, Any]) -> list[str]:
    """A line for each version and part of the machine that is not what it was, which may explain other figures."""
    lines = []
    for group in ("versions", "machine"):
        old, new = before.get(group) or {}, now.get(group) or {}
        for name in dict.fromkeys([*old, *new]):
            if old.get(name) != new.get(name):
                lines.append(f"{name}: was {old.get(name, 'not there')}, is {new.get(name, 'not there')}")
    return lines
