"""What the tests of the adapters share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from small_files import watch_inputs


@pytest.fixture
def given_to_network(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """Shows an estimator a picture and gives what its network got: the batch, and the other inputs by name."""
    return watch_inputs(monkeypatch)
