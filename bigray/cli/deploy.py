"""`bigray deploy`: put an artifact behind HTTP."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from bigray.cli import _listen


def command(
    artifact: Annotated[Path, typer.Argument(metavar="ARTIFACT", help="Folder of the artifact, as a run wrote it.")],
    name: Annotated[str, typer.Option("--name", "-n", help="Name of the model in the URL, /models/NAME.")],
    address: Annotated[
        str | None,
        typer.Option(help="Ray cluster to serve on; by default that of `bigray up`, else a new one until Ctrl-C."),
    ] = None,
    host: _listen.Host = "127.0.0.1",
    port: _listen.Port = 8000,
    auth: _listen.Auth = None,
    keys: _listen.KeysFile = None,
    certfile: _listen.CertFile = None,
    keyfile: _listen.KeyFile = None,
    insecure: _listen.Insecure = False,
) -> None:
    """Serve a model over HTTP with Ray Serve.

    Replicas, batching and limits are those of its recipe. Other machines are answered only with API keys (see
    `bigray keys`) and HTTPS, unless --insecure says otherwise.

    Example:  bigray deploy runs/reviews/artifact --name reviews
    """
    from bigray import background
    from bigray.artifact import Artifact
    from bigray.cli import _show

    verdict = Artifact.open(artifact).manifest.verdict  # before Ray is imported and a cluster started
    if verdict.get("forced"):
        print(f"bigray: warning: this model did not qualify: {verdict['reason']}", file=sys.stderr)
    listen = _listen.listen(host, port, auth, keys, certfile, keyfile, insecure)
    joined = background.running() if address is None else None
    if joined is not None:
        joined.enter()
    from bigray.cluster import cluster
    from bigray.serve import config

    if address is not None:
        print(f"serving {config.deploy(artifact, name, address=address, listen=listen)}")
        return
    with cluster():
        url = config.deploy(artifact, name, listen=listen)
        if joined is not None:
            print(f"serving {url}")
            return
        print(f"serving {url}  (Ctrl-C ends it)", flush=True)
        _show.until_stopped()
