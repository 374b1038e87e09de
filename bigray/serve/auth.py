"""API keys: a file of hashes, and the gate that every request passes.

A key is ``bigray_ID_SECRET``; the file holds ID, scopes and the SHA-256 of the whole key (256 random bits need no slow
hash), with mode 0600. Gates look at the file again once a second, so a revoked key stops working on every proxy that
sees the file. Scopes: ``predict`` for models, ``admin`` for everything.

Where a gate stands nothing passes it unasked but the health paths and the console's own files (`bigray.serve.pages`),
whatever the path, the method or the spelling.
"""

from __future__ import annotations

import fcntl
import hashlib
import hmac
import json
import math
import os
import re
import secrets
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from bigray.errors import Conflict, Forbidden, NotFound, Overloaded, RateLimited, RequestError, Unauthorized, UserError

SCOPES = ("predict", "admin")
RELOAD_S = 1.0
_FORM = re.compile(r"bigray_([0-9a-f]{12})_[0-9a-f]{64}")
_HEALTH = re.compile(r"/healthz|/-/healthz|/models/[a-z0-9][a-z0-9._-]{0,63}/healthz")
_NO_KEY = "0" * 64


class Key(BaseModel):
    """What is kept of a key; the key itself is not."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    id: str = Field(pattern="^[0-9a-f]{12}$")
    name: str = Field(min_length=1, max_length=100)
    """For people, to tell keys apart."""
    sha256: str = Field(pattern="^[0-9a-f]{64}$")
    scopes: tuple[str, ...]
    created: str
    """UTC, ISO 8601."""
    expires_s: float | None = None
    """Seconds since 1970."""
    per_minute: int | None = Field(None, ge=1)
    """Requests allowed per minute and proxy; None for no limit."""


_KEYS = TypeAdapter(list[Key])


def default_path() -> Path:
    """Return ``BIGRAY_KEYS``, or ``bigray/keys.json`` in the user's configuration folder."""
    if given := os.environ.get("BIGRAY_KEYS"):
        return Path(given)
    return Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "bigray" / "keys.json"


def read_keys(path: Path) -> list[Key]:
    """Return the keys of a file; none when there is no file.

    Raises:
        UserError: ``invalid_keys``: the file is unreadable or not as `create_key` wrote it.
    """
    try:
        return _KEYS.validate_json(path.read_bytes())
    except FileNotFoundError:
        return []
    except (OSError, ValidationError):
        raise UserError(f"{str(path)!r} cannot be read as a file of API keys.", code="invalid_keys") from None


def create_key(
    path: Path,
    name: str,
    *,
    scopes: Sequence[str] = ("predict",),
    per_minute: int | None = None,
    days: float | None = None,
) -> tuple[Key, str]:
    """Add a key to the file; return what is kept of it, and the key, which cannot be had again.

    Raises:
        UserError: Unknown scope, or the file cannot be written.
        Conflict: A key of this name is there.
    """
    if not scopes or set(scopes) - set(SCOPES):
        raise UserError(f"Scopes are {' and '.join(SCOPES)}.", code="unknown_scope")
    identity = secrets.token_hex(6)
    key = f"bigray_{identity}_{secrets.token_hex(32)}"
    with _changing(path) as keys:
        if any(known.name == name for known in keys):
            raise Conflict(f"There is a key named {name!r} already. Revoke it first, or choose another name.")
        kept = Key(
            id=identity,
            name=name,
            sha256=_digest(key),
            scopes=tuple(scope for scope in SCOPES if scope in scopes),
            created=datetime.now(UTC).isoformat(timespec="seconds"),
            expires_s=None if days is None else time.time() + days * 86_400,
            per_minute=per_minute,
        )
        keys.append(kept)
    return kept, key


def revoke_key(path: Path, name: str) -> Key:
    """Take a key, given by name or id, out of the file. An empty file stays: then nobody may pass.

    Raises:
        NotFound: There is no such key.
    """
    with _changing(path) as keys:
        found = next((key for key in keys if name in {key.name, key.id}), None)
        if found is None:
            known = ", ".join(key.name for key in keys) or "none"
            raise NotFound(f"There is no key {name!r}. Keys: {known}.")
        keys.remove(found)
    return found


