"""How long a user waits before anything happens: `import manypose` and `manypose --help` in fresh interpreters.

    python benchmarks/start.py --runs 11

Medians of wall and CPU time, beside an interpreter that does nothing. On a busy machine the CPU time tells more.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import time

PROGRAMS = {
    "python -c pass": ["-c", "pass"],
    "import manypose": ["-c", "import manypose"],
    "manypose --help": ["-m", "manypose", "--help"],
}
LIMITS = {"import manypose": 0.15, "manypose --help": 0.35}  # seconds, the interpreter included


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=11)
    runs = parser.parse_args().runs
    print(f"median of {runs} runs, {os.cpu_count()} CPUs\n\n{'':<18}{'wall s':>8}{'CPU s':>8}{'limit s':>9}")
    for name, arguments in PROGRAMS.items():
        run_once(arguments)  # reads the files into the cache of the disk
        times = [run_once(arguments) for _ in range(runs)]
        wall, cpu = (statistics.median(column) for column in zip(*times, strict=True))
        print(f"{name:<18}{wall:>8.3f}{cpu:>8.3f}{LIMITS.get(name, ''):>9}")


def run_once(arguments: list[str]) -> tuple[float, float]:
    """Wall and CPU seconds of a fresh interpreter."""
    before, started = os.times(), time.perf_counter()
    subprocess.run([sys.executable, *arguments], stdout=subprocess.DEVNULL, check=True)
    wall, after = time.perf_counter() - started, os.times()
    cpu = after.children_user - before.children_user + after.children_system - before.children_system
    return wall, cpu


if __name__ == "__main__":
    main()
