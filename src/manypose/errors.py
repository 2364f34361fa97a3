"""The errors of manypose: one tree, so that a caller can catch as much or as little as he likes.

ManyposeError                 anything that manypose refuses, with what to do about it
├── SkeletonError             the data of a skeleton contradict themselves, or a name is not known
├── PeopleError               arrays that do not make a valid People
├── ImageError                a picture that cannot be opened, or is too large to be opened safely
├── FormatError               a file of results that is not what its format says
├── ModelError                a model file that cannot be used
├── DeviceError               a device that this machine, or this installation, does not have
├── DataError                 a data set that cannot be read
├── RecipeError               a training recipe with faults; all of them in one message
├── TrainingError             a run that cannot go on: numbers that are none, too little memory
├── DownloadError             a file that cannot be fetched, or is not the one that was published
├── OutputError               a file that would be overwritten, or cannot be written
└── MissingExtraError         an optional part of manypose that is not installed
"""

from __future__ import annotations

import importlib
from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pydantic


class ManyposeError(Exception):
    """Anything that manypose refuses; the message names the file or field and what to do."""


class SkeletonError(ManyposeError):
    """The data of a skeleton contradict themselves, or no skeleton has that name."""


class PeopleError(ManyposeError):
    """Arrays that do not make a valid `People`."""


class ImageError(ManyposeError):
    """A picture that cannot be opened, or is too large to be opened safely."""


class FormatError(ManyposeError):
    """A file of results that is not what its format says."""


class ModelError(ManyposeError):
    """A model file that cannot be used."""


class DeviceError(ManyposeError):
    """A device that this machine, or this installation, does not have."""


class DataError(ManyposeError):
    """A data set that cannot be read."""


class RecipeError(ManyposeError):
    """A training recipe with faults; the message lists all of them."""


class TrainingError(ManyposeError):
    """A training run that cannot go on: its loss is no number, or memory does not suffice."""


class DownloadError(ManyposeError):
    """A file that cannot be fetched, or is not the one that was published."""


class OutputError(ManyposeError):
    """A file that would be overwritten, or cannot be written."""


class MissingExtraError(ManyposeError):
    """An optional part of manypose that is not installed."""


def describe_faults(error: pydantic.ValidationError, *, most: int | None = None) -> str:
    """The faults that pydantic found, or the first `most` of them, as "field.inner: what is wrong; ..."."""
    return "; ".join(f"{'.'.join(map(str, fault['loc']))}: {fault['msg'].lower()}" for fault in error.errors()[:most])


def require(module: str, *, extra: str) -> ModuleType:
    """Import an optional module, or say in one line how to install it.

    Raises `MissingExtraError` when the module is not there.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.split(".")[0] != module.split(".")[0]:
            raise
        package = module.split(".")[0]
        raise MissingExtraError(
            f"this needs {package}, which is not installed: pip install 'manypose[{extra}]'"
        ) from None
