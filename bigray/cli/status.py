"""`bigray status`: what is served."""

from __future__ import annotations

from typing import Annotated

import typer


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
        rows = [
            (one["id"], one["task"], one["engine"], "ready" if client.health(one["id"]) else "not ready")
            for one in models
        ]
    _show.table([("model", "task", "engine", "state"), *rows])
    print(f"{len(rows)} model(s) at {url}")
