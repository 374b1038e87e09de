"""The console's files over HTTP: one page, its style and a few modules, all from this package and nothing from elsewhere.

``GET /`` is the page for browsers, which ask for ``text/html``, and JSON for everybody else. The files hold no secret,
so they pass without an API key (`public` tells the edge); what the page then asks for does not.

The policy lets the page run its own modules only, ask its own origin only, and put no text in as markup: even a name or
an answer that looks like HTML stays text.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from starlette.responses import Response

FOLDER = Path(__file__).parent / "console"
PREFIX = "/console/"
PAGE = "index.html"
TYPES = {".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "connect-src 'self'",
        "img-src 'self' blob:",
        "media-src blob:",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
        "require-trusted-types-for 'script'",
        "trusted-types 'none'",
    )
)
HEADERS = {
    "content-security-policy": POLICY,
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "microphone=(self), camera=(), geolocation=(), payment=(), usb=()",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "cache-control": "no-cache",  # asked for again each time, and answered 304 while it is the same
}


def public(method: str, path: str, accept: Sequence[str]) -> bool:
    """Say whether a request is for the page or one of its files; ``accept``: values of its Accept headers."""
    return name_of(method, path, accept) is not None


def name_of(method: str, path: str, accept: Sequence[str]) -> str | None:
    """Return the name of the file asked for, None where it is none of ours."""
    if method not in {"GET", "HEAD"}:
        return None
    if path == "/":
        return PAGE if wants_html(accept) else None
    name = path.removeprefix(PREFIX)
    return name if path.startswith(PREFIX) and name in files() else None


def wants_html(accept: Sequence[str]) -> bool:
    """Say whether an Accept header names HTML, not after JSON; ``*/*`` alone, which programs send, does not."""
    weights = {"text/html": 0.0, "application/json": 0.0}
    for part in ",".join(accept).split(","):
        kind, *parameters = (piece.strip().lower() for piece in part.split(";"))
        if kind in weights:
            weights[kind] = max(weights[kind], _weight(parameters))
    return weights["text/html"] > 0 and weights["text/html"] >= weights["application/json"]


def answer(name: str, if_none_match: str | None) -> Response:
    """Return a file with its headers, or 304 when the browser has it already."""
    body, kind, tag = files()[name]
    headers = {**HEADERS, "etag": tag} | ({"vary": "accept"} if name == PAGE else {})
    if if_none_match is not None and tag in (given.strip().removeprefix("W/") for given in if_none_match.split(",")):
        return Response(status_code=304, headers=headers)
    return Response(body, media_type=kind, headers=headers)


@cache
def files() -> dict[str, tuple[bytes, str, str]]:
    """Return name -> content, media type and entity tag of every file of the console."""
    found = {}
    for path in sorted(FOLDER.iterdir()):
        if path.suffix in TYPES:
            body = path.read_bytes()
            found[path.name] = (body, TYPES[path.suffix], f'"{hashlib.sha256(body).hexdigest()[:20]}"')
    return found


def _weight(parameters: Sequence[str]) -> float:
    for parameter in parameters:
        if parameter.startswith("q="):
            try:
                return float(parameter[2:])
            except ValueError:
                return 0.0
    return 1.0
