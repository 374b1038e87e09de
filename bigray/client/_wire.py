"""What both clients share, without any input or output: requests as bytes, answers as types, and when to try again."""

from __future__ import annotations

import base64
import json
import random
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
from pydantic import ValidationError

from bigray.errors import (
    BigrayError,
    ConnectionFailed,
    DeadlineExceeded,
    InvalidInput,
    NotFound,
    RequestError,
    ServiceError,
    from_problem,
)
from bigray.schemas import CONTRACTS, Contract

Media = bytes | str | Path
"""Bytes of a file, or the path of one."""

FIRST_WAIT_S, LONGEST_WAIT_S, LONGEST_RETRY_AFTER_S = 0.25, 8.0, 60.0
TIMEOUT_HEADER = "x-bigray-timeout-ms"
"""Tells the service how long the caller still waits."""
PIECE_BYTES = 256 * 1024
_RETRIED = {429, 502, 503, 504}
_RETRIED_FOREIGN = _RETRIED | {404, 408, 500}
"""Statuses retried when the body is no problem document: then a proxy answered (starting, or having lost a replica)."""


@dataclass(frozen=True)
class Request:
    """One request, to be sent one or several times."""

    method: str
    path: str
    content: bytes | Path | None = None
    """A path is read while it is sent, anew for each attempt."""
    headers: dict[str, str] = field(default_factory=dict)

    def headers_for(self, left_s: float) -> dict[str, str]:
        """Return the headers of an attempt; the service does not begin what comes too late for the caller."""
        return self.headers | {TIMEOUT_HEADER: str(max(1, int(left_s * 1000)))}


@dataclass(frozen=True)
class Question:
    """A prediction asked for, and how to read its answer."""

    contract: Contract
    content: bytes | Path
    content_type: str
    many: bool
    count: int = 1

    def request(self, model: str) -> Request:
        """Address it to a model."""
        headers = {"content-type": self.content_type}
        if isinstance(self.content, Path):
            headers["content-length"] = str(self.content.stat().st_size)
        return request("POST", model_path(model), self.content, headers)

    def read(self, body: bytes) -> Any:
        """Return the typed answer, a list of them for many inputs.

        Raises:
            ServiceError: ``invalid_answer``.
        """
        output = self.contract.output
        try:
            if not self.many and not self.contract.nested:
                return output.validate_json(body)
            found = json.loads(body)
            if not isinstance(found, list) or len(found) != self.count:
                raise ValueError("one answer per input was expected")
            answers = [output.validate_json(json.dumps(answer)) for answer in found]
        except ValueError:  # pydantic's and json's errors are ValueErrors
            raise _no_answer(self.contract.task) from None
        return answers if self.many else answers[0]


def read_object(response: httpx.Response) -> dict[str, Any]:
    """Return a JSON object.

    Raises:
        ServiceError: ``invalid_answer``.
    """
    try:
        found = response.json()
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise _no_answer("bigray")
    return found


def read_models(response: httpx.Response) -> list[dict[str, Any]]:
    """Return the entries of ``GET /models``; raises as `read_object`."""
    data = read_object(response).get("data")
    if not isinstance(data, list) or not all(isinstance(entry, dict) and "id" in entry for entry in data):
        raise _no_answer("bigray")
    return data


def _no_answer(whose: str) -> ServiceError:
    return ServiceError(
        f"This is no answer of {whose}. Does this address serve it, in this version?", code="invalid_answer"
    )


def question(task: str, inputs: Any, parameters: Mapping[str, Any]) -> Question:
    """Write down a prediction: a text or media file, or a sequence of them, and the task's parameters.

    Raises:
        InvalidInput: Wrong type, no inputs, a file that cannot be read, or parameters the task does not have.
    """
    contract = CONTRACTS[task]
    given = _parameters(contract, parameters)
    many = isinstance(inputs, Sequence | Iterable) and not isinstance(inputs, str | bytes | Path | Mapping)
    items = list(inputs) if many else [inputs]
    if not items:
        raise InvalidInput("There are no inputs.", code="empty_inputs")
    values: list[Any]
    if contract.input is not None:
        values = [_object(contract, item) for item in items]
    elif contract.field == "text":
        if not all(isinstance(item, str) for item in items):
            raise InvalidInput("Inputs of this task are texts.", code="wrong_type")
        values = items
    else:
        if not many and not given:
            return Question(contract, _readable(items[0]), "application/octet-stream", many=False)
        files = [_load(item) for item in items]
        values = [base64.b64encode(file).decode() for file in files]
    body: dict[str, Any] = {"inputs": values if many else values[0]}
    if given:
        body["parameters"] = given
    return Question(contract, json.dumps(body, ensure_ascii=False).encode(), "application/json", many, len(items))


def _parameters(contract: Contract, parameters: Mapping[str, Any]) -> dict[str, Any]:
    given = {key: value for key, value in parameters.items() if value is not None}
    try:
        contract.parameters.model_validate(given)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        name = ".".join(str(part) for part in first["loc"])
        known = ", ".join(contract.parameters.model_fields)
        raise InvalidInput(
            f"Parameter {name!r}: {first['msg']}. {contract.task} takes: {known}.", code="invalid_parameters"
        ) from None
    return given


