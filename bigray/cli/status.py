"""`bigray status`: what is served."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from bigray.client import Client


def command(
    name: Annotated[
        str | None, typer.Argument(metavar="[NAME]", help="One model: its versions, and what was decided of them.")
    ] = None,
    url: Annotated[str, typer.Option(help="Address of the service.")] = "http://127.0.0.1:8000",
    api_key: Annotated[
        str | None, typer.Option(envvar="BIGRAY_API_KEY", help="Key, where the service wants one.")
    ] = None,
) -> None:
    """List what a running service serves; with a name, the versions of that model.

    Example:  bigray status reviews --url http://127.0.0.1:8000
    """
    from bigray.cli import _show
    from bigray.client import Client

    with Client(url, api_key=api_key, timeout_s=10, retries=2) as client:
        if name is not None:
            _versions(client.describe(name))
            return
        models = client.models()
        rows = [(one["id"], one["task"], one["engine"], one.get("version", "-"), _state(client, one)) for one in models]
    _show.table([("model", "task", "engine", "version", "state"), *rows])
    print(f"{len(rows)} model(s) at {url}")


def _state(client: Client, model: dict[str, Any]) -> str:
    # a model of no replicas is not asked how it is: that would wake it
    if model.get("replicas", {}).get("wanted") == 0:
        return "asleep"
    return "ready" if client.health(model["id"]) else "not ready"


def _versions(said: dict[str, Any]) -> None:
    from bigray.cli import _show

    rollout = said.get("rollout") or {}
    print(f"{said['id']}: {said['task']} on {said['engine']}, version {said['version']} answers")
    rows = [
        (
            one["id"],
            "runs" if one["id"] == rollout["running"] else "rolled back" if one["rolled_back"] else "",
            one["deployed"],
            one["name"],
        )
        for one in reversed(rollout.get("versions", ()))
    ]
    if rows:
        _show.table([("version", "state", "deployed", "run"), *rows])
    if canary := rollout.get("canary"):
        seen = canary["seen"]
        how = "copies of" if canary["shadow"] else "canary with"
        print(
            f"{how} {canary['share']:.0%}: version {canary['version']['id']}, {canary['state']} since {canary['since']}"
        )
        print(
            f"  canary   {seen['requests']} requests, {seen['errors']} errors, p95 {seen['p95_ms']:g} ms, "
            f"{seen['answered']} callers got its answer"
        )
        print(
            f"  present  {seen['present_requests']} requests, {seen['present_errors']} errors, "
            f"p95 {seen['present_p95_ms']:g} ms"
        )
        print(f"  {seen['agreed']} of {seen['compared']} compared answers agree")
        if canary["waiting_for"]:
            print(f"  undecided: {canary['waiting_for']}")
    for event in rollout.get("decisions", ())[-5:]:
        print(f"{event['at']}  {event['what']} {event['version']}: {event['reason']}")
