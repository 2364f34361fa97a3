"""Published weights converted: what `published.get_published` calls; needs the extra [train]."""

from __future__ import annotations

from pathlib import Path

from manypose.convert.program import Wishes, convert
from manypose.published import Published


def convert_published(weights: Path, out: Path, entry: Published) -> None:
    """Convert a file of published weights to `out`, an ONNX model, or a checkpoint for a backbone.

    The model bears the entry's name and licence. Raises `ModelError` when the file does not hold the entry's network.
    """
    wishes = Wishes(name=entry.name, licence=entry.licence.name)
    convert(weights, out, network=entry.network, stages=entry.options.get("stages"), wishes=wishes)