def _object(contract: Contract, item: Any) -> dict[str, Any]:
    fields = contract.fields
    if not isinstance(item, Mapping) or set(item) != set(fields) or not all(isinstance(item[f], str) for f in fields):
        form = ", ".join(f'"{name}": text' for name in fields)
        raise InvalidInput(f"Inputs of {contract.task} are mappings {{{form}}}.", code="wrong_type")
    return dict(item)


def _readable(item: Any) -> bytes | Path:
    """Return bytes, or the path of a file that can be read."""
    if isinstance(item, bytes):
        return item
    if not isinstance(item, str | Path):
        raise InvalidInput(f"Inputs are bytes or paths of files, not {type(item).__name__}.", code="wrong_type")
    try:
        with Path(item).open("rb"):
            return Path(item)
    except OSError as error:
        raise InvalidInput(f"Cannot read {str(item)!r}: {error.strerror or error}.", code="unreadable_file") from None


def _load(item: Any) -> bytes:
    found = _readable(item)
    try:
        return found.read_bytes() if isinstance(found, Path) else found
    except OSError as error:
        raise InvalidInput(f"Cannot read {str(item)!r}: {error.strerror or error}.", code="unreadable_file") from None


def pieces(content: Path) -> Iterator[bytes]:
    """Read a file for sending, `PIECE_BYTES` at a time."""
    with content.open("rb") as file:
        while piece := file.read(PIECE_BYTES):
            yield piece


def request(
    method: str, path: str, content: bytes | Path | None = None, headers: Mapping[str, str] | None = None
) -> Request:
    """Return a request with an id of its own, which all its attempts share."""
    return Request(method, path, content, {"x-request-id": str(uuid.uuid4()), **(headers or {})})


def model_path(model: str) -> str:
    """Return the path of a model.

    Raises:
        InvalidInput: A name that no model can have.
    """
    if not model or set(model) - set("abcdefghijklmnopqrstuvwxyz0123456789._-"):
        raise InvalidInput(f"{model!r} is no name of a model: lower-case letters, digits, dot, underscore, dash.")
    return f"/models/{model}"


def only_model(task: str, models: Sequence[Mapping[str, Any]]) -> str:
    """Return the name of the one model that serves a task.

    Raises:
        NotFound: None does, or several do.
    """
    names = [str(model["id"]) for model in models if model.get("task") == task]
    if len(names) == 1:
        return names[0]
    found = f"several do: {', '.join(names)}. Name one with model=" if names else "none does"
    raise NotFound(f"One model should serve {task}; {found}.", code="model_not_found")


def client_headers(api_key: str | None) -> dict[str, str]:
    """Return the headers of every request."""
    headers = {"accept": "application/json", "user-agent": "bigray"}
    if api_key is not None:
        headers["authorization"] = f"Bearer {api_key}"
    return headers


def failure(response: httpx.Response, sent: Request) -> BigrayError | None:
    """Return the error that a response stands for, None for a success."""
    if response.is_success:
        return None
    seconds = response.headers.get("retry-after", "")
    retry_after_s = int(seconds) if seconds.isascii() and seconds.isdigit() else None
    body = _problem(response)
    error = from_problem(body, response.status_code, retry_after_s)
    if body.get("code") is None and response.status_code == 408:
        error = DeadlineExceeded(error.detail, retry_after_s=retry_after_s)
    return _noted(error, response.headers.get("x-request-id") or sent.headers["x-request-id"])


def transport_failure(error: httpx.TransportError, sent: Request, timeout_s: float) -> BigrayError:
    """Return our error for one of httpx."""
    if isinstance(error, httpx.TimeoutException) and not isinstance(error, httpx.ConnectTimeout):
        ours: BigrayError = DeadlineExceeded(f"No answer within {timeout_s:g} s.")
    elif isinstance(error, httpx.UnsupportedProtocol):
        return RequestError("The base_url must begin with http:// or https://.")
    else:
        at = f" at {error.request.url.host}:{error.request.url.port}" if error._request is not None else ""
        ours = ConnectionFailed(f"No connection to the service{at}, or it was lost ({type(error).__name__}).")
    return _noted(ours, sent.headers["x-request-id"])


def wait_s(error: BigrayError, response: httpx.Response | None, attempt: int) -> float | None:
    """Return how long to wait before the next attempt, None when there should be none.

    A prediction changes nothing, so it may be sent again even when its fate is not known.

    Args:
        error: What the last attempt came to.
        response: The response, None when there was none.
        attempt: Attempts made so far, 1 or more.
    """
    if response is None:
        again = isinstance(error, ConnectionFailed)
    elif _problem(response):
        again = error.retryable and response.status_code in _RETRIED
    else:
        again = response.status_code in _RETRIED_FOREIGN
    if not again:
        return None
    backoff: float = min(LONGEST_WAIT_S, FIRST_WAIT_S * 2 ** min(attempt - 1, 9)) * random.uniform(0.5, 1.0)
    return min(float(error.retry_after_s or 0), LONGEST_RETRY_AFTER_S) + backoff


def _problem(response: httpx.Response) -> dict[str, Any]:
    if not response.headers.get("content-type", "").startswith("application/problem+json"):
        return {}
    try:
        body = json.loads(response.content)
    except ValueError:
        return {}
    if not isinstance(body, dict):
        return {}
    errors = body.get("errors")
    body["errors"] = [item for item in errors if isinstance(item, dict)] if isinstance(errors, list) else []
    return body


def _noted(error: BigrayError, identity: str) -> BigrayError:
    error.add_note(f"request id: {identity}")
    return error
