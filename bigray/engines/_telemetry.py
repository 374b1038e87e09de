"""Keep the engines' libraries from reporting usage.

OpenVINO and NNCF import ``openvino_telemetry`` if it is there and, without asking, send an event to Google Analytics at
import and at each conversion, unless the user's home holds a file of refusal or the environment says CI
(openvino_telemetry 2025.2, utils/opt_in_checker.py). Where that package cannot be imported they use an empty stand-in,
so it is made impossible to import. ONNX Runtime from 1.29 on sends events to Microsoft, and keeps a device id in the
user's home, unless ``ORT_DISABLE_TELEMETRY`` is set before it is imported (its Privacy.md). Nothing is written for
either of them, and nothing leaves the machine.
"""

from __future__ import annotations

import os
import sys
from typing import Any


def switch_off() -> None:
    """Refuse all reporting, in this process and its children; called when the package `bigray.engines` is imported.

    ``ORT_DISABLE_TELEMETRY`` stays as it is where the user has set it.
    """
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    loaded: Any = sys.modules.get("openvino_telemetry")
    if loaded is None:
        sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]  # "import of this is halted"
    else:
        # someone imported openvino before bigray could prevent it: refuse from here on
        loaded.Telemetry.send_event = loaded.Telemetry.send_error = _ignore
        loaded.Telemetry.start_session = loaded.Telemetry.end_session = _ignore
        loaded.Telemetry.send_stack_trace = loaded.Telemetry.send_opt_in_event = _ignore
    if (runtime := sys.modules.get("onnxruntime")) is not None and os.environ["ORT_DISABLE_TELEMETRY"] == "1":
        runtime.disable_telemetry_events()


def _ignore(*_: Any, **__: Any) -> None:
    return None
