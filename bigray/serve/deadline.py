"""How long a caller is still waiting: work nobody waits for is not begun.

A caller may say how long it waits (``x-bigray-timeout-ms``); the proxy notes when the request came
(``x-bigray-received``, its own clock, seconds since 1970), so that time in queues before the replica counts as well.
"""

from __future__ import annotations

import time
from collections.abc import Mapping

from bigray.errors import DeadlineExceeded, InvalidInput

TIMEOUT_HEADER = "x-bigray-timeout-ms"
RECEIVED_HEADER = "x-bigray-received"
LONGEST_SKEW_S = 300.0
"""A note older than this is the fault of a clock, not of a queue."""


def seconds_left(headers: Mapping[str, str], limit_s: float, now_s: float | None = None) -> float:
    """Return the seconds left for an answer, at most ``limit_s``.

    Raises:
        InvalidInput: ``invalid_timeout``: the caller's own limit is no whole number of ms above 0.
        DeadlineExceeded: None are left.
    """
    given = headers.get(TIMEOUT_HEADER)
    if given is not None:
        stated = stated_s(given)
        if stated is None:
            raise InvalidInput(f"{TIMEOUT_HEADER} is a whole number of milliseconds.", code="invalid_timeout")
        limit_s = min(limit_s, stated)
    left_s = limit_s - _age_s(headers.get(RECEIVED_HEADER), time.time() if now_s is None else now_s)
    if left_s <= 0:
        raise DeadlineExceeded(
            f"The request waited {limit_s:g} s, its limit, before a replica was free.", retry_after_s=1
        )
    return left_s


def stated_s(given: str | None) -> float | None:
    """Return a caller's own limit in seconds; None without one or for one that cannot be read."""
    if given is None or not (given.isascii() and given.isdigit() and len(given) <= 9 and int(given) > 0):
        return None
    return int(given) / 1000


def _age_s(received: str | None, now_s: float) -> float:
    try:
        age_s = now_s - float(received) if received is not None else 0.0
    except ValueError:
        return 0.0
    return age_s if 0.0 < age_s < LONGEST_SKEW_S else 0.0
