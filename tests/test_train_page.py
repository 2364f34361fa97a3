"""The page "train" does what it says: each command of its first example, in order, on a few drawn pictures.

Only the work is made small: overrides behind the commands of `manypose train` shrink the network, its pictures and the
steps. All else is as it stands on the page.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

import manypose
from manypose.model import load_model

for _module in ("torch", "lightning", "tensorboard"):
    pytest.importorskip(_module, reason="needs the extra [train]")
pytest.importorskip("matplotlib", reason="needs the extra [plot]")
pytest.importorskip("pycocotools", reason="needs the extra [eval]")

sys.path.insert(0, str(Path(__file__).parent / "training"))
from kites import write_kites  # noqa: E402

pytestmark = pytest.mark.train
PAGE = Path(__file__).parents[1] / "docs" / "train.md"
SMALL = ("width=0.25", "size=[64,64]", "workers=0", "threads=1", "device=cpu")
SHORT = (
    "max_steps=4",
    "warmup_steps=1",
    "cooldown_steps=2",
    "val_every=2",
    "batch_size=2",
    "val_size=2",
    "log_every=1",
)
# What is left of the work of a command that has one of these options.
WORK = {"--overfit": SMALL, "--find-rate": (*SMALL, "batch_size=4"), None: (*SMALL, *SHORT)}


def commands() -> list[str]:
    """The lines of the page's first example."""
    found = re.search(r"```bash\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert found is not None
    return found[1].splitlines()


def write_photos(folder: Path) -> None:
    """Photos as the page has them: `train.json` and `val.json`, and their pictures in the folder `images`."""
    images = folder / "images"
    images.mkdir(parents=True)
    for seed, name in enumerate(("train", "val")):
        part = folder / name
        part.mkdir()
        content = json.loads(write_kites(part, pictures=8, seed=seed).read_text())
        for image in content["images"]:
            (part / image["file_name"]).rename(images / f"{name}{image['file_name']}")
            image["file_name"] = f"{name}{image['file_name']}"
        content["categories"][0]["sigmas"] = [0.1] * 5  # for the AP of `eval`, as the page says
        (folder / f"{name}.json").write_text(json.dumps(content))
        (part / "set.json").unlink()
        part.rmdir()


def run(command: str, folder: Path) -> str:
    """Run a line of the page in a folder; gives what it printed."""
    program, *arguments = shlex.split(command)
    assert program == "manypose"
    if arguments[0] == "train":
        kind = next((option for option in WORK if option in arguments), None)
        arguments += WORK[kind]
    path = os.pathsep.join([str(Path(manypose.__file__).parents[1]), os.environ.get("PYTHONPATH", "")])
    ran = subprocess.run(
        [sys.executable, "-m", "manypose", *arguments],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": path, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert ran.returncode == 0, f"{command}: exit code {ran.returncode}\n{ran.stdout}\n{ran.stderr[-3000:]}"
    assert "Traceback" not in ran.stderr
    return ran.stdout


def test_every_command_of_the_page_does_what_it_says(tmp_path: Path) -> None:
    write_photos(tmp_path / "photos")
    lines = commands()
    assert lines[0].startswith("pip install 'manypose[")
    said = {line: run(line, tmp_path) for line in lines[1:]}
    kinds = [line.split()[1] for line in said]
    assert kinds == ["data", "recipes", "train", "train", "train", "curves", "export", "eval", "predict"]
    _, _, overfit, find, train, _, _, measured, _ = said.values()
    assert "the pipeline can learn these labels" in overfit
    assert re.search(r"^learning_rate=\d", find, re.MULTILINE)
    assert "runs/first/last.ckpt: the last checkpoint" in train
    assert re.search(r"^ AP at OKS 0.50 +[01]\.\d", measured, re.MULTILINE)

    assert any(file.suffix in (".jpg", ".png") for file in (tmp_path / "checked").iterdir())  # the contact sheet
    assert "network: lpn_18" in (tmp_path / "mine.yaml").read_text()
    files = {file.name for file in (tmp_path / "runs" / "first").iterdir()}
    assert {"rates.png", "recipe.yaml", "provenance.yaml", "metrics.csv", "last.ckpt"} <= files  # the first one stays
    assert (tmp_path / "curves.png").stat().st_size > 10_000
    assert load_model(tmp_path / "mine.onnx").skeleton.joints[:2] == ("nose", "tail")
    assert len(list((tmp_path / "drawn").glob("*.png")) + list((tmp_path / "drawn").glob("*.jpg"))) == 16
