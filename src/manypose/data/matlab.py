"""What Matlab's files hold, whichever way structs, lists and single entries were saved."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from manypose.errors import DataError, require


def load_mat(file: Path) -> dict[str, Any]:
    """The variables of a .mat file (before version 7.3), structs as objects with attributes. Needs scipy.

    Raises `DataError` when the file is missing or is none.
    """
    io = require("scipy.io", extra="train")
    try:
        return dict(io.loadmat(file, squeeze_me=True, struct_as_record=False))
    except OSError as error:
        raise DataError(f"{file}: {error.strerror or error}: give the path of a .mat file") from None
    except NotImplementedError:
        raise DataError(f"{file}: a .mat file of version 7.3 or later; save it anew with -v7") from None
    except (ValueError, TypeError, KeyError, EOFError, io.matlab.MatReadError) as error:
        raise DataError(f"{file}: not a .mat file: {error}") from None


def variables(file: Path) -> dict[str, tuple[int, ...]]:
    """Names and shapes of the variables of a .mat file; raises `DataError` as `load_mat`."""
    io = require("scipy.io", extra="train")
    try:
        return {name: shape for name, shape, _ in io.whosmat(file)}
    except OSError as error:
        raise DataError(f"{file}: {error.strerror or error}: give the path of a .mat file") from None
    except NotImplementedError:
        raise DataError(f"{file}: a .mat file of version 7.3 or later; save it anew with -v7") from None
    except (ValueError, TypeError, KeyError, EOFError, io.matlab.MatReadError) as error:
        raise DataError(f"{file}: not a .mat file: {error}") from None


def get(struct: Any, key: str, default: Any = None) -> Any:
    """A field of a struct; `default` where the struct is missing or empty, or the field is."""
    value = getattr(struct, key, default)
    return default if isinstance(value, np.ndarray) and value.size == 0 else value


def entries(struct: Any, key: str) -> Iterator[Any]:
    """The entries of a list in a field, which may be missing, empty or a single one."""
    value = get(struct, key)
    return iter(()) if value is None else iter(np.atleast_1d(np.asarray(value, dtype=object)))


def number(value: Any, default: float | None = None) -> float | None:
    """A number, also from text; `default` where there is none."""
    if value is None or (isinstance(value, np.ndarray) and value.size != 1):
        return default
    try:
        return float(np.asarray(value).item())
    except (TypeError, ValueError):
        return default
