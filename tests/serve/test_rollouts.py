"""What is told of a version that did not start: the error itself, found in Serve's report."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from bigray.serve.rollouts import canary_name, said

REPORT = """The deployment failed to start 3 times in a row. This may be due to a problem with its constructor.
Error:
ray::ServeReplica:texts:text_classification.initialize_and_get_metadata() (pid=7, ip=127.0.0.1)
  File "/home/replica.py", line 96, in open
    predictor = open_artifact(directory)
                ^^^^^^^^^^^^^^^^^^^^^^^^
onnxruntime.capi.onnxruntime_pybind11_state.InvalidProtobuf: [ONNXRuntimeError] : 7 : INVALID_PROTOBUF : Load failed.
"""


def report(*messages: str) -> Any:
    deployments = {str(number): SimpleNamespace(message=text) for number, text in enumerate(messages)}
    return SimpleNamespace(message="Failed to update the deployments ['text_classification'].", deployments=deployments)


@pytest.mark.parametrize(
    ("found", "reason"),
    [
        (report(REPORT), "InvalidProtobuf: [ONNXRuntimeError] : 7 : INVALID_PROTOBUF : Load failed."),
        (report("", "x\nbigray.errors.ArtifactCorrupt: 'a' has changed"), "ArtifactCorrupt: 'a' has changed"),
        (report("RuntimeError: out of order"), "RuntimeError: out of order"),
        (report("The replica was not scheduled."), "The replica was not scheduled."),
        (report(), "Failed to update the deployments ['text_classification']."),
    ],
)
def test_the_error_itself_is_told(found: Any, reason: str) -> None:
    assert said(found).endswith(reason)


def test_no_model_can_have_the_name_of_a_canary() -> None:
    from pydantic import TypeAdapter, ValidationError

    from bigray.recipe import Name

    with pytest.raises(ValidationError):
        TypeAdapter(Name).validate_python(canary_name("texts"))
