"""What an ONNX file shows from outside, by which the families of networks are told apart."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

LONGEST_LITERAL = 100_000  # characters of a property that is parsed; class names of 80 classes take 1,500


@dataclass(frozen=True)
class Value:
    """An input or output: its name, the runtime's name of its type, and its sides, None where they are free."""

    name: str
    kind: str
    shape: tuple[int | None, ...]

    def __str__(self) -> str:
        sides = ", ".join("?" if side is None else str(side) for side in self.shape)
        return f"{self.name} {self.kind} [{sides}]"

    def side(self, axis: int) -> int | None:
        """The length along an axis; None where it is free or there is no such axis."""
        return self.shape[axis] if -len(self.shape) <= axis < len(self.shape) else None


@dataclass(frozen=True)
class Signature:
    """The inputs, outputs and properties (strings) of a file, and its bytes, where names of layers are looked for."""

    inputs: tuple[Value, ...]
    outputs: tuple[Value, ...]
    properties: Mapping[str, str] = field(default_factory=dict)
    content: bytes = field(default=b"", repr=False)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the outputs."""
        return tuple(value.name for value in self.outputs)

    def output(self, name: str) -> Value | None:
        """The output of this name, if there is one."""
        return next((value for value in self.outputs if value.name == name), None)

    @property
    def picture(self) -> Value | None:
        """The input that takes pictures: the only one with four axes of which one is 3 or free."""
        four = [value for value in self.inputs if len(value.shape) == 4]
        fits = [value for value in four if {value.side(1), value.side(3)} & {3, None}]
        return fits[0] if len(fits) == 1 else None

    @property
    def layout(self) -> str:
        """Where the colours of the pictures stand: "nchw" or "nhwc"."""
        picture = self.picture
        return "nhwc" if picture and picture.side(3) == 3 and picture.side(1) != 3 else "nchw"

    @property
    def size(self) -> tuple[int, int] | None:
        """Width and height of the pictures; None where one of them is free."""
        if self.picture is None:
            return None
        height, width = self.picture.shape[1:3] if self.layout == "nhwc" else self.picture.shape[2:]
        return None if width is None or height is None else (width, height)

    def literal(self, name: str) -> Any:
        """A property that is a Python literal, as Ultralytics writes them; None where there is none or it is faulty."""
        text = self.properties.get(name, "")
        if not text or len(text) > LONGEST_LITERAL:
            return None
        try:
            return ast.literal_eval(text)
        except (ValueError, SyntaxError, RecursionError, MemoryError, TypeError):
            return None


def input_of(signature: Signature, **settings: Any) -> dict[str, Any]:
    """`InputSettings` as plain data: name, layout, type and size of the file, and what the family adds."""
    picture = signature.picture
    assert picture is not None
    kinds = {"tensor(uint8)": "uint8", "tensor(int32)": "int32"}
    found = {"name": picture.name, "layout": signature.layout, "dtype": kinds.get(picture.kind, "float32")}
    return found | {"size": signature.size} | settings
