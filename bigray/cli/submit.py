"""``bigray submit``: run a recipe on a cluster."""

from __future__ import annotations

from typing import Annotated

import typer

from bigray import jobs
from bigray.cli.jobs import Address, TokenFile, follow


def command(
    recipe: Annotated[
        str, typer.Argument(metavar="RECIPE", help="Path of a YAML file, or the name of a shipped recipe.")
    ],
    overrides: Annotated[
        list[str] | None,
        typer.Option("--set", "-s", metavar="KEY.PATH=VALUE", help="Override one value; may be repeated."),
    ] = None,
    output: Annotated[str | None, typer.Option(help="Folder for results that every node sees; sets output.")] = None,
    address: Address = None,
    token_file: TokenFile = None,
    job_id: Annotated[str | None, typer.Option("--id", help="Id of the job; by default made from the name.")] = None,
    send_package: Annotated[
        bool, typer.Option(help="Send this installation's bigray, or use the one the cluster has.")
    ] = True,
    detach: Annotated[bool, typer.Option("--detach", "-d", help="Return once the job is submitted.")] = False,
) -> None:
    """Run a recipe as a job on a cluster, and follow it; ends with the job's own exit code.

    Data files that the recipe names by relative paths travel along. Ctrl-C leaves the job running.

    Example: bigray submit recipe.yaml --address http://127.0.0.1:8265 --output /shared/runs --set train.workers=4
    """
    values = [*(overrides or []), *([f"output={output}"] if output else [])]
    cluster = jobs.connect(address, token_file)
    job = cluster.submit(recipe, values, job_id=job_id, send_package=send_package)
    if detach:
        typer.echo(job)
        return
    typer.echo(f"Job {job} on {cluster.address}", err=True)
    follow(cluster, job)