class Gate:
    """Decides who may pass. One per proxy, used from one event loop."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._keys: dict[str, Key] = {}
        self._stamp: tuple[int, int, int] | None = None
        self._looked_at = -math.inf
        self._broken = True
        self._buckets: dict[str, tuple[float, float]] = {}
        """Key id -> requests still allowed, and when that was counted."""

    def check(self, path: str, authorizations: Sequence[bytes]) -> Key | None:
        """Return the caller's key; None on health paths.

        Args:
            path: Decoded path of the request.
            authorizations: Values of all its Authorization headers.

        Raises:
            RequestError: ``bad_credentials``: several Authorization headers.
            Unauthorized: No key, or one that is unknown, revoked or expired.
            Forbidden: A key without the scope for this path.
            RateLimited: Over this key's requests per minute.
            Overloaded: The file of keys cannot be read now.
        """
        if is_health(path):
            return None
        if len(authorizations) > 1:
            raise RequestError("There is more than one Authorization header.", code="bad_credentials")
        key = self._known(authorizations[0] if authorizations else b"")
        needed = "predict" if path == "/" or path == "/models" or path.startswith("/models/") else "admin"
        if needed not in key.scopes and "admin" not in key.scopes:
            raise Forbidden(f"This key lacks the scope {needed!r}.", code="missing_scope")
        self._count(key)
        return key

    def _known(self, authorization: bytes) -> Key:
        self._reload()
        scheme, _, given = authorization.decode("latin-1").partition(" ")
        form = _FORM.fullmatch(given.strip()) if scheme.lower() == "bearer" else None
        key = self._keys.get(form[1]) if form else None
        # compared in any case, so that time does not tell which ids exist
        same = hmac.compare_digest(_digest(form[0] if form else ""), key.sha256 if key else _NO_KEY)
        if key is None or not same:
            raise Unauthorized("Send a valid API key: Authorization: Bearer KEY.")
        if key.expires_s is not None and time.time() >= key.expires_s:
            raise Unauthorized("This API key has expired.", code="key_expired")
        return key

    def _reload(self) -> None:
        now = time.monotonic()
        if now - self._looked_at >= RELOAD_S:
            self._looked_at = now
            try:
                found = self._path.stat()
                stamp = (found.st_mtime_ns, found.st_size, found.st_ino)
                if stamp != self._stamp:
                    self._keys = {key.id: key for key in read_keys(self._path)}
                    self._stamp = stamp
                self._broken = False
            except (OSError, UserError):
                self._broken, self._stamp, self._keys = True, None, {}
        if self._broken:
            raise Overloaded("API keys cannot be checked now.", code="keys_unreadable", retry_after_s=5)

    def _count(self, key: Key) -> None:
        if key.per_minute is None:
            return
        now = time.monotonic()
        left, at = self._buckets.get(key.id, (float(key.per_minute), now))
        left = min(float(key.per_minute), left + (now - at) * key.per_minute / 60)
        self._buckets[key.id] = (left - 1 if left >= 1 else left, now)
        if left < 1:
            wait_s = math.ceil((1 - left) * 60 / key.per_minute)
            raise RateLimited(
                f"This key may send {key.per_minute} requests per minute.", retry_after_s=min(60, max(1, wait_s))
            )


def is_health(path: str) -> bool:
    """Say whether a path only tells that something works: load balancers ask it, without a key and by any name."""
    return _HEALTH.fullmatch(path) is not None


def _digest(key: str) -> str:
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()


@contextmanager
def _changing(path: Path) -> Iterator[list[Key]]:
    """Yield the keys for change and write them back whole, one writer at a time."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        lock = os.open(path.with_name(f"{path.name}.lock"), os.O_CREAT | os.O_RDWR, 0o600)
    except OSError as error:
        raise UserError(f"Cannot write {str(path)!r}: {error.strerror}.", code="invalid_keys") from None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        keys = read_keys(path)
        yield keys
        _write(path, json.dumps([key.model_dump(mode="json") for key in keys], indent=2))
    finally:
        os.close(lock)


def _write(path: Path, text: str) -> None:
    new = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        with open(os.open(new, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        new.replace(path)
    finally:
        new.unlink(missing_ok=True)
