"""The error tree: as drawn, picklable, and the same class again at the other end of the wire."""

from __future__ import annotations

import pickle
import re

import pytest

from bigray import errors
from bigray.errors import BigrayError, from_problem


def tree() -> list[type[BigrayError]]:
    found: list[type[BigrayError]] = []

    def walk(kind: type[BigrayError]) -> None:
        found.append(kind)
        for child in kind.__subclasses__():
            if child.__module__ == "bigray.errors":
                walk(child)

    walk(BigrayError)
    return found


@pytest.mark.parametrize("kind", tree())
def test_every_error_crosses_a_process_border_whole(kind: type[BigrayError]) -> None:
    error = kind(
        "what, got, allowed, remedy", code="special", pointer="a.b", errors=[{"pointer": "a.b"}], retry_after_s=3
    )
    back = pickle.loads(pickle.dumps(error))
    assert type(back) is kind
    assert (back.detail, back.code, back.pointer, back.errors, back.retry_after_s) == (
        "what, got, allowed, remedy",
        "special",
        "a.b",
        ({"pointer": "a.b"},),
        3,
    )
    assert str(back) == back.detail


@pytest.mark.parametrize("kind", [kind for kind in tree() if kind is not BigrayError])
def test_every_error_comes_back_over_the_wire(kind: type[BigrayError]) -> None:
    body = kind("gone", retry_after_s=7).problem("0" * 32)
    back = from_problem(body, body["status"], 7)
    assert type(back) is kind
    assert back.detail == "gone"
    assert back.retry_after_s == 7


def test_codes_are_unique() -> None:
    codes = [kind.code for kind in tree()]
    assert len(set(codes)) == len(codes)


def test_the_drawing_in_the_docstring_is_true() -> None:
    drawn = {}
    for line in (errors.__doc__ or "").splitlines():
        match = re.search(r"── (\w+)(?:\s+([a-z_]+))?(?:\s+(\d{3}))?(?:\s+(\d)\b)?", line)
        if match:
            drawn[match[1]] = match
    for kind in tree()[1:]:
        match = drawn.pop(kind.__name__)
        assert match[2] in (None, kind.code), kind
        assert match[3] in (None, str(kind.status)), kind
        assert match[4] in (None, str(kind.exit_code)), kind
    assert drawn == {}


def test_exit_codes() -> None:
    assert {kind.exit_code for kind in tree() if issubclass(kind, errors.UserError)} == {2}
    assert errors.NothingQualified.exit_code == 3
    assert errors.ServiceError.exit_code == errors.TrainingFailed.exit_code == 1


@pytest.mark.parametrize(
    ("body", "status", "expected"),
    [
        ({"code": "from_the_future", "detail": "x"}, 429, errors.RateLimited),
        ({"code": "from_the_future", "detail": "x"}, 418, errors.RequestError),
        ({"detail": "x"}, 599, errors.ServiceError),
        ({"error": "x"}, 404, errors.ModelNotFound),
        ({}, 500, errors.ServiceError),
    ],
)
def test_unknown_codes_fall_back_by_status(body: dict[str, str], status: int, expected: type[BigrayError]) -> None:
    back = from_problem(body, status)
    assert isinstance(back, expected if status != 404 and status != 500 else BigrayError)
    assert back.detail


def test_a_problem_points_at_the_field() -> None:
    body = errors.InvalidInput("top_k: must be at least 1 (got 0).", pointer="/parameters/top_k").problem()
    assert body["errors"] == [{"pointer": "/parameters/top_k", "detail": "top_k: must be at least 1 (got 0)."}]
    assert body["type"] == "/problems/invalid-input"
    assert body["retryable"] is False
    assert errors.Overloaded("busy").problem()["retryable"] is True
