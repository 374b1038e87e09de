"""The contract of a catalogue entry: a small data set that can be had without a hub."""

from __future__ import annotations

import importlib.util
from abc import ABC, abstractmethod
from typing import Any, ClassVar

from bigray.errors import MissingPackage

Row = dict[str, Any]


class Entry(ABC):
    """One data set. Each file of this folder sets ``ENTRY`` to an instance; its text names origin and licence."""

    fields: ClassVar[tuple[str, ...]]
    """Fields that every row has."""
    needs: ClassVar[dict[str, str]] = {}
    """Module to import -> package to install."""

    def check(self) -> None:
        """Raise `MissingPackage` when a package is missing; imports nothing, fetches nothing."""
        for module, package in self.needs.items():
            if importlib.util.find_spec(module) is None:
                raise MissingPackage(f"This data set needs the package {package}: pip install {package}.")

    @abstractmethod
    def rows(self) -> list[Row]:
        """Return all rows, always in the same order; media is bytes. The first call may fetch or make them.

        Raises:
            DataError: They cannot be fetched.
        """
