"""The classic weights that others have published: where they lie, how they are checked, and the user's copies of them.

The addresses and hashes are those of their publishers: CMU's `openpose/CMakeLists.txt`, torchvision's `vgg.py` and
`resnet.py`, the README of HRNet (the hashes of the last two stand in the file names).
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from manypose.download import Progress, cache_folder, check_file, disk_faults, download, locked
from manypose.errors import DownloadError, ModelError

LARGEST = 1 << 31  # bytes; the largest of these files has 0.6 GB


@dataclass(frozen=True)
class Licence:
    """The terms of published weights; `address` is where they are written."""

    name: str
    terms: str
    address: str


CMU = Licence(
    "CMU OpenPose, non-commercial",
    "for academic or non-profit organisations, for non-commercial research only",
    "https://github.com/CMU-Perceptual-Computing-Lab/openpose/blob/master/LICENSE",
)
TORCHVISION = Licence(
    "BSD-3-Clause",
    "free to use; trained on ImageNet, whose pictures have terms of their own",
    "https://github.com/pytorch/vision/blob/main/LICENSE",
)
HRNET = Licence(
    "MIT",
    "free to use; trained on ImageNet, whose pictures have terms of their own",
    "https://github.com/leoxiaobin/deep-high-resolution-net.pytorch/blob/master/LICENSE",
)


@dataclass(frozen=True)
class Published:
    """One file of weights by name.

    `network` and `options` are those of `networks.build`; of a backbone, `network` is the trunk that the file starts,
    for training only. `address` is None where the file can only be fetched by hand, from `page`. `size` is exact, in
    bytes, None where unknown; `megabytes` is rounded. `sha256_prefixes` are those of every way in which the same
    weights were saved; that of the address is the first.
    """

    name: str
    title: str
    kind: Literal["people", "face", "hand", "backbone"]
    network: str
    file_name: str
    megabytes: int
    licence: Licence
    address: str | None = None
    page: str = ""
    options: dict[str, Any] = field(default_factory=dict)
    size: int | None = None
    md5: str | None = None
    sha256_prefixes: tuple[str, ...] = ()

    @property
    def file(self) -> Path:
        """Where the user's copy lies, converted, once it was got."""
        return cache_folder() / f"{self.name}{'.safetensors' if self.kind == 'backbone' else '.onnx'}"


Convert = Callable[[Path, Path, Published], object]


def _cmu(
    name: str,
    title: str,
    path: str,
    md5: str,
    *,
    network: str,
    megabytes: int,
    kind: Literal["people", "face", "hand"] = "people",
    size: int | None = None,
) -> Published:
    return Published(
        name=f"cmu-{name}",
        title=title,
        kind=kind,
        network=network,
        file_name=path.rpartition("/")[2],
        megabytes=megabytes,
        licence=CMU,
        address=f"http://posefs1.perception.cs.cmu.edu/OpenPose/models/{path}",
        page="https://github.com/CMU-Perceptual-Computing-Lab/openpose/issues/1602",
        size=size,
        md5=md5,
    )


def _torchvision(name: str, network: str, megabytes: int, *hashes: str, size: int | None = None) -> Published:
    file_name = f"{name}-{hashes[0]}.pth"
    return Published(
        name=name,
        title=f"{name.replace('vgg', 'VGG-').replace('resnet', 'ResNet-')} trained on ImageNet",
        kind="backbone",
        network=network,
        file_name=file_name,
        megabytes=megabytes,
        licence=TORCHVISION,
        address=f"https://download.pytorch.org/models/{file_name}",
        size=size,
        sha256_prefixes=hashes,
    )


def _hrnet(width: int, megabytes: int, sha256_prefix: str) -> Published:
    return Published(
        name=f"hrnet-w{width}",
        title=f"HRNet-W{width} trained on ImageNet",
        kind="backbone",
        network=f"hrnet_w{width}",
        file_name=f"hrnet_w{width}-{sha256_prefix}.pth",
        megabytes=megabytes,
        licence=HRNET,
        page="https://drive.google.com/drive/folders/1hOTihvbyIxsm5ygDpbUuJ7O_tzv4oXjC",
        sha256_prefixes=(sha256_prefix,),
    )


_MPI = _cmu(
    "mpi",
    "CMU's 15 joints of MPII, six stages",
    "pose/mpi/pose_iter_160000.caffemodel",
    "2ca0990c7562bd7ae03f3f54afa96e00",
    network="vgg_paf",
    megabytes=206,
)

