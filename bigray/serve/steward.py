"""Looks after the versions of all models of a service: gathers what replicas saw, decides, and carries it out.

No Ray here: `bigray.serve.rollouts` runs one of these as a Serve deployment and gives it hands. Replicas of a model
call `exchange` every few seconds: they tell what they saw and are told what to do, so they need no restart to begin or
end a canary, and replicas that come later know of it too. Decisions are those of `bigray.serve.rollout`.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import defaultdict
from collections.abc import Callable, Coroutine
from typing import Any, Protocol

from bigray.artifact import now
from bigray.errors import BigrayError, Conflict, NotFound
from bigray.serve.canary import Plan, Window
from bigray.serve.evidence import Watch
from bigray.serve.rollout import Compared, Verdict, decide
from bigray.serve.versions import Canary, Event, History, Store, Version

log = logging.getLogger("ray.serve")

LOOK_S = 2.0
"""Seconds between looks."""
GROWTH = 1.2
"""A decision is sought when evidence has grown by this factor: chances are shared out over 20 looks."""


class Hands(Protocol):
    """Carries out what was decided. Every method takes its time, and raises nothing but errors of bigray."""

    def start(self, name: str, version: Version) -> Plan:
        """Bring a canary up; say where it is, with no share yet."""

    def stop(self, name: str) -> None:
        """Take the canary off, if there is one."""

    def replace(self, name: str, version: Version) -> None:
        """Let a version answer under the name, without a gap; raise ServiceError when it does not become ready."""

    def running(self, name: str) -> Version | None:
        """Return what answers under the name now; None when there is no such model."""


class Steward:
    """One per service. Everything but `Hands` runs on one event loop."""

    def __init__(self, store: Store, hands: Hands, clock: Callable[[], float] = time.time) -> None:
        self._store = store
        self._hands = hands
        self._clock = clock
        self._models = store.read()
        self._watches: dict[str, Watch] = {}
        self._locks: dict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._tasks: set[asyncio.Task[None]] = set()

    def history(self, name: str) -> History:
        """Return what is known of a model, with what its canary was seen to do until now."""
        found = self._models.get(name) or History(name=name)
        watch = self._watches.get(name)
        if found.canary is None or watch is None:
            return found
        return found.trying(found.canary.model_copy(update={"seen": watch.seen()}))

    def canaries(self) -> dict[str, dict[str, Any]]:
        """Return what to say of each canary under way in a line: model -> version, share, agreement so far, state."""
        found = {name: self.history(name).canary for name in self._models}
        return {
            name: {
                "version": canary.version.id,
                "share": canary.share,
                "shadow": canary.shadow,
                "agreement": canary.seen.agreed / canary.seen.compared if canary.seen.compared else None,
                "state": canary.state,
                "reason": canary.waiting_for or None,
            }
            for name, canary in found.items()
            if canary is not None
        }

    def exchange(self, name: str, version: str, window: Window) -> Plan | None:
        """Take in what a replica of ``version`` saw; return what it is to do."""
        history, watch = self._models.get(name), self._watches.get(name)
        if history is None or history.canary is None or history.canary.state != "watching" or watch is None:
            return None
        if version != history.running:
            return None
        if window.version == history.canary.version.id:
            watch.add(window)
        if watch.plan is None:
            return None
        canary = history.canary
        live = 0.0 if canary.shadow else canary.share
        patience_s = watch.patience_s(canary.policy.slowdown)
        return Plan(watch.plan.application, watch.plan.deployment, canary.version.id, live, canary.share, patience_s)

    async def deployed(self, name: str, version: Version) -> None:
        """Note that a version was deployed by hand; a canary under way is taken off."""
        async with self._locks[name]:
            history = self._models.get(name) or History(name=name)
            if history.canary is not None:
                await self._end(name, "another version was deployed", "hand")
                history = self._models[name]
            event = Event(at=now(), what="deployed", version=version.id, reason="by hand", by="hand")
            self._keep(history.taken_over(version).decided(event))

    async def failed(self, name: str, version: Version, reason: str) -> bool:
        """Note that a deployment by hand failed, and let the version before it go on; say whether there is one."""
        async with self._locks[name]:
            history = self._models.get(name) or History(name=name)
            self._keep(
                history.decided(Event(at=now(), what="deploy failed", version=version.id, reason=reason, by="hand"))
            )
            good = history.find(history.running)
            if good is None:
                return False
            await asyncio.to_thread(self._hands.replace, name, good)
            return True

    async def taken_off(self, name: str) -> None:
        """Note that a model is not served any more; what it was is remembered."""
        async with self._locks[name]:
            history = self._models.get(name)
            if history is not None:
                if history.canary is not None:
                    await self._end(name, "the model was taken off", "hand")
                self._keep(self._models[name].model_copy(update={"running": None}))

    async def begin(self, name: str, canary: Canary) -> None:
        """Start a canary; return at once.

        Raises:
            NotFound: There is no model of that name to compare with.
            Conflict: A canary is under way, or the version answers already.
        """
        async with self._locks[name]:
            history = await self._adopted(name)
            if history.canary is not None:
                raise Conflict(
                    f"Version {history.canary.version.id} of {name!r} is being tried already. Promote it or roll it back first.",
                    code="canary_under_way",
                )
            if canary.version.id == history.running:
                raise Conflict(f"Version {canary.version.id} is the one that answers already.", code="same_version")
            share = "a copy of " if canary.shadow else ""
            event = Event(
                at=now(), what="canary started", version=canary.version.id, by="hand",
                reason=f"with {share}{canary.share:.0%} of the requests",
            )  # fmt: skip
            canary = canary.model_copy(update={"since": now(), "until_s": self._clock() + canary.within_s})
            self._keep(history.trying(canary).decided(event))
        self._spawn(self._start(name, canary))

    async def promote(self, name: str) -> History:
        """Let the canary take over, by hand.

        Raises:
            NotFound: No canary is under way.
            Conflict: It has not started yet, or takes over already.
            ServiceError: It did not become ready; the present version goes on.
        """
        async with self._locks[name]:
            canary = self.history(name).canary
            if canary is None:
                raise NotFound(f"No version of {name!r} is being tried.", code="no_canary")
            if canary.state != "watching":
                raise Conflict(f"The canary of {name!r} is {canary.state}. Try again in a moment.", code="canary_busy")
            await self._promote(name, "by hand", "hand")
            return self.history(name)

    async def roll_back(self, name: str) -> History:
        """Take a canary off; where there is none, let the earlier version answer again.

        Raises:
            NotFound: Neither a canary nor an earlier version.
            ServiceError: The earlier version did not become ready; the present one goes on.
        """
        async with self._locks[name]:
            history = self.history(name)
            if history.canary is not None:
                await self._end(name, "by hand", "hand")
                return self.history(name)
            history = await self._adopted(name)
            earlier = history.earlier()
            bad = history.running or ""
            await self._replace(name, earlier)
            event = Event(at=now(), what="rolled back", version=bad, reason=f"by hand, to {earlier.id}", by="hand")
            self._keep(history.gone_back(earlier).decided(event))
            return self.history(name)

    async def _adopted(self, name: str) -> History:
        """Return the history with what really answers as the running version: a Serve YAML deploys past us."""
        history = self._models.get(name) or History(name=name)
        present = await asyncio.to_thread(self._hands.running, name)
        if present is None:
            raise NotFound(f"There is no model {name!r}.")
        if present.id != history.running:
            history = history.taken_over(history.find(present.id) or present)
        return history

    async def look(self) -> None:
        """Seek a decision on every canary; called every `LOOK_S`."""
        for name in list(self._models):
            if self._locks[name].locked():  # something is being carried out; the other models need not wait for it
                continue
            async with self._locks[name]:
                try:
                    await self._look(name)
                except BigrayError as error:
                    log.error("rollout of %s: %s", name, error.detail)

    async def resume(self) -> None:
        """Go on with canaries that were under way when the process before this one ended."""
        for name, history in list(self._models.items()):
            if history.canary is None:
                continue
            try:
                present = await asyncio.to_thread(self._hands.running, name)
            except BigrayError:
                present = None
            async with self._locks[name]:
                if present is None or present.id != history.running:
                    await self._end(name, "the service stopped before there was a decision", "bigray")
                    continue
                canary = history.canary.model_copy(update={"state": "starting"})
                self._keep(history.trying(canary))
            self._spawn(self._start(name, canary))

    async def _start(self, name: str, canary: Canary) -> None:
        trouble = None
        try:
            plan = await asyncio.to_thread(self._hands.start, name, canary.version)
        except BigrayError as error:
            trouble = f"it did not start: {error.detail}"
        except Exception as error:
            log.exception("canary of %s", name)
            trouble = f"it did not start: {type(error).__name__}"
        async with self._locks[name]:
            current = self._models[name].canary
            if current is None or current.since != canary.since or current.version.id != canary.version.id:
                if current is None:  # taken off while it started
                    await asyncio.to_thread(self._hands.stop, name)
            elif trouble is not None:
                await self._end(name, trouble, "bigray")
            else:
                self._watches[name] = Watch(plan)
                self._keep(self._models[name].trying(current.model_copy(update={"state": "watching"})))

    async def _look(self, name: str) -> None:
        canary, watch = self._models[name].canary, self._watches.get(name)
        if canary is None or (canary.state == "watching" and watch is None):
            return
        late = self._clock() >= canary.until_s
        if watch is None or canary.state != "watching":
            if late and canary.state == "starting":
                await self._end(name, f"it did not start within {canary.within_s / 60:g} minutes", "bigray")
            return
        evidence = watch.canary.requests + watch.compared
        if evidence < max(GROWTH * watch.looked, watch.looked + 1) and not late:
            return
        watch.looked = evidence
        found = decide(
            watch.present.evidence, watch.canary.evidence, Compared(watch.compared, watch.agreed), canary.policy
        )
        if found.verdict is Verdict.PROMOTE:
            await self._promote(name, found.reason, "bigray")
        elif found.verdict is Verdict.ROLL_BACK:
            await self._end(name, found.reason, "bigray")
        elif late:
            reason = f"no decision within {canary.within_s / 60:g} minutes: {found.reason}"
            await self._end(name, reason, "bigray")
        else:
            update = {"seen": watch.seen(), "waiting_for": found.reason}
            self._keep(self._models[name].trying(canary.model_copy(update=update)))

    async def _promote(self, name: str, reason: str, by: Any) -> None:
        history = self.history(name)
        canary = history.canary
        if canary is None:
            return
        self._keep(history.trying(canary.model_copy(update={"state": "promoting"})))
        try:
            await self._replace(name, canary.version)
        except BigrayError as error:
            await self._end(name, f"it could not take over: {error.detail}", "bigray")
            if by == "hand":
                raise
            return
        event = Event(at=now(), what="promoted", version=canary.version.id, reason=reason, by=by)
        self._watches.pop(name, None)
        self._keep(history.taken_over(canary.version.model_copy(update={"deployed": now()})).decided(event))
        await asyncio.to_thread(self._hands.stop, name)

    async def _replace(self, name: str, version: Version) -> None:
        """Let a version answer; where it does not become ready, make sure that the present one stays."""
        try:
            await asyncio.to_thread(self._hands.replace, name, version)
        except BigrayError:
            good = self._models[name].find(self._models[name].running)
            if good is not None:
                # Serve goes on with the old replicas, but would start the bad version where one of them is lost
                await asyncio.to_thread(self._hands.replace, name, good)
            raise

    async def _end(self, name: str, reason: str, by: Any) -> None:
        """Roll a canary back: first no request goes to it any more, then it is taken off."""
        history = self.history(name)
        self._watches.pop(name, None)
        if history.canary is not None:
            seen = history.canary.seen
            if seen.requests:
                reason = f"{reason} ({seen.answered} callers got its answer)"
            event = Event(at=now(), what="rolled back", version=history.canary.version.id, reason=reason, by=by)
            self._keep(history.trying(None).decided(event))
        await asyncio.to_thread(self._hands.stop, name)

    def _keep(self, history: History) -> None:
        self._models[history.name] = history
        self._store.write(history)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
