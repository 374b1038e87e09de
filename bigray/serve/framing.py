"""The head of a request: what of it is passed on, and whether it can be trusted to say where the request ends.

Two servers that read a head differently can be made to see different requests (request smuggling), so whatever can be
read in two ways is refused here, before anything else looks at it.
"""

from __future__ import annotations

import re
import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from bigray.errors import AddressTooLong, Forbidden, HeadersTooLarge, RequestError
from bigray.serve.deadline import RECEIVED_HEADER, TIMEOUT_HEADER, stated_s
from bigray.serve.problems import request_id

MAX_HEADERS = 100
MAX_HEADER_BYTES = 32 * 1024
"""Of all headers together."""
MAX_ADDRESS_BYTES = 8192
"""Of path and query together."""
GRACE_S = 0.5
"""By which a caller's limit is passed before Serve cuts in: the model itself, if there is one, answers better."""
STRIPPED = {
    b"x-request-timeout-seconds",
    b"x-request-disconnect-disabled",
    b"serve-multiplexed-model-id",
    b"x-bigray-received",
    b"authorization",
}
"""Headers not passed on: those by which a caller could steer Serve or bigray, and the key, which nobody further in needs."""
_TRACEPARENT = re.compile(rb"[0-9a-f]{2}-((?!0{32})[0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")
_SINGLE = (b"content-length", b"transfer-encoding", b"host", b"content-type", b"content-encoding")


@dataclass(frozen=True)
class Head:
    """A request without its body."""

    kept: list[tuple[bytes, bytes]]
    """Headers to pass on, ``traceparent`` among them, with ``x-request-id`` and the time of receipt set."""
    identity: str
    """The caller's request id; without one the id of its trace (W3C Trace Context), else a new one."""
    authorizations: list[bytes]
    single: Mapping[bytes, list[bytes]]
    """Headers that may come once -> their values."""
    size: int
    """Bytes of all headers, names included."""
    count: int
    address_bytes: int
    version: str
    """``1.1`` or ``1.0``."""
    odd: bool
    """Whether a header holds a character that ends lines or texts elsewhere."""

    @classmethod
    def of(cls, scope: Mapping[str, Any]) -> Head:
        """Read an ASGI scope."""
        kept: list[tuple[bytes, bytes]] = []
        authorizations: list[bytes] = []
        single: dict[bytes, list[bytes]] = {name: [] for name in _SINGLE}
        given: str | None = None
        traced: str | None = None
        waits: str | None = None
        size, odd = 0, False
        for name, value in scope["headers"]:
            size += len(name) + len(value)
            odd = odd or b"\0" in value or b"\r" in value or b"\n" in value
            plain = name.lower().replace(b"_", b"-")
            if plain == b"x-request-id":
                given = given or value.decode("latin-1")
                continue
            if plain == b"traceparent":
                traced = _trace_id(value)
            if plain == TIMEOUT_HEADER.encode():
                waits = value.decode("latin-1")
            if plain == b"authorization":
                authorizations.append(value)
            if plain in STRIPPED:
                continue
            if plain in single:
                single[plain].append(value)
            kept.append((name, value))
        identity = request_id(given or traced)
        kept.append((b"x-request-id", identity.encode()))
        kept.append((RECEIVED_HEADER.encode(), f"{time.time():.3f}".encode()))
        if (limit_s := stated_s(waits)) is not None:  # Serve itself ends what still waits for a replica by then
            kept.append((b"x-request-timeout-seconds", f"{limit_s + GRACE_S:.3f}".encode()))
        address_bytes = len(scope.get("raw_path") or scope["path"].encode()) + len(scope.get("query_string", b""))
        version = scope.get("http_version", "1.1")
        count = len(scope["headers"])
        return cls(kept, identity, authorizations, single, size, count, address_bytes, version, odd)

    @property
    def declared(self) -> int | None:
        """Bytes of the body as declared; only after `check`."""
        lengths = self.single[b"content-length"]
        return int(lengths[0]) if lengths else None

    def check(self, hosts: Collection[str] | None) -> None:
        """Refuse a head that is too large, ambiguous, or meant for somebody else.

        Args:
            hosts: Names under which the service may be asked; None for any.

        Raises:
            RequestError: ``bad_framing``, `AddressTooLong`, `HeadersTooLarge`.
            Forbidden: ``wrong_host``.
        """
        if self.size > MAX_HEADER_BYTES or self.count > MAX_HEADERS:
            raise HeadersTooLarge(f"At most {MAX_HEADERS} headers of {MAX_HEADER_BYTES} bytes together are read.")
        if self.address_bytes > MAX_ADDRESS_BYTES:
            raise AddressTooLong(f"Path and query may have {MAX_ADDRESS_BYTES} bytes.")
        if self.odd:
            raise _bad_framing("a header holds a line break or a zero byte")
        for name, values in self.single.items():
            if len(values) > 1:
                raise _bad_framing(f"the header {name.decode()} comes twice")
        if self.version == "1.1" and not self.single[b"host"]:
            raise _bad_framing("the header host is missing")
        lengths = self.single[b"content-length"]
        if lengths and self.single[b"transfer-encoding"]:
            raise _bad_framing("it has both Content-Length and Transfer-Encoding")
        if lengths and not (lengths[0].isdigit() and len(lengths[0]) <= 19):
            raise _bad_framing("Content-Length is not a whole number")
        if hosts is not None and (not self.single[b"host"] or _name(self.single[b"host"][0]) not in hosts):
            raise Forbidden("This service does not answer under that name.", code="wrong_host")


def _name(host: bytes) -> str:
    """Return a Host header without its port."""
    text = host.decode("latin-1").strip().lower()
    if text.startswith("["):
        return text[1:].partition("]")[0]
    return text.partition(":")[0].rstrip(".")


def _trace_id(traceparent: bytes) -> str | None:
    match = _TRACEPARENT.fullmatch(traceparent)
    return match[1].decode() if match else None


def _bad_framing(why: str) -> RequestError:
    return RequestError(f"The request is ambiguous or malformed: {why}.", code="bad_framing")
