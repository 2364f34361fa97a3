"""Manifests: what they hold, where they stand, and that they name what has changed since."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from manypose.errors import DataError, FormatError
from manypose.manifest import (
    beside,
    changed_inputs,
    changed_versions,
    find_manifest,
    fingerprint,
    make_manifest,
    write_manifest,
)
from manypose.model import load_model


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    file = tmp_path / "photo.jpg"
    file.write_bytes(b"picture")
    return file


def test_a_manifest_is_json_with_all_that_made_an_output(photo: Path) -> None:
    model = load_model(device="cpu", threads=1)
    manifest = make_manifest("predict", {"scales": (1.0,), "file": photo}, model=model, inputs={"photo": photo})
    assert json.loads(json.dumps(manifest)) == manifest
    assert manifest["options"] == {"scales": [1.0], "file": str(photo)}
    assert manifest["model"]["sha256"] == fingerprint(model.path)
    assert manifest["inputs"]["photo"] == {"path": str(photo), "sha256": fingerprint(photo)}
    assert {"manypose", "python", "numpy", "onnxruntime"} <= set(manifest["versions"])
    assert manifest["machine"]["cores"] > 0


def test_what_has_changed_is_named_with_its_hashes(photo: Path, tmp_path: Path) -> None:
    manifest = make_manifest("predict", {}, inputs={"photo": photo, "folder": tmp_path})
    assert changed_inputs(manifest) == []
    photo.write_bytes(b"other")
    of_photo, of_folder = changed_inputs(manifest)
    assert of_photo.startswith(f"photo: {photo} has SHA-256 {fingerprint(photo)}, but the manifest says ")
    assert of_folder.startswith(f"folder: {tmp_path} has SHA-256 ")
    photo.unlink()
    assert "is no longer there" in changed_inputs(manifest)[0]


def test_other_versions_are_told() -> None:
    now = {"versions": {"numpy": "2.1"}, "machine": {"cores": 2}}
    assert changed_versions(now, {"versions": {"numpy": "2.0"}, "machine": {"cores": 2}}) == ["numpy: was 2.0, is 2.1"]
    assert changed_versions(now, now) == []


def test_a_folder_is_its_names_and_contents(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").write_text("1")
    assert fingerprint(tmp_path / "a") == fingerprint(tmp_path / "b")
    (tmp_path / "b" / "file").rename(tmp_path / "b" / "other")
    assert fingerprint(tmp_path / "a") != fingerprint(tmp_path / "b")
    with pytest.raises(DataError, match=r"none: cannot be read: No such file"):
        fingerprint(tmp_path / "none")


def test_a_manifest_is_found_inside_beside_and_in_the_folder(photo: Path, tmp_path: Path) -> None:
    manifest = make_manifest("predict", {}, outputs={"photo.jpg": photo})
    with pytest.raises(FormatError, match=r"photo\.jpg: has no manifest, inside or beside it \(photo\.jpg\.manifest"):
        find_manifest(photo)
    write_manifest(manifest, beside(tmp_path))
    assert find_manifest(tmp_path) == (manifest, tmp_path / ".manifest.json")
    assert find_manifest(photo)[1] == tmp_path / ".manifest.json"
    (tmp_path / "stray.txt").write_text("no output")
    with pytest.raises(FormatError, match="has no manifest"):
        find_manifest(tmp_path / "stray.txt")
    own = make_manifest("eval", {"a": 1})
    write_manifest(own, beside(photo))
    assert find_manifest(photo) == (own, tmp_path / "photo.jpg.manifest.json")
    (tmp_path / "metrics.json").write_text(json.dumps({"figures": {}, "manifest": own}))
    assert find_manifest(tmp_path / "metrics.json")[0] == own
    (tmp_path / "metrics.json").write_text(json.dumps({"manifest": own | {"manifest": 99}}))
    with pytest.raises(FormatError, match="its manifest has version 99, this manypose knows 1"):
        find_manifest(tmp_path)
    with pytest.raises(FormatError, match="no such file or folder"):
        find_manifest(tmp_path / "none")
