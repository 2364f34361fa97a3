"""Tests of the training half are skipped, with the reason, where torch is not installed."""

from __future__ import annotations

import pytest

pytest.importorskip("torch", reason="needs the extra [train]")
