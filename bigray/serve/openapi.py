"""The OpenAPI page of one model: every path of every dialect, with the real types of its task.

Source: https://spec.openapis.org/oas/v3.1.0.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bigray.serve.dialects.base import About, Dialect

_ERRORS = {
    "400": "Malformed",
    "401": "Key missing or wrong",
    "404": "No such path",
    "413": "Too large",
    "415": "Media type not accepted",
    "422": "Not valid for this model",
    "429": "Too many requests with this key; see Retry-After",
    "503": "Busy; see Retry-After",
    "504": "No answer in time",
}


def document(about: About, dialects: Iterable[Dialect], base: str, own: Mapping[str, Any]) -> dict[str, Any]:
    """Return the document of a model that stands at the address ``base``; ``own`` are paths of no dialect."""
    paths: dict[str, Any] = {}
    for described in (*(dialect.describe(about) for dialect in dialects), own):
        for path, operations in described.items():
            paths[f"{base}{path}"] = operations
    paths[f"{base}/healthz"] = {"get": operation("Whether the model infers", {"type": "object"})}
    schemas: dict[str, Any] = {}
    paths = _hoisted(paths, schemas)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": f"{about.name}: {about.contract.task.replace('_', ' ')}",
            "version": about.version or "0",
            "description": "Served by bigray. Each group of paths answers one family of clients, errors included.",
        },
        "paths": paths,
        "components": {"schemas": schemas, "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}}},
        "security": [{"key": []}, {}],
    }


def operation(
    summary: str,
    answer: Mapping[str, Any],
    content: Mapping[str, Any] | None = None,
    answer_type: str = "application/json",
) -> dict[str, Any]:
    """Return one operation: its answer's schema, and the body it takes (media type -> schema) if it takes one."""
    told: dict[str, Any] = {
        "summary": summary,
        "responses": {
            "200": {"description": "The answer", "content": {answer_type: {"schema": dict(answer)}}},
            **{status: {"description": text} for status, text in _ERRORS.items()},
        },
    }
    if content is not None:
        told["requestBody"] = {"required": True, "content": dict(content)}
    return told


def _hoisted(value: Any, schemas: dict[str, Any]) -> Any:
    """Move named types from where pydantic leaves them to where references of an OpenAPI document look for them."""
    if isinstance(value, list):
        return [_hoisted(item, schemas) for item in value]
    if not isinstance(value, dict):
        return value
    for name, schema in value.get("$defs", {}).items():
        schemas[name] = _hoisted(schema, schemas)
    moved = {key: _hoisted(item, schemas) for key, item in value.items() if key != "$defs"}
    if "$ref" in moved:
        moved["$ref"] = moved["$ref"].replace("#/$defs/", "#/components/schemas/")
    return moved
