"""What the package promises as a whole: quick imports, two halves, imports one way, public names, commands, sizes."""

from __future__ import annotations

import ast
import graphlib
import json
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

import manypose
from manypose.cli import COMMANDS, doctor

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "src" / "manypose"
FILES = sorted(PACKAGE.rglob("*.py"))

# The order of docs/architecture.md: a module imports from its own line and from those above it.
LAYERS = (
    ("errors",),
    ("geometry", "skeleton", "files", "image_headers", "web", "download", "published", "manifest", "child"),
    ("people",),
    ("images", "codecs", "formats", "drawing", "metadata", "sessions"),
    ("adapters",),
    ("model",),
    ("estimators", "networks"),
    ("api", "video", "tracking", "convert", "data"),
    ("evaluation",),
    ("server", "jobs", "training"),
    ("cli",),
    ("__init__", "__main__"),
)
RANKS = {part: rank for rank, parts in enumerate(LAYERS) for part in parts}
TRAINING_HALF = {"networks", "convert", "data", "training"}
TRAINING_PACKAGES = {"torch", "torchvision", "lightning", "onnx", "tensorboard", "safetensors", "h5py", "zmq"}
# What neither `import manypose` nor any `--help` may load.
HEAVY = TRAINING_PACKAGES | {"cv2", "onnxruntime", "yaml", "pydantic", "rich", "pandas", "PIL", "scipy", "matplotlib"}
# `people.to_json()` and its like: a way from the value to its formats, taken only when it is called.
SHORTCUTS = {("people", "formats")}


class Import(NamedTuple):
    """One imported module; `late` inside of a function, `typing` only for type checkers."""

    file: Path
    line: int
    module: str
    late: bool
    typing: bool

    @property
    def place(self) -> str:
        return f"{self.file.relative_to(ROOT)}:{self.line} imports {self.module}"

    @property
    def importer(self) -> str:
        return self.file.relative_to(PACKAGE).with_suffix("").parts[0]

    @property
    def imported(self) -> str | None:
        """The part of manypose that is imported; None for other packages."""
        package, _, rest = self.module.partition(".")
        return rest.partition(".")[0] or "__init__" if package == "manypose" else None


def imports_of(file: Path) -> Iterator[Import]:
    def walk(node: ast.AST, late: bool, typing: bool) -> Iterator[Import]:
        if isinstance(node, ast.Import):
            yield from (Import(file, node.lineno, name.name, late, typing) for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}:{node.lineno}: imports are absolute"
            # `from manypose import geometry` names a module, `from manypose.people import People` a thing in one.
            names = [f"manypose.{name.name}" for name in node.names if name.name != "__version__"]
            modules = names if node.module == "manypose" else [node.module or ""]
            yield from (Import(file, node.lineno, module, late, typing) for module in modules)
        late = late or isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda))
        for_types = isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
        for child in ast.iter_child_nodes(node):
            yield from walk(child, late, typing or for_types)

    return walk(ast.parse(file.read_text(encoding="utf-8")), late=False, typing=False)


IMPORTS = [each for file in FILES for each in imports_of(file)]


def run_python(code: str, *arguments: str) -> str:
    """The output of a program in a fresh interpreter, whose last line lists the modules loaded at its end."""
    code += "\nimport json, sys\nprint(json.dumps(sorted(sys.modules)))"
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src"), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, env=environment, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def packages_after(code: str, *arguments: str) -> set[str]:
    return {module.partition(".")[0] for module in json.loads(run_python(code, *arguments).splitlines()[-1])}


def test_importing_manypose_loads_none_of_its_requirements() -> None:
    assert packages_after("import manypose") & HEAVY == set()


@pytest.mark.parametrize("arguments", [["--help"], *([command, "--help"] for command in COMMANDS)], ids=" ".join)
def test_help_comes_at_once(arguments: list[str]) -> None:
    code = """
import sys
from manypose.cli import main
try:
    main(sys.argv[1:])
except SystemExit as end:
    assert end.code == 0, end.code
"""
    *printed, loaded = run_python(code, *arguments).splitlines()
    assert printed[0].startswith(f"usage: manypose {arguments[0]}".removesuffix(" --help"))
    assert {module.partition(".")[0] for module in json.loads(loaded)} & HEAVY == set()


