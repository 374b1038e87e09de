"""Keep OpenVINO and NNCF from reporting usage to Google Analytics.

Both packages import ``openvino_telemetry`` if it is there and, without asking, send an event at import and at each
conversion, unless the user's home holds a file of refusal or the environment says CI (openvino_telemetry 2025.2,
utils/opt_in_checker.py). Where that package cannot be imported they use an empty stand-in. So it is made impossible to
import: nothing is written to the user's home and nothing leaves the machine.
"""

from __future__ import annotations

import sys
from typing import Any


def switch_off() -> None:
    """Call before any import of openvino or nncf."""
    loaded: Any = sys.modules.get("openvino_telemetry")
    if loaded is None:
        sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]  # "import of this is halted"
        return
    # someone imported openvino before bigray could prevent it: refuse from here on
    loaded.Telemetry.send_event = loaded.Telemetry.send_error = _ignore
    loaded.Telemetry.start_session = loaded.Telemetry.end_session = _ignore
    loaded.Telemetry.send_stack_trace = loaded.Telemetry.send_opt_in_event = _ignore


def _ignore(*_: Any, **__: Any) -> None:
    return None
