"""Where a run comes from: its settings, the code, the packages and the data, as its folder and its checkpoints say."""

from __future__ import annotations

import importlib.metadata
import platform
import subprocess
from pathlib import Path
from typing import Any

import torch

from manypose import __version__
from manypose.data.packing.program import packed_kind
from manypose.data.packing.shards import find_shards
from manypose.errors import DataError
from manypose.files import sha256_of
from manypose.training.loaders import data_files
from manypose.training.recipe import Recipe

PACKAGES = ("torch", "lightning", "numpy", "opencv-python-headless", "onnxruntime", "pydantic")


def describe_run(recipe: Recipe) -> dict[str, Any]:
    """Plain data: `manypose` and its git revision, versions of `packages`, the machine, and hashes of the `data` files.

    Raises `DataError` for a file of labels that cannot be read.
    """
    return {
        "manypose": __version__,
        "revision": _revision(),
        "python": platform.python_version(),
        "packages": {name: version for name in PACKAGES if (version := _version(name))},
        "machine": f"{platform.machine()}, {platform.system()}, {_accelerator()}",
        "data": {name: _fingerprint(path) for name, path in data_files(recipe).items()},
    }


def _fingerprint(path: Path) -> str:
    """The hash of a file of labels; of a folder, names and sizes of what is in it, of numbered shards those of them."""
    import hashlib

    try:
        if path.is_file():
            return f"sha256:{sha256_of(path)}"
        if packed_kind(path) == "webdataset" and not path.is_dir():
            rows = [(shard.name, shard.stat().st_size) for shard in find_shards(path)]
            return f"names:{hashlib.sha256(repr(rows).encode()).hexdigest()}"
        rows = sorted((str(part.relative_to(path)), part.stat().st_size) for part in path.rglob("*") if part.is_file())
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}") from None
    return f"names:{hashlib.sha256(repr(rows).encode()).hexdigest()}"


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _revision() -> str | None:
    """The commit of the checkout that the package runs from, "+" behind it where files were changed since."""
    source = Path(__file__).parents[1]
    if not any((folder / ".git").exists() for folder in source.parents):
        return None
    commands = (["rev-parse", "HEAD"], ["status", "--porcelain", "--untracked-files=no", "--", str(source)])
    try:
        commit, changes = (
            subprocess.run(
                ["git", "-C", str(source), *c], capture_output=True, text=True, timeout=20, check=True
            ).stdout
            for c in commands
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return commit.strip() + ("+" if changes.strip() else "")


def _accelerator() -> str:
    return torch.cuda.get_device_name() if torch.cuda.is_available() else f"CPU, {torch.get_num_threads()} threads"
