"""A replica's line to the steward of versions, and from there to a canary; see `bigray.serve.steward`."""

from __future__ import annotations

import asyncio
import time
from typing import Any

from ray import serve
from ray.serve.handle import DeploymentHandle

from bigray.schemas import Wire
from bigray.serve.batcher import Answers
from bigray.serve.canary import Ask, Plan, Rows
from bigray.serve.replica import Replica

APPLICATION, DEPLOYMENT = "_rollouts", "rollouts"
"""Names of the steward's application, which no model can have, and of what it deploys."""
EXCHANGE_S, ABSENT_S = 2.0, 10.0
"""Seconds between reports, and between looks for a steward where there is none."""
TIMEOUT_S = 4.0
LOST_S = 20.0
"""Silence after which a replica sends nothing to a canary any more."""


class Link:
    """Reports what a replica saw and does as it is told, from the first request on."""

    def __init__(self, replica: Replica) -> None:
        self._replica = replica
        self._steward: DeploymentHandle | None = None
        self._ask: Ask | None = None
        self._heard_at = time.monotonic()
        self._task: asyncio.Task[None] | None = None
        replica.history = self.history

    def start(self) -> None:
        """Begin, where that has not been done."""
        if self._task is None or self._task.done():
            self._task = asyncio.get_running_loop().create_task(self._run())

    async def history(self) -> dict[str, Any] | None:
        """Return what the steward knows of this model's versions; None when it cannot be reached."""
        try:
            steward = await self._reach()
            said: dict[str, Any] = await asyncio.wait_for(steward.public.remote(self._replica.name), TIMEOUT_S)
        except Exception:  # whatever keeps it, the model itself is well
            self._steward = None
            return None
        return said

    async def _run(self) -> None:
        while True:
            try:
                await self._exchange()
                wait_s = EXCHANGE_S
            except Exception:
                self._steward, wait_s = None, ABSENT_S if self._replica.split.plan is None else EXCHANGE_S
                if time.monotonic() - self._heard_at > LOST_S:
                    self._replica.split.follow(None)
            await asyncio.sleep(wait_s)

    async def _reach(self) -> DeploymentHandle:
        if self._steward is None:  # it asks Serve's controller, and waits for the answer
            self._steward = await asyncio.to_thread(serve.get_app_handle, APPLICATION)
        return self._steward

    async def _exchange(self) -> None:
        replica = self._replica
        steward = await self._reach()
        asked = steward.exchange.remote(replica.name, replica.version, replica.split.report())
        plan: Plan | None = await asyncio.wait_for(asked, TIMEOUT_S)
        self._heard_at = time.monotonic()
        known = replica.split.plan
        if plan is None:
            self._ask = None
        elif self._ask is None or known is None or plan.version != known.version:
            self._ask = _asking(plan)
        replica.split.follow(plan, self._ask)


def _asking(plan: Plan) -> Ask:
    handle = serve.get_deployment_handle(plan.deployment, plan.application, _check_exists=False)
    method = handle.options(method_name="answer_rows")

    async def ask(rows: Rows, parameters: Wire | None, left_s: float) -> tuple[Answers, float]:
        response = method.remote(list(rows), parameters, left_s)
        try:
            found: tuple[Answers, float] = await response
        except asyncio.CancelledError:
            response.cancel()  # nobody waits for it any more
            raise
        return found

    return ask
