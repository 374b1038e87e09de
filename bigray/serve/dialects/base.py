"""The contract of a wire dialect: how one family of clients writes a question and reads an answer.

Each file of this folder sets ``DIALECT`` to an instance. A dialect knows bytes and schemas, and neither the web
framework nor the model. Limits are those of `bigray.serve.limits`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from bigray.errors import BigrayError
from bigray.schemas import Contract, Wire


@dataclass(frozen=True)
class Call:
    """One parsed request."""

    rows: list[dict[str, Any]]
    """One row per input, with the field of the task."""
    parameters: Wire | None
    """None when the caller gave none."""
    many: bool
    """Whether the inputs were a list."""


class Dialect(ABC):
    """One way to talk. Stateless."""

    name: ClassVar[str]

    @abstractmethod
    def matches(self, path: str) -> bool:
        """Say whether a path below the model's own (``""`` for the model itself) is spoken to in this dialect."""

    @abstractmethod
    def accepts(self, contract: Contract) -> str:
        """Return the media types taken, as the value of an ``Accept-Post`` header."""

    @abstractmethod
    def parse(self, body: bytes, content_type: str | None, contract: Contract) -> Call:
        """Read a request body.

        Raises:
            RequestError: Malformed JSON or base64; `InvalidInput`, `TooLarge` and `UnsupportedMedia` as their names say.
        """

    @abstractmethod
    def render(self, answers: Sequence[Any], call: Call, contract: Contract) -> bytes:
        """Write the answers, one per row, as JSON."""

    @abstractmethod
    def problem(self, error: BigrayError, request_id: str) -> tuple[str, bytes]:
        """Return content type and body for an error."""
