"""Every error bigray raises, in one tree.

::

    BigrayError                    code                  HTTP  exit
    ├── UserError                                              2    the caller can mend it
    │   ├── RecipeError            invalid_recipe        422
    │   ├── UnknownPlugin          unknown_plugin        422
    │   ├── DataError              invalid_data          422
    │   ├── ModelNotFound          model_not_found       404
    │   ├── MissingPackage         missing_package       501
    │   ├── ArtifactError          invalid_artifact      422
    │   │   └── ArtifactCorrupt    digest_mismatch       422
    │   ├── JobError               job_failed            422
    │   └── RequestError           bad_request           400
    │       ├── InvalidInput       invalid_input         422
    │       ├── Unauthorized       unauthorized          401
    │       ├── Forbidden          forbidden             403
    │       ├── NotFound           not_found             404
    │       ├── MethodNotAllowed   method_not_allowed    405
    │       ├── SlowRequest        slow_request          408
    │       ├── Conflict           conflict              409
    │       ├── TooLarge           too_large             413
    │       ├── AddressTooLong     address_too_long      414
    │       ├── UnsupportedMedia   unsupported_media     415
    │       └── HeadersTooLarge    headers_too_large     431
    ├── NothingQualified           nothing_qualified     422    3   no candidate met the budget and was faster
    ├── TrainingFailed             training_failed       500    1
    ├── SearchFailed               search_failed         500    1
    └── ServiceError               service_error         500    1   the service, not the caller
        ├── RateLimited            rate_limited          429
        ├── Overloaded             overloaded            503
        ├── DeadlineExceeded       deadline_exceeded     504
        └── ConnectionFailed       connection_failed     503

On the wire an error is an RFC 9457 problem document (`BigrayError.problem`); the client turns that document back into
the same class (`from_problem`). ``code`` is stable: programs may branch on it. Messages say what happened, the value
got, what is allowed and what to do. They never carry the payload of a request.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any


class BigrayError(Exception):
    """Base of all errors.

    Args:
        detail: One or more sentences for a person.
        code: Stable name of the case; by default the class's own.
        pointer: JSON pointer (RFC 6901) or dotted recipe path of the field at fault.
        errors: One mapping per field at fault, each with ``pointer`` and ``detail``.
        retry_after_s: Whole seconds after which a retry makes sense.
    """

    code = "internal"
    status = 500
    title = "Internal error"
    retryable = False
    exit_code = 1

    def __init__(
        self,
        detail: str,
        *,
        code: str | None = None,
        pointer: str | None = None,
        errors: Iterable[Mapping[str, Any]] = (),
        retry_after_s: int | None = None,
    ) -> None:
        super().__init__(detail)
        self.detail = detail
        if code is not None:
            self.code = code
        self.pointer = pointer
        self.errors = tuple(dict(error) for error in errors)
        self.retry_after_s = retry_after_s

    def __reduce__(self) -> tuple[Any, ...]:
        # Without this an error with keyword arguments cannot cross a process border (TypeError hides the real one).
        return _rebuild, (type(self), self.detail, self.code, self.pointer, self.errors, self.retry_after_s)

    def problem(self, request_id: str | None = None) -> dict[str, Any]:
        """Return the RFC 9457 body of this error. Source: https://www.rfc-editor.org/rfc/rfc9457."""
        errors = list(self.errors)
        if self.pointer is not None and not errors:
            errors = [{"pointer": self.pointer, "detail": self.detail}]
        body: dict[str, Any] = {
            "type": f"/problems/{self.code.replace('_', '-')}",
            "title": self.title,
            "status": self.status,
            "detail": self.detail,
            "code": self.code,
            "retryable": self.retryable,
        }
        if request_id is not None:
            body["instance"] = f"urn:uuid:{request_id}"
        if errors:
            body["errors"] = errors
        return body


def _rebuild(
    kind: type[BigrayError],
    detail: str,
    code: str,
    pointer: str | None,
    errors: tuple[Mapping[str, Any], ...],
    retry_after_s: int | None,
) -> BigrayError:
    return kind(detail, code=code, pointer=pointer, errors=errors, retry_after_s=retry_after_s)


class UserError(BigrayError):
    """The caller can mend it; the command line answers with exit code 2 and no traceback."""

    code, status, title, exit_code = "user_error", 400, "The request cannot be carried out", 2


class RecipeError(UserError):
    """A recipe is malformed: unknown key, wrong type, value out of range, clashing settings."""

    code, status, title = "invalid_recipe", 422, "Recipe is not valid"


class UnknownPlugin(UserError):
    """A name in no registry: task, model, method, engine, augmentation. The detail lists the known names."""

    code, status, title = "unknown_plugin", 422, "Name is not known"


class DataError(UserError):
    """Data is missing, empty, of the wrong shape or unreadable; names the file and the row or column."""

    code, status, title = "invalid_data", 422, "Data is not usable"


