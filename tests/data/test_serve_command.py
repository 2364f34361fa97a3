"""`manypose data serve`: what it refuses, and a recipe that is served until SIGTERM."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from argparse import ArgumentParser, Namespace
from pathlib import Path

import numpy as np
import pytest
import yaml

pytest.importorskip("zmq", reason="needs the extra [train]")
pytest.importorskip("lightning", reason="needs the extra [train]")

from number_server import free_address
from tiny_coco import person, write_set

from manypose.cli.data import serve
from manypose.codecs.targets import RULES
from manypose.data.serving.client import ServedSamples
from manypose.data.serving.compact import ROUNDING
from manypose.errors import DataError
from manypose.training.recipe_file import read_recipe

PROGRAM = """
import sys
from argparse import ArgumentParser
from manypose.cli.data import serve
parser = ArgumentParser()
serve.add_parser(parser.add_subparsers())
arguments = parser.parse_args(["serve", *sys.argv[1:]])
sys.exit(arguments.run(arguments))
"""


def parse(*words: object) -> Namespace:
    parser = ArgumentParser()
    serve.add_parser(parser.add_subparsers())
    return parser.parse_args(["serve", *map(str, words)])


def run(*words: object) -> int:
    arguments = parse(*words)
    return int(arguments.run(arguments))


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    write_set(tmp_path, [person(20, 10, 60, 100, image_id=i + 1) for i in range(20)], pictures=20)
    file = tmp_path / "recipe.yaml"
    file.write_text(
        yaml.safe_dump(
            {
                "root": str(tmp_path),
                "data": [{"file": "set.json"}],
                "size": 96,
                "skeleton": "openpose18",
                "seed": 5,
                "max_steps": 1,
            }
        )
    )
    return file


@pytest.mark.parametrize("mode", ["classic", "compact"])
def test_a_signal_to_the_whole_group_ends_server_and_workers(recipe: Path, mode: str) -> None:
    """As a terminal, `timeout` or a service manager sends it; nobody takes what the workers have made by then."""
    words = [str(recipe), "--bind", free_address(), "--mode", mode, "--workers", "1"]
    server = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, *words], stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    try:
        assert server.stdout is not None
        assert "tcp://" in server.stdout.readline()
        time.sleep(1)
        os.killpg(server.pid, signal.SIGTERM)
        server.communicate(timeout=30)
        with pytest.raises(ProcessLookupError):
            os.killpg(server.pid, 0)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(server.pid, signal.SIGKILL)


def test_a_recipe_is_served_until_sigterm(recipe: Path) -> None:
    address = free_address()
    words = [str(recipe), "--bind", address, "--epochs", "2", "--workers", "1"]
    server = subprocess.Popen([sys.executable, "-c", PROGRAM, *words], stdout=subprocess.PIPE, text=True)
    try:
        client = ServedSamples(address, timeout=60, split="train")
        got = list(client)
        client.close()
        server.send_signal(signal.SIGTERM)
        said, _ = server.communicate(timeout=20)
    finally:
        server.kill()
    assert server.returncode == 0
    first, last = said.splitlines()
    assert first == f"{address}: train samples of 20 pictures, mode compact; Ctrl-C ends it"
    assert last.startswith("2")  # twenty, and some that were on their way
    assert "samples, " in last
    assert "a second, " in last
    assert "bytes each, 1 client" in last
    samples = serve.make_samples(read_recipe(recipe), split="train", val_size=0)
    assert len(got) == len(samples) == 20
    np.testing.assert_array_equal(got[7]["picture"], samples[7]["picture"])
    np.testing.assert_allclose(got[7]["fields"], samples[7]["fields"], rtol=0, atol=ROUNDING)


def test_a_picture_is_in_train_or_in_val(recipe: Path) -> None:
    parts = [serve.make_samples(read_recipe(recipe), split=split, val_size=0.3) for split in ("train", "val")]
    names = [{picture.name for source in part.sources for picture in source.pictures} for part in parts]
    assert not names[0] & names[1]
    assert len(names[0] | names[1]) == 20
    assert len(names[1]) == 6


def test_the_samples_are_those_of_the_recipe(recipe: Path) -> None:
    words = ["target_rules=cmu", "longest=77", "val_size=0.5"]
    made = serve.make_samples(read_recipe(recipe, words), split="val")
    assert (len(made), made.rules, made.longest, made.skip_broken) == (10, RULES["cmu"], 77, False)
    assert len(serve.make_samples(read_recipe(recipe, words), split="val", val_size=0.3)) == 6
    with pytest.raises(DataError, match="no pictures for validation; split some off with --val-size SHARE"):
        serve.make_samples(read_recipe(recipe), split="val")
    with pytest.raises(DataError, match="has its samples from a server"):
        serve.make_samples(
            read_recipe(recipe, ["data=[{server: 'tcp://127.0.0.1:5555'}]", "skeleton=openpose18"]), split="train"
        )


def test_faults_stop_it_or_are_skipped(recipe: Path) -> None:
    file = recipe.parent / "set.json"
    content = json.loads(file.read_text())
    content["annotations"][0]["bbox"][2] = 0
    file.write_text(json.dumps(content))
    with pytest.raises(DataError, match=r"annotation 0 of image 1: bbox .* has no size; .* with --skip$"):
        run(recipe, "--bind", free_address())
    made = serve.make_samples(read_recipe(recipe), split="train", skip=True)
    assert (len(made), made.skip_broken) == (19, True)


def test_a_key_is_made(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--make-key", tmp_path / "samples.key") == 0
    assert "samples.key: a new key" in capsys.readouterr().out
    assert (tmp_path / "samples.key").is_file()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "give either a RECIPE, or --make-key FILE"),
        (["recipe.yaml", "--make-key", "x"], "give either a RECIPE, or --make-key FILE"),
        (["recipe.yaml", "--part", "4/3"], "'4/3' is not a part like 1/3"),
        (["recipe.yaml", "--val-size", "1.5"], r"'1\.5' is not a share from 0 to below 1"),
        (["recipe.yaml", "--epochs", "0"], "0 is not 1 or more"),
    ],
)
def test_wrong_use(words: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        run(*words)
    assert re.search(message, capsys.readouterr().err)


def test_other_machines_need_a_key() -> None:
    with pytest.raises(DataError, match=r"tcp://\*:5555: reaches other machines, so a key is needed"):
        run("recipe.yaml", "--bind", "tcp://*:5555")
