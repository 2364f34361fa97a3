"""A reading process that is started once and forks for each file: all that `manypose.child` does but the slow start."""

from __future__ import annotations

import importlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

import pytest

from manypose import child


@contextmanager
def forked_readers(module: str) -> Iterator[None]:
    """Within this, `read_in_child` gets its answers for the files of `module` from forks of one process."""
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        command = [sys.executable, __file__, module, folder]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server:
            assert server.stdin
            assert server.stdout

            def run(command: list[str], *, timeout: float, **_: Any) -> subprocess.CompletedProcess[bytes]:
                assert command[2:4] == ["-m", module]
                print(json.dumps([command[4:], timeout]), file=server.stdin, flush=True)
                code = int(server.stdout.readline())
                if code == -signal.SIGALRM:
                    raise subprocess.TimeoutExpired(command, timeout)
                stdout, stderr = ((Path(folder) / name).read_bytes() for name in ("stdout", "stderr"))
                return subprocess.CompletedProcess(command, code, stdout, stderr)

            patch.setattr(child.subprocess, "run", run)
            yield
            server.stdin.close()


def serve(module: str, folder: str) -> None:
    importlib.import_module("h5py")
    read: Callable[..., int] = importlib.import_module(module).main
    for line in sys.stdin:
        arguments, timeout = json.loads(line)
        process = os.fork()
        if not process:
            answer(read, arguments, timeout, Path(folder))
        print(os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]), flush=True)


def answer(read: Callable[..., int], arguments: list[str], timeout: float, folder: Path) -> NoReturn:
    """What a process of its own would do, with its output in files, and an end when its time is over."""
    code = 1
    for name, number in (("stdout", 1), ("stderr", 2)):
        os.dup2(os.open(folder / name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
    signal.setitimer(signal.ITIMER_REAL, timeout)
    try:
        code = read(*arguments)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    serve(*sys.argv[1:])
