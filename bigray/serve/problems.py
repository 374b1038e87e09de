"""Error responses: an RFC 9457 document of at most 4 KiB, whatever went wrong."""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Mapping
from typing import Any

from starlette.responses import Response

from bigray.errors import BigrayError

CONTENT_TYPE = "application/problem+json"
_SANE_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_MAX_DETAIL = 1000
"""Characters of a detail."""
_MAX_ERRORS = 8
"""Fields named in one document."""


def request_id(given: str | None) -> str:
    """Return the caller's own id when it is short and plain, else a new one."""
    return given if given and _SANE_ID.fullmatch(given) else str(uuid.uuid4())


def problem_body(error: BigrayError, identity: str) -> dict[str, Any]:
    """Return the document.

    The request id is a member of its own too (``instance`` needs it to be a UUID), and so is the detail under ``error``,
    where huggingface_hub looks for it.
    """
    body = error.problem(identity if _is_uuid(identity) else None)
    body["request_id"] = identity
    body["detail"] = body["error"] = body["detail"][:_MAX_DETAIL]
    if "errors" in body:
        body["errors"] = body["errors"][:_MAX_ERRORS]
    return body


def problem_response(
    error: BigrayError,
    identity: str,
    headers: Mapping[str, str] | None = None,
    rendered: tuple[str, bytes] | None = None,
) -> Response:
    """Make the response; ``rendered`` is the content type and body of a dialect with a form of its own."""
    content_type, body = rendered or (CONTENT_TYPE, json.dumps(problem_body(error, identity)).encode())
    extra = dict(headers or {})
    if (wait_s := retry_after_s(error)) is not None:
        extra["retry-after"] = str(wait_s)
    return Response(body, status_code=error.status, media_type=content_type, headers=extra)


def retry_after_s(error: BigrayError) -> int | None:
    """Return what goes into Retry-After: whole seconds from 1 to 60, always there for 429 and 503."""
    wait_s = error.retry_after_s
    if wait_s is None:
        wait_s = 1 if error.status in {429, 503} else None
    return None if wait_s is None else min(max(wait_s, 1), 60)


def _is_uuid(text: str) -> bool:
    try:
        return str(uuid.UUID(text)) == text.lower()
    except ValueError:
        return False
