"""Pictures a second of a training step of ours, beside the same network in a bare loop of PyTorch without data loading.

Ours is the training program as a recipe runs it: pictures kept in memory, samples made by a worker process, losses
logged, weights averaged, numbers watched. The bare loop has one batch that it keeps, normalised, and does what the
maths asks: forward, loss, backward, gradients clipped, step. Both run in turns, in one process on the same threads;
the ratio is that of the medians. Below it stands where our time goes. With --processes the speed of two processes is
printed beside that of one.

    python benchmarks/training.py [--set FILE] [--clock cpu] [--processes]
"""

from __future__ import annotations

import argparse
import contextlib
import copy
import os
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import lightning
import torch
from data import make_set
from lightning.pytorch import callbacks

from manypose.training.module import stages_of
from manypose.training.optimisers import make_optimiser
from manypose.training.parameters import parameter_groups
from manypose.training.program import train
from manypose.training.recipe import Recipe
from manypose.training.recipe_file import check_recipe

PHASES = ("waiting for the batch", "normalise, forward, loss", "backward", "clip, step, average, log, save")
Clock = Callable[[], float]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--set", type=Path, help="a COCO-style file (default: made of this repository's photos)")
    parser.add_argument("--network", default="ladder_paf", help="a bottom-up network (default: ladder_paf)")
    parser.add_argument("--width", type=float, default=1.0)
    parser.add_argument("--size", type=int, default=192, help="pixels of a sample's sides (default: 192)")
    parser.add_argument("--batch", type=int, default=8, help="samples of a batch (default: 8)")
    parser.add_argument("--steps", type=int, default=4, help="steps of a turn (default: 4)")
    parser.add_argument(
        "--turns", type=int, default=5, help="turns of each, after one that does not count (default: 5)"
    )
    parser.add_argument("--threads", type=int, default=1, help="threads of PyTorch (default: 1)")
    parser.add_argument("--workers", type=int, default=1, help="processes that make samples (default: 1)")
    parser.add_argument("--clock", choices=("wall", "cpu"), default="wall", help="cpu: of the training process alone")
    parser.add_argument("--device", default="cpu", help="cpu or cuda (default: cpu)")
    parser.add_argument("--processes", action="store_true", help="compare two processes with one, too")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    with tempfile.TemporaryDirectory() as folder, quiet():
        file = (arguments.set or make_set(Path(folder))).resolve()
        compare_with_bare(arguments, file, Path(folder))
        if arguments.processes:
            compare_processes(arguments, file, Path(folder))


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    import logging

    logging.disable(logging.WARNING)
    yield


def make_recipe(arguments: argparse.Namespace, file: Path, out: Path, **changes: Any) -> Recipe:
    settings = {
        "root": file.parent, "data": [{"file": file.name}], "skeleton": "openpose18", "network": arguments.network,
        "width": arguments.width, "size": arguments.size, "batch_size": arguments.batch, "optimiser": "muon",
        "learning_rate": 0.005, "preload": True, "workers": arguments.workers, "threads": arguments.threads,
        "device": arguments.device, "out": out,
    }  # fmt: skip
    return check_recipe(settings | changes, "benchmark")


def compare_with_bare(arguments: argparse.Namespace, file: Path, folder: Path) -> None:
    steps = arguments.steps * (arguments.turns + 1)
    turns = Turns(arguments.steps, time.perf_counter if arguments.clock == "wall" else time.process_time)
    train(make_recipe(arguments, file, folder, name="ours", max_steps=steps), progress=False, watchers=[turns])
    ours, bare = (statistics.median(seconds[1:]) / arguments.steps for seconds in (turns.ours, turns.bare))
    spread = [b / o for b, o in zip(turns.bare[1:], turns.ours[1:], strict=True)]
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    print(
        f"{arguments.network} of width {arguments.width:g}, {arguments.batch} x {arguments.size} x {arguments.size}; "
        f"{arguments.device}, {torch.get_num_threads()} threads, {arguments.workers} workers; {os.cpu_count()} cores, "
        f"load {load}; {arguments.clock} time, medians of {arguments.turns} turns of {arguments.steps} steps"
    )
    print(f"{'ours':32} {arguments.batch / ours:8.2f} pictures a second {1000 * ours:9.1f} ms a step")
    print(f"{'bare loop':32} {arguments.batch / bare:8.2f} pictures a second {1000 * bare:9.1f} ms a step")
    print(f"{'ratio':32} {bare / ours:8.3f} (turn by turn {min(spread):.3f} to {max(spread):.3f}); goal: at least 0.95")
    print("ours, in parts:")
    for phase, seconds in turns.phases().items():
        print(f"  {phase:30} {1000 * seconds:9.1f} ms   {seconds / ours:6.1%}")


class Turns(callbacks.Callback):
    """After each turn of our steps as many of the bare loop; what both took, and the parts of ours."""

    def __init__(self, steps: int, clock: Clock) -> None:
        self.steps, self.plain = steps, clock
        self.ours: list[float] = []
        self.bare: list[float] = []
        self.marks: list[list[float]] = []
        self.loop: Any = None
        self.cuda = False

    def clock(self) -> float:
        """Now, with the GPU's work done."""
        if self.cuda:
            torch.cuda.synchronize()
        return self.plain()

    def on_train_start(self, trainer: lightning.Trainer, module: Any) -> None:
        self.cuda = module.device.type == "cuda"
        self.begin = self.clock()
        self.end_of_step = self.begin

    def on_train_batch_start(self, trainer: lightning.Trainer, module: Any, batch: Any, index: int) -> None:
        self.batch = batch
        self.marks.append([self.end_of_step, self.clock()])

    def on_before_backward(self, *_: Any) -> None:
        self.marks[-1].append(self.clock())

    def on_after_backward(self, *_: Any) -> None:
        self.marks[-1].append(self.clock())

    def on_train_batch_end(self, trainer: lightning.Trainer, module: Any, *_: Any) -> None:
        now = self.end_of_step = self.clock()
        self.marks[-1].append(now)
        if trainer.global_step % self.steps:
            return
        self.ours.append(now - self.begin)
        if self.loop is None:
            self.loop = BareLoop(module, self.batch)
        with torch.enable_grad():
            start = self.clock()
            for _ in range(self.steps):
                self.loop.step()
            self.bare.append(self.clock() - start)
        self.begin = self.end_of_step = self.clock()

    def phases(self) -> dict[str, float]:
        """The median seconds of each part of a step of ours."""
        counted = self.marks[self.steps :]
        return {
            phase: statistics.median(marks[n + 1] - marks[n] for marks in counted) for n, phase in enumerate(PHASES)
        }


class BareLoop:
    """The same network, loss and optimiser, on one batch."""

    def __init__(self, module: Any, batch: dict[str, torch.Tensor]) -> None:
        recipe = module.recipe
        self.network = copy.deepcopy(module.network).train()
        self.loss, self.batch, self.norm = module.loss, batch, recipe.gradient_norm
        self.picture = module.task.normalise(batch["picture"])
        rates = {"learning_rate": recipe.learning_rate, "weight_decay": recipe.weight_decay}
        groups = parameter_groups(self.network, recipe.parameters, optimiser=recipe.optimiser, **rates)
        self.optimiser = make_optimiser(recipe.optimiser, groups, **rates, momentum=recipe.momentum)

    def step(self) -> None:
        self.optimiser.zero_grad()
        torch.stack(list(self.loss(stages_of(self.network, self.picture), self.batch).values())).sum().backward()
        if self.norm:
            torch.nn.utils.clip_grad_norm_(self.network.parameters(), self.norm)
        self.optimiser.step()


def compare_processes(arguments: argparse.Namespace, file: Path, folder: Path) -> None:
    """Pictures a second of one and of two processes: what more steps take more, so that starting does not count."""
    speeds = {}
    for processes in (1, 2):
        took = []
        for steps in (arguments.steps, arguments.steps * (arguments.turns + 1)):
            recipe = make_recipe(
                arguments, file, folder, name=f"processes{processes}-{steps}", max_steps=steps, devices=processes
            )
            start = time.perf_counter()
            train(recipe, progress=False)
            took.append(time.perf_counter() - start)
        pictures = arguments.steps * arguments.turns * arguments.batch * processes
        speeds[processes] = pictures / (took[1] - took[0])
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    print(
        f"one process {speeds[1]:.2f}, two {speeds[2]:.2f} pictures a second (wall time, {os.cpu_count()} cores, load "
        f"{load}): {speeds[2] / speeds[1]:.2f} times"
    )


if __name__ == "__main__":
    main()
