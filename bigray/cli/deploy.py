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
    canary: Annotated[
        str | None, typer.Option(help="Try it on a share of the requests first, such as 10%; see `bigray status NAME`.")
    ] = None,
    shadow: Annotated[
        bool, typer.Option("--shadow", help="Try it on copies of requests only: callers never see its answers.")
    ] = False,
    agreement: Annotated[
        float, typer.Option(min=0, max=1, help="Canary: share of answers that should be the present version's.")
    ] = 0.95,
    slowdown: Annotated[
        float, typer.Option(min=1, help="Canary: its p95 may be this many times the present version's.")
    ] = 1.5,
    min_requests: Annotated[int, typer.Option(min=10, help="Canary: requests before it may take over.")] = 200,
    within: Annotated[
        float, typer.Option(min=0.1, help="Canary: minutes until a decision; without one it is rolled back.")
    ] = 30.0,
) -> None:
    """Serve a model over HTTP with Ray Serve.

    Replicas, batching and limits are those of its recipe. Other machines are answered only with API keys (see
    `bigray keys`) and HTTPS, unless --insecure says otherwise.

    A model of that name is replaced without a gap, and `bigray rollback` goes back. With --canary or --shadow the new
    version is compared with the present one on live requests first, and promoted or rolled back by itself.

    Example:  bigray deploy runs/reviews/artifact --name reviews
    """
    from bigray import background
    from bigray.artifact import Artifact
    from bigray.cli import _show

    verdict = Artifact.open(artifact).manifest.verdict  # before Ray is imported and a cluster started
    if verdict.get("forced"):
        print(f"bigray: warning: this model did not qualify: {verdict['reason']}", file=sys.stderr)
    joined = background.join(address)
    if canary is not None or shadow:
        _try(artifact, name, address, canary or "10%", shadow, agreement, slowdown, min_requests, within)
        return
    listen = _listen.listen(host, port, auth, keys, certfile, keyfile, insecure)
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


def _try(
    artifact: Path,
    name: str,
    address: str | None,
    share: str,
    shadow: bool,
    agreement: float,
    slowdown: float,
    min_requests: int,
    within: float,
) -> None:
    from bigray.errors import UserError
    from bigray.serve import handover
    from bigray.serve.rollout import Policy

    try:
        part = float(share.removesuffix("%")) / (100 if share.endswith("%") else 1)
    except ValueError:
        raise UserError(f"--canary takes a share such as 10%, not {share!r}.") from None
    policy = Policy(
        agreement=agreement, slowdown=slowdown, min_requests=min_requests, min_pairs=max(1, min_requests * 3 // 4)
    )
    found = handover.canary(
        artifact, name, share=part, shadow=shadow, policy=policy, within_s=60 * within, address=address
    )
    if found.canary is None:
        last = found.decisions[-1]
        print(f"{name}: version {last.version} was {last.what}: {last.reason}")
        raise typer.Exit(1)
    how = "gets copies of" if shadow else "answers"
    print(
        f"{name}: version {found.canary.version.id} {how} {part:.0%} of the requests; `bigray status {name}` follows it"
    )
