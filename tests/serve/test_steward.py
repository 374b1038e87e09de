"""The steward of versions, with hands that only remember: it starts, promotes, rolls back, and writes down why."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from bigray.errors import Conflict, NotFound, ServiceError
from bigray.serve.canary import Plan, Tally, Window
from bigray.serve.rollout import Policy
from bigray.serve.steward import Steward
from bigray.serve.versions import Canary, History, Store, Version

ONE, TWO, BROKEN = (Version(id=name, artifact=f"/models/{name}") for name in ("one", "two", "broken"))
POLICY = Policy(min_requests=40, min_pairs=20)
FAST = [10.0 + number % 5 for number in range(60)]


class FakeHands:
    """Remembers what it was told; versions called broken never become ready."""

    def __init__(self, present: Version | None = ONE) -> None:
        self.present = present
        self.told: list[tuple[str, str]] = []

    def start(self, name: str, version: Version) -> Plan:
        self._told("start", version)
        return Plan(f"_canary-{name}", "text_classification", version.id, 0.0, 0.0, 0.0)

    def stop(self, name: str) -> None:
        self.told.append(("stop", name))

    def replace(self, name: str, version: Version) -> None:
        self._told("replace", version)
        self.present = version

    def running(self, name: str) -> Version | None:
        return self.present

    def _told(self, what: str, version: Version) -> None:
        self.told.append((what, version.id))
        if version.id == "broken":
            raise ServiceError("ArtifactError: no such graph")


class Rig:
    def __init__(self, folder: Path, hands: FakeHands | None = None) -> None:
        self.now_s = 1000.0
        self.hands = hands or FakeHands()
        self.store = Store(folder)
        self.steward = Steward(self.store, self.hands, clock=lambda: self.now_s)

    async def begin(self, version: Version = TWO, **more: Any) -> None:
        await self.steward.begin("texts", Canary(version=version, share=0.2, policy=POLICY, **more))
        await self.settle()

    async def settle(self) -> None:
        while self.steward._tasks:
            await asyncio.gather(*self.steward._tasks)

    def see(
        self, count: int = 60, errors: int = 0, times_ms: list[float] = FAST, agreed: int | None = None
    ) -> Plan | None:
        window = Window("two", Tally(200, 0, FAST), Tally(count, errors, times_ms[: count - errors]), count, count, 1)
        if agreed is not None:
            window.agreed = agreed
        return self.steward.exchange("texts", "one", window)

    @property
    def history(self) -> History:
        kept = self.store.read()["texts"]
        assert kept.decisions == self.steward.history("texts").decisions, "what was decided is on disk at once"
        return kept


def test(scenario: Callable[[Rig], Coroutine[Any, Any, None]], tmp_path: Path) -> None:
    rig = Rig(tmp_path)

    async def whole() -> None:
        await rig.steward.deployed("texts", ONE)
        await scenario(rig)

    asyncio.run(whole())


async def good(rig: Rig) -> None:
    await rig.begin()
    plan = rig.see()
    assert plan is not None
    assert (plan.live, plan.copied, plan.version) == (0.2, 0.2, "two")
    line = rig.steward.canaries()["texts"]
    assert (line["version"], line["agreement"], line["state"]) == ("two", 1.0, "watching")
    assert rig.steward.exchange("texts", "other", Window("two")) is None, "only the present version's replicas split"
    await rig.steward.look()
    found = rig.history
    assert (found.running, found.canary) == ("two", None)
    assert [event.what for event in found.decisions] == ["deployed", "canary started", "promoted"]
    assert "0 errors in 60 requests" in found.decisions[-1].reason
    assert rig.hands.told == [("start", "two"), ("replace", "two"), ("stop", "texts")]
    assert rig.see() is None


async def failing(rig: Rig) -> None:
    await rig.begin()
    rig.see(10, errors=10)
    await rig.steward.look()
    assert rig.history.running == "one"
    assert "all of its first 10 requests failed (1 callers got its answer)" in rig.history.decisions[-1].reason
    assert rig.hands.told[-1] == ("stop", "texts")


async def slow(rig: Rig) -> None:
    await rig.begin()
    for _ in range(4):
        rig.see(times_ms=[3 * ms for ms in FAST])
    await rig.steward.look()
    assert "its p95 is 42 ms" in rig.history.decisions[-1].reason


async def disagreeing(rig: Rig) -> None:
    await rig.begin(shadow=True)
    plan = rig.see(200, agreed=160)
    assert plan is not None
    assert (plan.live, plan.copied) == (0.0, 0.2)
    await rig.steward.look()
    assert "80.0% of 200 answers" in rig.history.decisions[-1].reason


async def undecided(rig: Rig) -> None:
    await rig.begin(within_s=60)
    rig.see(10)
    await rig.steward.look()
    assert "10 of 40 requests seen" in rig.history.canary.waiting_for  # type: ignore[union-attr]
    assert rig.history.canary.seen.requests == 10  # type: ignore[union-attr]
    rig.now_s += 61
    await rig.steward.look()
    assert rig.history.decisions[-1].reason.startswith("no decision within 1 minutes: 10 of 40 requests seen")


async def few_looks(rig: Rig) -> None:
    await rig.begin()
    rig.see(10)
    await rig.steward.look()
    watch = rig.steward._watches["texts"]
    rig.see(1)
    await rig.steward.look()
    assert watch.looked == 20, "evidence has hardly grown; each look is a chance to err"


async def broken(rig: Rig) -> None:
    await rig.begin(BROKEN)
    assert rig.history.canary is None
    assert rig.history.decisions[-1].reason == "it did not start: ArtifactError: no such graph"
    assert rig.history.running == "one"


async def promoted_by_hand(rig: Rig) -> None:
    with pytest.raises(NotFound, match="being tried"):
        await rig.steward.promote("texts")
    await rig.begin()
    found = await rig.steward.promote("texts")
    assert found.running == "two"
    assert rig.hands.present == TWO
    back = await rig.steward.roll_back("texts")
    assert (back.running, back.decisions[-1].reason) == ("one", "by hand, to one")
    with pytest.raises(NotFound):
        await rig.steward.roll_back("texts")


async def rolled_back_by_hand(rig: Rig) -> None:
    await rig.begin()
    assert (await rig.steward.roll_back("texts")).canary is None
    assert rig.history.running == "one"


async def one_at_a_time(rig: Rig) -> None:
    await rig.begin()
    with pytest.raises(Conflict, match="being tried already"):
        await rig.begin()
    with pytest.raises(Conflict, match="answers already"):
        await Rig(rig.store._folder / "other").begin(ONE)


async def deployed_over(rig: Rig) -> None:
    await rig.begin()
    await rig.steward.deployed("texts", Version(id="three", artifact="/models/three"))
    assert [event.what for event in rig.history.decisions][-2:] == ["rolled back", "deployed"]
    assert (rig.history.running, rig.history.canary) == ("three", None)


async def deploy_failed(rig: Rig) -> None:
    assert await rig.steward.failed("texts", BROKEN, "ArtifactError: no such graph")
    assert rig.hands.told == [("replace", "one")], "Serve would start the bad version where a replica is lost"
    assert rig.history.decisions[-1].what == "deploy failed"
    assert not await rig.steward.failed("new", BROKEN, "ArtifactError")


async def not_fit_to_take_over(rig: Rig) -> None:
    await rig.begin()
    rig.hands.replace = lambda name, version: rig.hands._told(  # type: ignore[method-assign]
        "replace", BROKEN if version.id == "two" else version
    )
    rig.see()
    await rig.steward.look()
    assert rig.history.decisions[-1].reason.startswith("it could not take over: ArtifactError")
    assert rig.history.running == "one"
    assert rig.hands.told[-2:] == [("replace", "one"), ("stop", "texts")]


async def taken_off(rig: Rig) -> None:
    await rig.begin()
    await rig.steward.taken_off("texts")
    assert (rig.history.running, rig.history.canary) == (None, None)


async def resumed(rig: Rig) -> None:
    await rig.begin()
    again = Steward(rig.store, rig.hands, clock=lambda: rig.now_s)
    await again.resume()
    await asyncio.gather(*again._tasks)
    assert again.history("texts").canary.state == "watching"  # type: ignore[union-attr]
    rig.hands.present = None
    await Steward(rig.store, rig.hands).resume()
    assert rig.store.read()["texts"].decisions[-1].reason == "the service stopped before there was a decision"


async def of_a_serve_yaml(rig: Rig) -> None:
    rig.hands.present = Version(id="yaml", artifact="/models/yaml")
    await rig.begin()
    assert rig.history.running == "yaml"
    rig.hands.present = None
    with pytest.raises(NotFound):
        await rig.steward.begin("nothing", Canary(version=TWO, share=0.1))


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "scenario" in metafunc.fixturenames:
        scenarios = [value for value in globals().values() if asyncio.iscoroutinefunction(value)]
        metafunc.parametrize("scenario", scenarios, ids=lambda one: one.__name__)
