"""`bigray status`: what is served."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from bigray.client import Client


def command(
    url: Annotated[str, typer.Option(help="Address of the service.")] = "http://127.0.0.1:8000",
    api_key: Annotated[
        str | None, typer.Option(envvar="BIGRAY_API_KEY", help="Key, where the service wants one.")
    ] = None,
) -> None:
    """List what a running service serves.

    Example:  bigray status --url http://127.0.0.1:8000
    """
    from bigray.cli import _show
    from bigray.client import Client

    with Client(url, api_key=api_key, timeout_s=10, retries=2) as client:
        models = client.models()
        rows = [(one["id"], one["task"], one["engine"], _state(client, one)) for one in models]
    _show.table([("model", "task", "engine", "state"), *rows])
    print(f"{len(rows)} model(s) at {url}")


def _state(client: Client, model: dict[str, Any]) -> str:
    # a model of no replicas is not asked how it is: that would wake it
    if model.get("replicas", {}).get("wanted") == 0:
        return "asleep"
    return "ready" if client.health(model["id"]) else "not ready"
