"""`manypose doctor`: what is installed, which devices work, and how fast a model runs here."""

from __future__ import annotations

import os
import time
from argparse import ArgumentParser, Namespace
from typing import TYPE_CHECKING, Any

from manypose import __version__
from manypose.cli.arguments import add_command, whole_number
from manypose.cli.terminal import complain, console, one_line, say, table
from manypose.errors import ManyposeError

if TYPE_CHECKING:
    from manypose.cli.arguments import Subparsers

# Package -> module. All of them must be there and load.
CORE = {
    "numpy": "numpy",
    "opencv-python-headless": "cv2",
    "onnxruntime": "onnxruntime",
    "rich": "rich",
    "pydantic": "pydantic",
    "PyYAML": "yaml",
}
# Extra -> its packages, which are looked up but not loaded.
EXTRAS = {
    "gpu": ("onnxruntime-gpu",),
    "eval": ("pycocotools", "onnx", "scipy"),
    "tables": ("pyarrow", "pandas"),
    "supervision": ("supervision",),
    "video": ("av", "scipy"),
    "server": ("fastapi", "uvicorn", "python-multipart"),
    "train": (
        "torch",
        "lightning",
        "tensorboard",
        "onnx",
        "safetensors",
        "h5py",
        "scipy",
        "pyzmq",
        "lmdb",
        "pycocotools",
    ),
    "jobs": ("ray", "fsspec"),
    "plot": ("matplotlib",),
}


def add_parser(subparsers: Subparsers) -> ArgumentParser:
    """Add the command to the command line."""
    parser = add_command(
        subparsers,
        "doctor",
        summary="Say what is installed, which devices work, and how fast a model runs here.",
        usage="[options]",
        details="The exit code is 1 when something that running a model needs is missing or broken.",
        examples=("manypose doctor", "manypose doctor --json --runs 20 > machine.json"),
        run=run,
    )
    parser.add_argument(
        "--runs",
        type=whole_number(0, 1000),
        default=5,
        metavar="N",
        help="timed runs of the default model; 0: none (default: 5)",
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    return parser


def run(arguments: Namespace) -> int:
    """Run the command; 1 when something needed is broken."""
    import json

    report = examine(runs=arguments.runs)
    if arguments.json:
        print(json.dumps(report, indent=1))
    else:
        _print(report)
    for fault in report["faults"]:
        complain(fault)
    return 1 if report["faults"] else 0


def examine(*, runs: int = 5) -> dict[str, Any]:
    """What is installed and what works, as plain data; `faults` lists what running a model needs and does not have.

    `speed` has the median milliseconds of `runs` runs of the default model on one thread and on all.
    """
    import platform

    faults: list[str] = []
    report: dict[str, Any] = {
        "manypose": __version__,
        "python": platform.python_version(),
        "system": platform.platform(),
        "threads": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "core": {package: _loaded_version(package, module, faults) for package, module in CORE.items()},
        "extras": {extra: {name: _version(name) for name in names} for extra, names in EXTRAS.items()},
        "devices": {},
        "speed": [],
        "faults": faults,
    }
    if not faults:
        report["devices"] = _devices(faults)
    if not faults and runs:
        report["speed"] = [_speed(threads, runs) for threads in ((1, 0) if report["threads"] != 1 else (1,))]
    return report


def _loaded_version(package: str, module: str, faults: list[str]) -> str | None:
    """The version of a package that is needed; adds to `faults` when it is not there or does not load."""
    import importlib

    try:
        loaded = importlib.import_module(module)
    except (ImportError, OSError) as error:  # OSError: a library of the system is missing
        faults.append(f"{package}: does not load: {error}; install it again: pip install --force-reinstall {package}")
        return None
    # The module's own version, as OpenCV and ONNX Runtime come in packages of several names.
    return _version(package) or str(getattr(loaded, "__version__", "installed"))


def _version(package: str) -> str | None:
    from importlib import metadata

    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _devices(faults: list[str]) -> dict[str, str]:
    """Device -> "works", why it does not start, or that the installed ONNX Runtime does not have it."""
    from manypose.model import EXTRAS as EXTRA_OF
    from manypose.model import PROVIDERS, available_devices, load_model

    states = {}
    for device in PROVIDERS:
        if device not in available_devices():
            states[device] = "not in the installed ONNX Runtime" + (
                f": pip install 'manypose[{EXTRA_OF[device]}]'" if device in EXTRA_OF else ""
            )
            continue
        try:
            load_model("default", device=device)
            states[device] = "works"
        except ManyposeError as error:
            states[device] = str(error)
    try:
        states = {"auto": load_model("default").device} | states
    except ManyposeError as error:
        faults.append(str(error))
    if states["cpu"] != "works":
        faults.append(states["cpu"])
    return states


def _speed(threads: int, runs: int) -> dict[str, Any]:
    """Median milliseconds of the default model on a picture of the size at which it does best."""
    import statistics

    import numpy as np

    from manypose.api import load

    estimator = load("default", device="cpu", threads=threads)
    width = estimator.model.metadata.input.long_side
    height = round(0.75 * width)
    # What is shown does not change the time of the network; noise makes no people, so decoding is at its cheapest.
    picture = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
    estimator(picture)
    network, whole = [], []
    for _ in range(runs):
        before, started = estimator.times.network, time.perf_counter()
        estimator(picture)
        whole.append(time.perf_counter() - started)
        network.append(estimator.times.network - before)
    return {
        "model": estimator.model.metadata.name,
        "picture": [width, height],
        "threads": threads or "all",
        "network_ms": round(1000 * statistics.median(network), 1),
        "whole_ms": round(1000 * statistics.median(whole), 1),
        "runs": runs,
    }


def _print(report: dict[str, Any]) -> None:
    say(f"manypose {report['manypose']}, Python {report['python']}, {report['system']}, {report['threads']} threads")
    packages = table("needed", "version")
    for name, version in report["core"].items():
        packages.add_row(name, version or "missing or broken")
    extras = table("extra", "state")
    for extra, found in report["extras"].items():
        missing = [name for name, version in found.items() if version is None]
        there = ", ".join(f"{name} {version}" for name, version in found.items() if version is not None)
        hint = f"missing {', '.join(missing)}: pip install 'manypose\\[{extra}]'" if missing else ""
        extras.add_row(extra, "; ".join(filter(None, (there, hint))))
    devices = table("device", "state")
    for device, state in report["devices"].items():
        devices.add_row(device, one_line(state).replace("[", "\\["))
    speeds = table("speed, ms (median)", "threads", "network", "with preparing and decoding", right=("network",))
    for speed in report["speed"]:
        width, height = speed["picture"]
        model = f"{one_line(speed['model'])}, {width} x {height} pixels"
        speeds.add_row(model, str(speed["threads"]), str(speed["network_ms"]), str(speed["whole_ms"]))
    for shown in (packages, extras, devices, speeds):
        if shown.row_count:
            console().print(shown)
