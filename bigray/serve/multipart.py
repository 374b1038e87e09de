"""Forms with files in them (multipart/form-data), read from a body that is already bounded. Source: RFC 7578.

Strict: every part must have a name, and no name may come twice unless it ends with ``[]``. Nothing is written to disk,
and file names that callers send are not looked at.
"""

from __future__ import annotations

import re
from email.message import Message

from bigray.errors import InvalidInput, RequestError

MAX_PARTS = 32
MAX_HEADER_BYTES = 4096
_BOUNDARY = re.compile(r"[0-9A-Za-z'()+_,./:=? -]{0,69}[0-9A-Za-z'()+_,./:=?-]")


def parse_form(body: bytes, content_type: str) -> dict[str, list[bytes]]:
    """Return name -> contents.

    Raises:
        RequestError: ``bad_form`` for anything that is no such form, ``empty_body``.
        InvalidInput: ``duplicate_key``.
    """
    if not body:
        raise RequestError("The body is empty; a form was expected.", code="empty_body")
    message = Message()
    message["content-type"] = content_type
    boundary = message.get_param("boundary")
    if not isinstance(boundary, str) or not _BOUNDARY.fullmatch(boundary):
        raise _bad_form("its Content-Type has no usable boundary")
    pieces = (b"\r\n" + body).split(b"\r\n--" + boundary.encode(), MAX_PARTS + 2)
    if len(pieces) > MAX_PARTS + 2:
        raise _bad_form(f"it has over {MAX_PARTS} parts")
    if len(pieces) < 2 or not pieces[-1].startswith(b"--"):
        raise _bad_form("its last boundary is missing")
    form: dict[str, list[bytes]] = {}
    for piece in pieces[1:-1]:
        name, content = _part(piece)
        if name in form and not name.endswith("[]"):
            raise InvalidInput("A field of the form comes twice.", code="duplicate_key")
        form.setdefault(name, []).append(content)
    return form


def _part(piece: bytes) -> tuple[str, bytes]:
    head, blank, content = piece.partition(b"\r\n\r\n")
    if not blank or not head.startswith(b"\r\n") or len(head) > MAX_HEADER_BYTES:
        raise _bad_form("a part has no end of its headers")
    for line in head[2:].split(b"\r\n"):
        key, colon, value = line.partition(b":")
        if colon and key.strip().lower() == b"content-disposition":
            message = Message()
            message["content-disposition"] = value.decode("latin-1").strip()
            name = message.get_param("name", header="content-disposition")
            if message.get_content_disposition() == "form-data" and isinstance(name, str) and name:
                return name, content
    raise _bad_form("a part has no name")


def _bad_form(why: str) -> RequestError:
    return RequestError(f"The body is no multipart/form-data: {why}.", code="bad_form")