def test_finding_and_drawing_people_loads_nothing_of_the_training_half() -> None:
    loaded = packages_after(
        """
import sys
import manypose
from manypose import drawing
picture = manypose.open_image(sys.argv[1])
people = manypose.load(threads=1)(picture)
drawing.draw_people(picture, people)
people.to_json(), people.to_coco(1), people.to_openpose()
""",
        str(ROOT / "photos" / "astronaut.jpg"),
    )
    assert {"onnxruntime", "cv2"} <= loaded
    assert loaded & (TRAINING_PACKAGES | {"pandas", "scipy", "matplotlib", "pycocotools"}) == set()


def test_every_part_of_the_package_has_its_place_in_the_order() -> None:
    parts = {file.relative_to(PACKAGE).with_suffix("").parts[0] for file in FILES}
    assert parts - RANKS.keys() == set()


def test_imports_point_one_way() -> None:
    wrong = [
        each.place
        for each in IMPORTS
        if each.imported in RANKS
        and not each.typing
        and each.importer != "__init__"
        and RANKS[each.imported] > RANKS[each.importer]
        and not (each.late and (each.importer, each.imported) in SHORTCUTS)
    ]
    assert wrong == []


def test_parts_of_one_layer_do_not_import_each_other_in_a_circle() -> None:
    graph: dict[str, set[str]] = {}
    for each in IMPORTS:
        shortcut = each.late and (each.importer, each.imported) in SHORTCUTS
        if each.imported in RANKS and each.imported != each.importer and not each.typing and not shortcut:
            graph.setdefault(each.importer, set()).add(each.imported)
    graph.pop("__init__", None)  # it names the others without loading them
    graphlib.TopologicalSorter(graph).prepare()  # raises CycleError with the circle


def test_the_running_half_never_imports_the_training_half() -> None:
    wrong = [
        each.place
        for each in IMPORTS
        if each.importer not in TRAINING_HALF
        and (each.module.partition(".")[0] in TRAINING_PACKAGES or each.imported in TRAINING_HALF)
        # A command loads what it needs when it is called; `train`, `convert` and their like need the training half.
        and not (each.importer == "cli" and (each.late or each.typing))
        # Labels are read in one place; the test below sees that no torch comes with them.
        and (each.importer, each.imported) != ("evaluation", "data")
    ]
    assert wrong == []


def test_evaluation_reads_labels_without_torch() -> None:
    modules = [path.stem for path in sorted((PACKAGE / "evaluation").glob("*.py")) if path.stem != "__init__"]
    code = f"""
import importlib, sys
for module in {modules}:
    importlib.import_module(f"manypose.evaluation.{{module}}")
from manypose.data import datasets
print(sorted({TRAINING_PACKAGES} & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_public_names_are_there_and_no_others_are_promised() -> None:
    assert sorted(manypose.__all__) == manypose.__all__
    assert set(manypose.__all__) <= set(dir(manypose))
    assert {name for name in dir(manypose) if not name.startswith("_")} - set(manypose.__all__) <= {
        # What the module itself needs, and the submodules that tests have imported by now.
        *("annotations", "importlib", "TYPE_CHECKING", "Any"),
        *RANKS,
    }
    for name in manypose.__all__:
        assert getattr(manypose, name).__name__ == name
    with pytest.raises(AttributeError, match="module 'manypose' has no attribute 'nobody'"):
        _ = manypose.nobody  # type: ignore[attr-defined]


def test_the_version_is_that_of_the_project() -> None:
    version = read_project()["version"]
    assert manypose.__version__ == version
    assert f"## [{version}]" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def test_running_needs_the_packages_of_the_design_and_no_more() -> None:
    needed = set(map(package_name, read_project()["dependencies"]))
    assert needed == {"numpy", "opencv-python-headless", "onnxruntime", "rich", "pydantic", "PyYAML"}
    assert needed == set(doctor.CORE)


def test_doctor_knows_every_extra_of_the_project() -> None:
    extras = {
        extra: set(map(package_name, needed)) for extra, needed in read_project()["optional-dependencies"].items()
    }
    for_developers = {"dev", "docs", "all"}
    assert {extra: set(packages) for extra, packages in doctor.EXTRAS.items()} == {
        extra: packages for extra, packages in extras.items() if extra not in for_developers
    }


def test_training_takes_no_pytorch_newer_than_the_one_it_was_tested_with() -> None:
    assert "torch>=2.4,<=2.13.0" in read_project()["optional-dependencies"]["train"]


def read_project() -> dict[str, Any]:
    """The table `project` of pyproject.toml."""
    project: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return project


def package_name(requirement: str) -> str:
    return re.split(r"[<>=\[]", requirement)[0]


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(PACKAGE)))
def test_a_file_can_be_read_in_one_go(file: Path) -> None:
    assert file.read_text(encoding="utf-8").count("\n") <= 400
