"""Reading in a process of its own: whatever becomes of it, there is an answer."""

from __future__ import annotations

from pathlib import Path

import pytest

from manypose import child
from manypose.errors import DataError


def read(body: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """What is said about a reader with that body, or what it has written."""
    (folder / "reader_of_the_test.py").write_text(f"import os, sys\nfrom manypose import child\n{body}\n")
    monkeypatch.setenv("PYTHONPATH", str(folder))
    target = folder / "found"
    child.read_in_child("reader_of_the_test", str(target), size=1, error=DataError, advice="fetch it again")
    return target.read_text()


def test_the_reader_writes_what_it_finds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert read("open(sys.argv[1], 'w').write('three samples')", tmp_path, monkeypatch) == "three samples"


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("sys.exit(child.refuse('holds no names'))", "^holds no names$"),
        (
            "raise LookupError('a fault of ours')",
            "^the process that reads it failed: (?s:.*)LookupError: a fault of ours$",
        ),
        ("os._exit(9)", "^the process that reads it failed: 9$"),
    ],
)
def test_what_the_reader_says_is_passed_on(
    body: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(DataError, match=said):
        read(body, tmp_path, monkeypatch)


@pytest.mark.skipif(not hasattr(child.os, "fork"), reason="only Unix tells of signals")
def test_a_crash_is_an_error_of_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DataError, match=r"^damaged: reading it crashes \(-6\); fetch it again$"):
        read("os.abort()", tmp_path, monkeypatch)


def test_a_reader_that_comes_to_no_end_is_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(child, "PATIENCE", 0.5)
    with pytest.raises(DataError, match=r"^damaged: reading it comes to no end; fetch it again$"):
        read("import time; time.sleep(600)", tmp_path, monkeypatch)
