"""The command line as a whole: help, versions, exit codes, and errors that are one line."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from command_line import Run

import manypose
from manypose import cli
from manypose.errors import ManyposeError

HEAVY = ("torch", "cv2", "onnxruntime", "numpy", "pydantic", "rich", "yaml")


def replace_command(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    """Let the command doctor raise an error."""

    def fail(_: object) -> int:
        raise error

    monkeypatch.setattr(cli, "_parse", lambda _: SimpleNamespace(run=fail))


COMMANDS = [*sorted(cli.COMMANDS), *(f"data {command}" for command in cli.data.COMMANDS)]


@pytest.mark.parametrize("command", COMMANDS)
def test_the_help_of_every_command_ends_with_two_examples(run: Run, command: str) -> None:
    ran = run(*command.split(), "--help")
    examples = ran.out.split("examples:\n")[1].splitlines()
    assert ran.code == 0
    assert len(examples) == 2
    assert all(example.startswith(f"  manypose {command}") for example in examples)


@pytest.mark.parametrize("command", COMMANDS)
def test_the_examples_in_the_help_can_be_parsed(run: Run, command: str) -> None:
    import shlex

    for example in run(*command.split(), "--help").out.split("examples:\n")[1].splitlines():
        arguments = shlex.split(example.split(">")[0])[1:]
        cli._parse(arguments)


def test_the_help_names_every_command(run: Run) -> None:
    ran = run("--help")
    assert all(f"    {command} " in ran.out for command in cli.COMMANDS)


def test_the_help_loads_nothing_heavy() -> None:
    program = (
        "import sys\nfrom manypose.cli import main\n"
        "try: main(['--help'])\n"
        f"finally: print([name for name in {HEAVY} if name in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stderr.strip() == "[]"


def test_the_version_is_that_of_the_package(run: Run) -> None:
    assert run("--version").out == f"manypose {manypose.__version__}\n"


def test_the_package_runs_as_a_module() -> None:
    done = subprocess.run([sys.executable, "-m", "manypose", "--version"], capture_output=True, text=True)
    assert done.stdout.startswith("manypose ")


@pytest.mark.parametrize(
    "arguments",
    [
        (),  # no command
        ("swim",),  # no such command
        ("predict",),  # no input
        ("predict", "a.jpg", "--long-side", "0"),
        ("predict", "a.jpg", "--scale", "nan"),
        ("predict", "a.jpg", "--scales", "1,,2"),
        ("predict", "a.jpg", "--scale", "1", "--long-side", "200"),  # two ways to say one thing
        ("predict", "a.jpg", "--threads", "-1"),
        ("predict", "a.jpg", "--thresh", "1"),  # no abbreviations
        ("predict", "a.jpg", "--json", "--show", "joints"),  # without --out nothing is drawn
        ("predict", "a.jpg", "--no-picture", "--joint", "nose"),
        ("models", "show"),  # which?
        ("models", "list", "default"),
        ("eval", "default"),  # no data
        ("export", "last.ckpt"),  # no file
    ],
)
def test_wrong_use_exits_with_2_and_prints_nothing_on_stdout(run: Run, arguments: tuple[str, ...]) -> None:
    ran = run(*arguments)
    assert (ran.code, ran.out) == (2, "")
    assert "usage: manypose" in ran.err


def test_an_error_of_ours_is_one_line_without_commands_for_the_terminal(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    replace_command(monkeypatch, ManyposeError("a\nb\x1b[31m\udcff: it is broken"))
    assert run() == (1, "", "manypose: a\\nb\\x1b[31m\\xff: it is broken\n")


def test_ctrl_c_is_one_line_and_130(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    replace_command(monkeypatch, KeyboardInterrupt())
    assert run() == (130, "", "manypose: interrupted; what is written stays\n")


def test_an_error_of_the_program_is_not_hidden(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    replace_command(monkeypatch, ZeroDivisionError("a fault of ours"))
    with pytest.raises(ZeroDivisionError, match="a fault of ours"):
        run()


@pytest.mark.skipif(os.name != "posix", reason="needs pipes that can be closed")
def test_a_reader_who_goes_away_is_no_error(picture: Path) -> None:
    read, write = os.pipe()
    os.close(read)
    arguments = [sys.executable, "-m", "manypose", "predict", str(picture), "--json", "--long-side", "64"]
    done = subprocess.run(arguments, stdout=write, stderr=subprocess.PIPE, text=True)
    os.close(write)
    assert (done.returncode, done.stderr) == (141, "")
