"""`bigray deploy`: put an artifact behind HTTP."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer


def command(
    artifact: Annotated[Path, typer.Argument(metavar="ARTIFACT", help="Folder of the artifact, as a run wrote it.")],
    name: Annotated[str, typer.Option("--name", "-n", help="Name of the model in the URL, /models/NAME.")],
    address: Annotated[
        str | None, typer.Option(help="Ray cluster to serve on; by default this machine, until Ctrl-C.")
    ] = None,
    host: Annotated[str, typer.Option(help="Address to listen on, where Serve does not run yet.")] = "127.0.0.1",
    port: Annotated[
        int, typer.Option(min=1, max=65535, help="Port to listen on, where Serve does not run yet.")
    ] = 8000,
) -> None:
    """Serve a model over HTTP with Ray Serve.

    Replicas, batching and limits are those of its recipe.

    Example:  bigray deploy runs/reviews/artifact --name reviews
    """
    from bigray.artifact import Artifact
    from bigray.cli import _show

    verdict = Artifact.open(artifact).manifest.verdict  # before Ray is imported and a cluster started
    if verdict.get("forced"):
        print(f"bigray: warning: this model did not qualify: {verdict['reason']}", file=sys.stderr)
    from bigray.cluster import cluster
    from bigray.serve import config

    if address is not None:
        print(f"serving {config.deploy(artifact, name, address=address, host=host, port=port)}")
        return
    with cluster():
        print(f"serving {config.deploy(artifact, name, host=host, port=port)}  (Ctrl-C ends it)", flush=True)
        _show.until_stopped()
