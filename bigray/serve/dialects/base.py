"""The contract of a wire dialect: how one family of clients writes a question and reads an answer.

Each file of this folder sets ``DIALECT`` to an instance. A dialect knows bytes and schemas, and neither the web
framework nor the model. It owns the paths below its ``root``, which is itself below the address of a model::

    /models/NAME          huggingface
    /models/NAME/v2/...   openinference
    /models/NAME/v1/...   openai

Limits are those of `bigray.serve.limits`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from bigray.errors import BigrayError
from bigray.schemas import Contract, Wire


@dataclass(frozen=True)
class About:
    """What a dialect may know of the model it speaks for."""

    name: str
    contract: Contract
    engine: str = ""
    version: str = ""
    created_s: int = 0
    """Seconds since 1970."""


@dataclass(frozen=True)
class Question:
    """A request to predict, as it came."""

    path: str
    """Below the model's own, ``""`` for the model itself."""
    headers: Mapping[str, str]
    """Names in lower case."""
    body: bytes


@dataclass(frozen=True)
class Call:
    """A parsed question."""

    rows: list[dict[str, Any]]
    """One row per input, with the field of the task."""
    parameters: Wire | None
    """None when the caller gave none."""
    many: bool
    """Whether the inputs were a list."""
    wish: Any = None
    """What the dialect itself must remember to write the answer."""


@dataclass(frozen=True)
class Reply:
    """An answer as bytes."""

    body: bytes
    media_type: str = "application/json"
    headers: dict[str, str] = field(default_factory=dict)


class Dialect(ABC):
    """One way to talk. Stateless."""

    name: ClassVar[str]
    root: ClassVar[str]

    def matches(self, path: str) -> bool:
        """Say whether a path below the model's own is spoken to in this dialect, whether it exists or not."""
        return path == self.root or (self.root != "" and path.startswith(f"{self.root}/"))

    @abstractmethod
    def methods(self, path: str, about: About) -> tuple[str, ...]:
        """Return ``GET`` (reads) or ``POST`` (predicts) or both; none where there is no such path."""

    @abstractmethod
    def accepts(self, contract: Contract) -> str:
        """Return the media types taken, as the value of an ``Accept-Post`` header."""

    @abstractmethod
    def read(self, path: str, about: About) -> Reply | None:
        """Answer a GET; None where the replica answers itself, with everything it knows."""

    @abstractmethod
    def parse(self, question: Question, about: About) -> Call:
        """Read a request to predict.

        Raises:
            RequestError: Malformed JSON or base64; `InvalidInput`, `TooLarge`, `NotFound` and `UnsupportedMedia` as
                their names say.
        """

    @abstractmethod
    def render(self, answers: Sequence[Any], call: Call, about: About) -> Reply:
        """Write the answers, one per row."""

    @abstractmethod
    def problem(self, error: BigrayError, request_id: str) -> tuple[str, bytes]:
        """Return content type and body for an error."""

    @abstractmethod
    def describe(self, about: About) -> dict[str, Any]:
        """Return the ``paths`` of an OpenAPI document, relative to the address of the model."""
