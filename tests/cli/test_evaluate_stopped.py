"""Long runs of eval as a user has them: killed, stopped by Ctrl-C in a terminal, gone on with, by several processes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from command_line import SMALL

pytest.importorskip("pycocotools", reason="needs the extra [eval]")
sys.path.insert(0, str(Path(__file__).parents[1] / "data"))
from tiny_coco import person, write_set

pytestmark = pytest.mark.skipif(os.name != "posix", reason="signals and terminals as POSIX has them")
PICTURES = 30


@pytest.fixture
def command(tmp_path: Path) -> list[str]:
    """An evaluation that takes a second or more; DIR comes after it."""
    rows = [person(n, 5, 60, 100, image_id=n, id=n) for n in range(1, PICTURES + 1)]
    data = write_set(tmp_path / "set", rows, pictures=PICTURES)
    own = ["eval", "default", "--data", str(data), "--threshold", "0", "--no-report", *SMALL]
    return [sys.executable, "-m", "manypose", *own, "--long-side", "384", "--out"]


def wait_for_lines(file: Path, count: int, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 120
    while not file.exists() or file.read_bytes().count(b"\n") < count:
        assert process.poll() is None, "ended before it could be stopped"
        assert time.monotonic() < deadline
        time.sleep(0.002)


def session_members(session: int) -> list[int]:
    """Processes of a session that are no zombies."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _parent, _group, own = stat.read_text().rpartition(")")[2].split()[:4]
        except OSError:
            continue
        if int(own) == session and state != "Z":
            found.append(int(stat.parent.name))
    return found


def test_a_killed_run_goes_on_with_two_processes_to_the_same_file(command: list[str], tmp_path: Path) -> None:
    whole, out = tmp_path / "whole", tmp_path / "out"
    subprocess.run([*command, whole], check=True, stdout=subprocess.DEVNULL)
    process = subprocess.Popen([*command, out], stdout=subprocess.DEVNULL)
    wait_for_lines(out / "journal.jsonl", 4, process)
    process.kill()
    assert process.wait() == -signal.SIGKILL
    assert sorted(file.name for file in out.iterdir()) == ["journal.jsonl"]
    refused = subprocess.run([*command, out], capture_output=True, text=True, check=False)
    assert (refused.returncode, refused.stdout) == (1, "")
    assert "an evaluation was stopped here; go on with it (--resume)" in refused.stderr
    subprocess.run([*command, out, "--resume", "--processes", "2"], check=True, stdout=subprocess.DEVNULL)
    assert (out / "results.json").read_bytes() == (whole / "results.json").read_bytes()
    assert sorted(file.name for file in out.iterdir()) == ["metrics.json", "results.json"]


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs /proc to see which processes are left")
@pytest.mark.parametrize("processes", ["1", "2"])
def test_ctrl_c_in_a_terminal_ends_all_and_keeps_what_is_done(
    command: list[str], tmp_path: Path, processes: str
) -> None:
    import fcntl
    import pty
    import termios

    terminal, inside = pty.openpty()
    out = tmp_path / "out"
    process = subprocess.Popen(
        [*command, out, "--processes", processes],
        stdin=inside,
        stdout=inside,
        stderr=inside,
        start_new_session=True,
        preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
    )
    os.close(inside)
    wait_for_lines(out / "journal.jsonl", 4, process)
    os.write(terminal, b"\x03")
    printed = read_all(terminal)
    assert process.wait(timeout=60) == 128 + signal.SIGINT
    assert "interrupted; what is written stays" in printed
    assert "Traceback" not in printed
    deadline = time.monotonic() + 30
    while session_members(process.pid) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert session_members(process.pid) == []
    kept = (out / "journal.jsonl").read_bytes()
    assert kept.endswith(b"\n")
    assert 4 <= kept.count(b"\n") < 1 + PICTURES
    subprocess.run([*command, out, "--resume"], check=True, stdout=subprocess.DEVNULL)
    assert (out / "results.json").exists()


def read_all(terminal: int) -> str:
    """What was printed until nobody holds the terminal."""
    printed = b""
    while True:
        try:
            data = os.read(terminal, 4096)
        except OSError:  # the other end is closed
            data = b""
        if not data:
            os.close(terminal)
            return printed.decode("utf-8", "replace")
        printed += data
