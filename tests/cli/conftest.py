"""Running the command line inside of the test, so that a test does not pay for a new interpreter."""

from __future__ import annotations

from pathlib import Path

import pytest
from command_line import SMALL, Ran, Run, make_picture

from manypose.cli import main


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs `manypose` with some arguments; wrong use counts as its exit code."""

    def call(*arguments: object) -> Ran:
        try:
            code = main([str(argument) for argument in arguments])
        except SystemExit as exit:
            code = int(exit.code or 0)
        return Ran(code, *capsys.readouterr())

    return call


@pytest.fixture
def predict(run: Run) -> Run:
    """Runs `manypose predict` with the network at its smallest."""
    return lambda *arguments: run("predict", *SMALL, *arguments)


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    """A picture of noise, 60 x 40."""
    return make_picture(tmp_path / "noise.png")
