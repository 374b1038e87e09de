"""The head of a Ray cluster: reach it over HTTP, prove who we are, and put its refusals into words.

Whether a head wants a token is asked of the head itself, as Ray's own clients go by the environment only and fail
misleadingly. The token is sent only to heads that want one.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

import httpx

from bigray.errors import JobError

DEFAULT_ADDRESS = "http://127.0.0.1:8265"
"""Where a head's dashboard listens, or the near end of a tunnel to it."""
CONNECT_TIMEOUT_S = 10.0


def url(address: str | None) -> str:
    """Return the URL of a head; by default ``RAY_API_SERVER_ADDRESS``, else `DEFAULT_ADDRESS`."""
    address = address or os.environ.get("RAY_API_SERVER_ADDRESS") or DEFAULT_ADDRESS
    url = address if "://" in address else f"http://{address}"
    if not url.startswith(("http://", "https://")):
        raise JobError(f"The address {address!r} is not the URL of a dashboard. Give one such as {DEFAULT_ADDRESS}.")
    return url.rstrip("/")


def headers(address: str, token_file: str | Path | None = None) -> dict[str, str]:
    """Return the HTTP headers that this head wants: none, or a bearer token.

    Args:
        address: As `url` returns it.
        token_file: File with the token; by default ``RAY_AUTH_TOKEN``, the file ``RAY_AUTH_TOKEN_PATH``, or
            ``~/.ray/auth_token``.

    Raises:
        JobError: Nothing answers there, it is no Ray head, or it wants a token and there is none.
    """
    return {"Authorization": f"Bearer {_token(address, token_file)}"} if _wants_token(address) else {}


def _wants_token(address: str) -> bool:
    try:
        answer = httpx.get(f"{address}/api/authentication_mode", timeout=CONNECT_TIMEOUT_S)
        return bool(answer.raise_for_status().json()["authentication_mode"] != "disabled")
    except (httpx.TransportError, httpx.InvalidURL) as error:
        raise _unreachable(address, error) from None
    except (httpx.HTTPStatusError, ValueError, KeyError, TypeError):
        raise JobError(
            f"{address} answers, but not as the head of a Ray cluster (2.52 or newer). Give the URL of its dashboard, "
            "usually port 8265."
        ) from None


def _token(address: str, token_file: str | Path | None) -> str:
    if token_file is None and (token := os.environ.get("RAY_AUTH_TOKEN", "").strip()):
        return token
    path = Path(token_file or os.environ.get("RAY_AUTH_TOKEN_PATH") or "~/.ray/auth_token").expanduser()
    try:
        token = path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise JobError(
            f"The cluster at {address} wants a token, and {str(path)!r} cannot be read ({_reason(error)}). Set "
            "RAY_AUTH_TOKEN, or pass --token-file with a copy of the head's ~/.ray/auth_token."
        ) from None
    if not token or not token.isascii() or any(character.isspace() for character in token):
        raise JobError(f"The token file {str(path)!r} holds no token. It must hold the token alone, on one line.")
    return token


@contextlib.contextmanager
def only_address() -> Iterator[None]:
    """Keep Ray's client from preferring the environment's address to the one asked for."""
    kept = {name: os.environ.pop(name) for name in ("RAY_API_SERVER_ADDRESS", "RAY_ADDRESS") if name in os.environ}
    try:
        yield
    finally:
        os.environ.update(kept)


@contextlib.contextmanager
def explained(address: str, job_id: str | None = None) -> Iterator[None]:
    """Turn what Ray's client raises into a `JobError` with a remedy."""
    import aiohttp
    from ray.exceptions import AuthenticationError

    try:
        yield
    except AuthenticationError:
        raise JobError(
            f"The cluster at {address} refused the token. Compare it with the head's ~/.ray/auth_token; see --token-file."
        ) from None
    except (OSError, aiohttp.ClientError) as error:
        if job_id is not None and getattr(error, "status", None) == 404:
            raise _unknown(address, job_id) from None
        raise _unreachable(address, error) from None
    except (RuntimeError, ValueError) as error:
        text = str(error)
        if job_id is not None and ("does not exist" in text or "status code 404" in text):
            raise _unknown(address, job_id) from None
        if "already exists" in text:
            raise JobError(
                f"The cluster at {address} has a job of this id already. Choose another, or give none."
            ) from None
        raise JobError(f"The cluster at {address} refused: {_last_line(text)}") from None


def _unknown(address: str, job_id: str) -> JobError:
    return JobError(f"There is no job {job_id!r} on the cluster at {address}. `bigray jobs list` shows those it knows.")


def _unreachable(address: str, error: Exception) -> JobError:
    return JobError(
        f"No Ray cluster answers at {address} ({_reason(error)}). Start one, or open a tunnel to its head "
        "(ssh -L 8265:127.0.0.1:8265 HEAD), or give another --address."
    )


def _reason(error: Exception) -> str:
    return str(getattr(error, "strerror", None) or type(error).__name__)


def _last_line(text: str) -> str:
    # a refusal carries the head's traceback; its last line names the reason
    lines = [line.strip() for line in text.replace("\\n", "\n").splitlines() if line.strip(" .\"'{}")]
    return lines[-1][:500] if lines else "no reason given"
