"""What is known of a canary under way, gathered from all replicas of the present version."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from bigray.serve.canary import Plan, Tally, Window
from bigray.serve.rollout import Seen as Evidence
from bigray.serve.versions import Seen

TIMES = 4000
"""Newest times kept per version."""
FIRST_PATIENCE_S, SHORTEST_PATIENCE_S = 2.0, 0.5
"""Wait for a canary while nothing is known of the present version's times, and the shortest later."""


@dataclass
class Side:
    """What one version did."""

    requests: int = 0
    errors: int = 0
    times_ms: deque[float] = field(default_factory=lambda: deque(maxlen=TIMES))

    def add(self, tally: Tally) -> None:
        """Take in what a replica counted."""
        self.requests += tally.requests
        self.errors += tally.errors
        self.times_ms.extend(tally.times_ms)

    @property
    def evidence(self) -> Evidence:
        """What decisions go by."""
        return Evidence(self.requests, self.errors, tuple(self.times_ms))

    @property
    def p95_ms(self) -> float:
        """0 while nothing is known."""
        ordered = sorted(self.times_ms)
        return ordered[int(0.95 * (len(ordered) - 1))] if ordered else 0.0


@dataclass
class Watch:
    """What is known of the canary under way."""

    plan: Plan | None = None
    present: Side = field(default_factory=Side)
    canary: Side = field(default_factory=Side)
    compared: int = 0
    agreed: int = 0
    answered: int = 0
    looked: float = 0.0
    """Evidence at the last decision sought."""

    def add(self, window: Window) -> None:
        """Take in what a replica saw."""
        self.present.add(window.present)
        self.canary.add(window.canary)
        self.compared += window.compared
        self.agreed += window.agreed
        self.answered += window.answered

    def seen(self) -> Seen:
        """Say it in numbers for people."""
        return Seen(
            requests=self.canary.requests,
            errors=self.canary.errors,
            p95_ms=round(self.canary.p95_ms, 2),
            present_requests=self.present.requests,
            present_errors=self.present.errors,
            present_p95_ms=round(self.present.p95_ms, 2),
            compared=self.compared,
            agreed=self.agreed,
            answered=self.answered,
        )

    def patience_s(self, slowdown: float) -> float:
        """Return how long a request may wait for the canary: well over what would roll it back for slowness."""
        if not self.present.times_ms:
            return FIRST_PATIENCE_S
        return max(SHORTEST_PATIENCE_S, 4 * slowdown * self.present.p95_ms / 1000)
