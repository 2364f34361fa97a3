"""ONNX files of other projects: their metadata, from the YAML beside the file or from their inputs and outputs."""

from manypose.adapters.describe import describe, recognise
from manypose.adapters.signature import Signature, Value

__all__ = ["Signature", "Value", "describe", "recognise"]
