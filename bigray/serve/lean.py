"""Keeps pandas and pyarrow out of a replica's memory, where they would be 90 MB beside a model of 30.

Ray imports them wherever they are installed, for tables that callers may send over a handle, and does without where they
are not (2.60: ``ray/serve/_private/utils.py``, ``ray/_private/arrow_serialization.py``). A replica answers HTTP and never
sees a table. So its process says, before Serve is imported, that there are none, and takes that back afterwards: what a
model itself imports later is found.
"""

from __future__ import annotations

import sys
from typing import Any

import ray

HEAVY = ("pandas", "pyarrow")


def environment() -> dict[str, Any]:
    """Return the runtime environment of a deployment: the caller's, and `leave_out` run first in each process.

    Serve passes the caller's on only where a deployment has none of its own. The name of the variable is Ray's own; where
    a later Ray knows it no more, replicas take more memory and nothing else changes.
    """
    from ray._private import ray_constants

    hook = getattr(ray_constants, "WORKER_PROCESS_SETUP_HOOK_ENV_VAR", None)
    callers = dict(ray.get_runtime_context().runtime_env) if ray.is_initialized() else {}
    if hook is None or hook in callers.get("env_vars", {}):  # another one is to run there
        return callers
    return {**callers, "env_vars": {**callers.get("env_vars", {}), hook: f"{__name__}.{leave_out.__name__}"}}


def leave_out() -> None:
    """Have imports of them fail in this process, if nothing imported them before."""
    for name in HEAVY:
        sys.modules.setdefault(name, None)  # type: ignore[arg-type]  # the documented way to refuse an import


def allow() -> None:
    """Have them succeed again, once Serve is imported."""
    for name in HEAVY:
        if sys.modules.get(name, name) is None:
            del sys.modules[name]
