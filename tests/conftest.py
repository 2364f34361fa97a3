"""What all tests share: where the goldens and, when there are any, the shared data are; in CI no golden is skipped."""

from __future__ import annotations

import os

if "PYTEST_XDIST_WORKER" in os.environ:  # each of the processes has a core; what it starts shall not take the others'
    os.environ.setdefault("OMP_NUM_THREADS", "1")

from collections.abc import Generator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="session")
def goldens() -> Path:
    """Numbers made by running the reference products; they are part of the repository."""
    return ROOT / "tests" / "goldens"


@pytest.fixture(scope="session")
def photos() -> Path:
    """The photos of the repository, all in the public domain or CC0."""
    return ROOT / "photos"


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Photos with labels that stand outside of the repository; set MANYPOSE_DATA where they are elsewhere."""
    folder = Path(os.environ.get("MANYPOSE_DATA", ROOT.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"needs the shared data folder; {folder} is not there (set MANYPOSE_DATA)")
    return folder


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Nightly tests run only where they are asked for: -m nightly."""
    if "nightly" in config.option.markexpr:
        return
    nightly = [item for item in items if item.get_closest_marker("nightly")]
    if nightly:
        config.hook.pytest_deselected(items=nightly)
        items[:] = [item for item in items if item not in nightly]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """In CI a golden test that is skipped has failed: a stranger's clone must test the same as ours."""
    report = yield
    expected_failure = hasattr(report, "wasxfail")
    if _in_ci() and report.skipped and not expected_failure and item.get_closest_marker("golden"):
        report.outcome = "failed"
        report.longrepr = f"{item.nodeid}: a golden test must not be skipped in CI: {_reason(report)}"
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(
    collector: pytest.Collector,
) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """The same for a whole file of tests, such as one that skips itself because a package is missing."""
    report = yield
    if _in_ci() and report.skipped and _has_goldens(collector.path):
        report.outcome = "failed"
        report.longrepr = f"{collector.nodeid}: holds golden tests, which must not be skipped in CI: {_reason(report)}"
    return report


def _in_ci() -> bool:
    return os.environ.get("CI", "").lower() in ("true", "1") or os.environ.get("MANYPOSE_CI") == "1"


def _has_goldens(path: Path) -> bool:
    return path.suffix == ".py" and "mark.golden" in path.read_text(encoding="utf-8")


def _reason(report: pytest.TestReport | pytest.CollectReport) -> str:
    return str(report.longrepr[2]) if isinstance(report.longrepr, tuple) else str(report.longrepr)