class ModelNotFound(UserError):
    """A pretrained model is neither a local folder nor reachable by its hub name."""

    code, status, title = "model_not_found", 404, "Model not found"


class MissingPackage(UserError):
    """An optional package is needed for what was asked; the detail gives the install command."""

    code, status, title = "missing_package", 501, "A package is missing"


class ArtifactError(UserError):
    """A folder is no artifact, or an artifact of a kind that this version does not read."""

    code, status, title = "invalid_artifact", 422, "Artifact is not valid"


class ArtifactCorrupt(ArtifactError):
    """A file of an artifact differs from its recorded sha256, is missing, or was added."""

    code, title = "digest_mismatch", "Artifact is corrupt"


class JobError(UserError):
    """A submitted job could not be started, found or stopped."""

    code, status, title = "job_failed", 422, "Job failed"


class RequestError(UserError):
    """An HTTP request is malformed (syntax or framing)."""

    code, status, title = "bad_request", 400, "Bad request"


class InvalidInput(RequestError):
    """A well-formed request whose content is not valid for this model."""

    code, status, title = "invalid_input", 422, "Input is not valid"


class Unauthorized(RequestError):
    """No credential, or a wrong one."""

    code, status, title = "unauthorized", 401, "Credential missing or wrong"


class Forbidden(RequestError):
    """A good credential without the scope this needs."""

    code, status, title = "forbidden", 403, "Not allowed"


class NotFound(RequestError):
    """No such route or model."""

    code, status, title = "not_found", 404, "Not found"


class MethodNotAllowed(RequestError):
    """The route exists but not for this HTTP method."""

    code, status, title = "method_not_allowed", 405, "Method not allowed"


class SlowRequest(RequestError):
    """The request did not arrive within the time allowed."""

    code, status, title = "slow_request", 408, "Request too slow"


class Conflict(RequestError):
    """Something of this name exists already."""

    code, status, title = "conflict", 409, "Conflict"


class TooLarge(RequestError):
    """The body, or what it decodes to, is over a limit."""

    code, status, title = "too_large", 413, "Too large"


class AddressTooLong(RequestError):
    """The path and query are over a limit."""

    code, status, title = "address_too_long", 414, "Address too long"


class UnsupportedMedia(RequestError):
    """The media type, content coding or file format is not accepted here."""

    code, status, title = "unsupported_media", 415, "Media type not supported"


class HeadersTooLarge(RequestError):
    """The headers are over a limit, in number or in bytes."""

    code, status, title = "headers_too_large", 431, "Headers too large"


class NothingQualified(BigrayError):
    """No candidate kept the quality budget and was measured faster than the dense model.

    The detail names the binding constraint and the nearest feasible point.
    """

    code, status, title, exit_code = "nothing_qualified", 422, "No compressed model qualified", 3


class TrainingFailed(BigrayError):
    """Training ended without a usable checkpoint."""

    code, title = "training_failed", "Training failed"


class SearchFailed(BigrayError):
    """The search ended without a single finished trial."""

    code, title = "search_failed", "Search failed"


class ServiceError(BigrayError):
    """The service failed, not the caller."""

    code, title = "service_error", "Service error"


class RateLimited(ServiceError):
    """This caller sent too many requests."""

    code, status, title, retryable = "rate_limited", 429, "Too many requests", True


class Overloaded(ServiceError):
    """The service is full, draining or still loading."""

    code, status, title, retryable = "overloaded", 503, "Service busy", True


class DeadlineExceeded(ServiceError):
    """The answer was not ready within the time allowed."""

    code, status, title, retryable = "deadline_exceeded", 504, "Deadline exceeded", True


class ConnectionFailed(ServiceError):
    """No connection to the service, or it was lost."""

    code, status, title, retryable = "connection_failed", 503, "Connection failed", True


def _classes(base: type[BigrayError]) -> Iterable[type[BigrayError]]:
    yield base
    for child in base.__subclasses__():
        yield from _classes(child)


def from_problem(body: Mapping[str, Any], status: int, retry_after_s: int | None = None) -> BigrayError:
    """Turn an error body of the service back into the class it came from.

    A ``code`` that this version does not know falls back to the first class of the same HTTP status, so an old client
    still raises something sensible against a new service.
    """
    detail = str(body.get("detail") or body.get("error") or body.get("title") or f"HTTP status {status}")
    code = body.get("code")
    # several classes share a status; over the wire the one that speaks of requests is meant
    known = [*_classes(RequestError), *_classes(ServiceError), *_classes(BigrayError)]
    kind = next((c for c in known if c.code == code), None) or next((c for c in known if c.status == status), None)
    if kind is None or kind is BigrayError:
        kind = ServiceError if status >= 500 else RequestError
    return kind(
        detail,
        code=str(code) if code else None,
        errors=body.get("errors") or (),
        retry_after_s=retry_after_s,
    )
