"""What all networks share: the check of their options, and how `width` multiplies their channels."""

from __future__ import annotations

from manypose.errors import ModelError


def check_options(network: str, *, width: float, fields: int = 2, **counts: int) -> None:
    """Raise `ModelError` that names the network and the option at fault; `counts` are of joints, stages and so on."""
    for option, count in counts.items():
        if count < 1:
            raise ModelError(f"{network}: {option} is {count}, expected at least 1")
    if fields < 2 or fields % 2:
        raise ModelError(f"{network}: fields is {fields}, expected an even number: x and y of each limb")
    if not 0 < width <= 8:
        raise ModelError(f"{network}: width is {width}, expected a factor over 0 and up to 8; 1 is as published")


def scaled(channels: int, width: float) -> int:
    """Channels as published where `width` is 1, else times `width`: a multiple of 8, and at least 8."""
    return channels if width == 1 else max(8, 8 * round(channels * width / 8))
