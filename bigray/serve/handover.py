"""Starts canaries, promotes and rolls back, from any program that reaches the cluster. The steward does the rest."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from pathlib import Path

import ray

from bigray.artifact import Artifact
from bigray.errors import InvalidInput, NotFound, ServiceError, UserError
from bigray.recipe import Serve
from bigray.serve import rollouts
from bigray.serve.config import base_url, status
from bigray.serve.rollout import Policy
from bigray.serve.versions import Canary, History, keep, version_of

POLL_S = 0.5
POLICY = Policy()


def canary(
    artifact: str | Path,
    name: str,
    *,
    share: float = 0.1,
    shadow: bool = False,
    policy: Policy = POLICY,
    within_s: float = 1800.0,
    settings: Serve | None = None,
    address: str | None = None,
) -> History:
    """Try a new version of a model on a share of its requests; the service promotes it or rolls it back by itself.

    Returns once the canary runs or has failed to start. Another share, as large, is answered by both versions and
    compared. Read on with `history`.

    Args:
        artifact: Folder of the new version, at a path that all nodes see.
        name: Model that is served.
        share: Of the requests, up to 0.5.
        shadow: Callers never see its answers; it gets copies only.
        policy: What it must show.
        within_s: Longest time until a decision; without one it is rolled back.
        settings: As in `bigray.serve.config.deploy`.
        address: Ray cluster to join; by default a running one.

    Raises:
        InvalidInput: A share out of range, or an artifact of another task.
        NotFound: There is no model of that name.
        Conflict: A canary is under way, or this version answers already.
        ArtifactError, ArtifactCorrupt: Found before anything is started.
    """
    if not 0.0 < share <= 0.5:
        raise InvalidInput(
            f"A canary gets over 0 and up to 50 % of the requests, not {share:.4g}.", code="invalid_share"
        )
    folder = Path(artifact).resolve()
    manifest = Artifact.open(folder).manifest
    _reach(name, address)
    tasks = [*rollouts.deployments(name)]
    if tasks and manifest.task not in tasks:
        raise InvalidInput(f"The new version is for {manifest.task}, and {name!r} does {tasks[0]}.", code="other_task")
    over = settings.model_dump(mode="json") if settings is not None else {}
    version = version_of(keep(folder), manifest.name, over)
    new = Canary(version=version, share=share, shadow=shadow, policy=policy, within_s=within_s)
    rollouts.ask("begin", name, new)
    return _wait(name, lambda found: found.canary is None or found.canary.state != "starting")


def promote(name: str, *, address: str | None = None) -> History:
    """Let a canary take over now.

    Raises:
        NotFound: No canary is under way.
        ServiceError: It did not become ready; the present version goes on.
    """
    _reach(name, address)
    return History.model_validate(rollouts.ask("promote", name))


def roll_back(name: str, *, address: str | None = None) -> History:
    """Take a canary off; where there is none, let the version before the present one answer again.

    Raises:
        NotFound: There is neither.
        ServiceError: The earlier version did not become ready; the present one goes on.
    """
    _reach(name, address)
    return History.model_validate(rollouts.ask("roll_back", name))


def history(name: str) -> History:
    """Return what is known of a model's versions, on the cluster that this process is in."""
    return History.model_validate(rollouts.ask("history", name))


def join(address: str | None = None) -> None:
    """Join the cluster where Serve runs.

    Raises:
        UserError: There is none.
    """
    if not ray.is_initialized():
        try:
            ray.init(address=address or "auto", log_to_driver=False, logging_level=logging.ERROR)
            logging.getLogger("ray.serve").setLevel(logging.ERROR)  # what it tells is for those who run it
        except ConnectionError:
            raise UserError(
                "No running Ray cluster was found. Give its --address, or set RAY_ADDRESS.", code="no_cluster"
            ) from None


def _reach(name: str, address: str | None) -> None:
    join(address)
    served = status()
    if name not in served:
        raise NotFound(f"There is no model {name!r} yet. Served: {', '.join(served) or 'none'}. Deploy it first.")
    rollouts.ensure(base_url())


def _wait(name: str, done: Callable[[History], bool]) -> History:
    until = time.monotonic() + rollouts.READY_S
    while not done(found := history(name)):
        if time.monotonic() > until:
            raise ServiceError(f"The canary of {name!r} takes long to start; see `bigray status {name}`.")
        time.sleep(POLL_S)
    return found