_ALL = (
    _cmu(
        "body25",
        "CMU's 25 joints with feet",
        "pose/body_25/pose_iter_584000.caffemodel",
        "78287b57cf85fa89c03f1393d368e5b7",
        network="body25",
        megabytes=105,
        size=104_715_850,
    ),
    _cmu(
        "coco",
        "CMU's 18 joints, six stages",
        "pose/coco/pose_iter_440000.caffemodel",
        "5156d31f670511fce9b4e28b403f2939",
        network="vgg_paf",
        megabytes=209,
    ),
    _MPI,
    # Of the same file; its last two stages are left out.
    replace(_MPI, name="cmu-mpi-4", title="the same, four stages", options={"stages": 4}),
    _cmu(
        "face",
        "CMU's 70 points of a face",
        "face/pose_iter_116000.caffemodel",
        "e747180d728fa4e4418c465828384333",
        network="cpm_face",
        kind="face",
        megabytes=154,
    ),
    _cmu(
        "hand",
        "CMU's 21 points of a hand",
        "hand/pose_iter_102000.caffemodel",
        "a82cfc3fea7c62f159e11bd3674c1531",
        network="cpm_hand",
        kind="hand",
        megabytes=147,
    ),
    _torchvision("vgg19", "vgg_paf", 575, "dcbb9e9d", size=574_673_361),
    # The second hash is that of the older file with the same weights.
    _torchvision("resnet18", "pose_resnet_18", 47, "f37072fd", "5c106cde"),
    _torchvision("resnet34", "pose_resnet_34", 87, "b627a593", "333f7ec4"),
    _torchvision("resnet50", "pose_resnet_50", 103, "0676ba61", "19c8e357"),
    _torchvision("resnet101", "pose_resnet_101", 179, "63fe2227", "5d3b4d8f"),
    _torchvision("resnet152", "pose_resnet_152", 242, "394f9c45", "b121ed2d"),
    _hrnet(32, 165, "36af842e"),
    _hrnet(48, 310, "8ef0771d"),
)

PUBLISHED = {entry.name: entry for entry in _ALL}


def find_published(name: str) -> Published:
    """The entry of a name; raises `ModelError` that lists the names."""
    if name not in PUBLISHED:
        raise ModelError(f"no published weights are called {name!r}; there are {', '.join(PUBLISHED)}")
    return PUBLISHED[name]


def cached_weights() -> dict[str, Path]:
    """What this user has got, networks and backbones: name -> converted file."""
    return {name: entry.file for name, entry in PUBLISHED.items() if os.path.isfile(entry.file)}


def cached_models() -> dict[str, Path]:
    """The networks that this user has got and that can be run: name -> ONNX file."""
    return {name: file for name, file in cached_weights().items() if file.suffix == ".onnx"}


def cached_model(name: str) -> Path | None:
    """The ONNX file of a published network, None where this user has not got it."""
    return cached_models().get(name) if name in PUBLISHED else None


def hint(name: str) -> str:
    """What to add to "no such model": how to get it, where the name is one of a published one; else nothing."""
    if name not in PUBLISHED:
        return ""
    if PUBLISHED[name].kind == "backbone":
        return f"; {name} is a backbone, which only training starts from"
    return f"; `manypose models get {name}` fetches it"


def get_published(
    name: str,
    *,
    convert: Convert,
    source: str | Path | None = None,
    overwrite: bool = False,
    keep: bool = False,
    progress: Progress | None = None,
) -> Path:
    """Fetch published weights, check and convert them, and give the file in the cache that they are from now on.

    `convert` is called with the file of weights, the file to make and the entry. `source` is another address of the
    same file, or a copy on this machine. A copy that is there already is given back, unless `overwrite`. What was
    downloaded is removed after it is converted, unless `keep`.

    Raises `ModelError` for a name that is not known, `DownloadError` when the file cannot be had or is not the
    published one, and whatever `convert` raises; then what was downloaded stays, for the next time.
    """
    entry = find_published(name)
    folder = cache_folder()
    if entry.file.is_file() and not overwrite:
        return entry.file
    with disk_faults(folder):
        (folder / "downloads").mkdir(parents=True, exist_ok=True)
    with locked(folder / entry.file_name):  # not by name: two of them come from one file
        if entry.file.is_file() and not overwrite:  # made by another, whom we waited for
            return entry.file
        weights = _fetch(entry, source, progress)
        with tempfile.TemporaryDirectory(dir=folder, prefix=".convert-") as made:
            out = Path(made) / entry.file.name
            convert(weights, out, entry)
            with disk_faults(entry.file):
                os.replace(out, entry.file)
        if not keep:
            _downloaded(entry).unlink(missing_ok=True)
    return entry.file


def _downloaded(entry: Published) -> Path:
    return cache_folder() / "downloads" / entry.file_name


def _fetch(entry: Published, source: str | Path | None, progress: Progress | None) -> Path:
    """The file of weights, checked."""
    prefixes = entry.sha256_prefixes or None
    if source is not None and "://" not in str(source):
        # No size: the older files of the same weights have another.
        return _checked_copy(entry, Path(source), prefixes)
    file = _downloaded(entry)
    with contextlib.suppress(DownloadError):
        check_file(file, md5=entry.md5, sha256_prefix=prefixes)
        return file
    address = entry.address if source is None else str(source)
    if address is None:
        raise DownloadError(
            f"{entry.name}: {entry.file_name} is published without an address that a program can fetch; download it "
            f"from {entry.page} and give the file: manypose models get {entry.name} --from {entry.file_name}"
        )
    try:
        return download(
            address,
            file,
            size=entry.size if source is None else None,
            md5=entry.md5,
            sha256_prefix=prefixes,
            progress=progress,
            limit=LARGEST,
            overwrite=True,
        )
    except DownloadError as error:
        if source is not None:
            raise
        where = f" (see {entry.page})" if entry.page else ""
        raise DownloadError(
            f"{error}; where the address is dead, a copy of {entry.file_name}{where} can be given: --from FILE|URL"
        ) from None


def _checked_copy(entry: Published, file: Path, prefixes: tuple[str, ...] | None) -> Path:
    if not file.is_file():
        raise DownloadError(f"{file}: no such file")
    try:
        check_file(file, md5=entry.md5, sha256_prefix=prefixes)
    except DownloadError as error:
        raise DownloadError(f"{error}; for weights of your own there is `manypose convert`") from None
    return file
