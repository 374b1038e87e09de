"""``bigray jobs``: list, follow, inspect and stop the jobs of a cluster."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Annotated

import typer

from bigray import jobs

Address = Annotated[
    str | None, typer.Option(help="URL of the head's dashboard; default: RAY_API_SERVER_ADDRESS, or 127.0.0.1:8265.")
]
TokenFile = Annotated[
    Path | None, typer.Option(help="File with the cluster's token; default: RAY_AUTH_TOKEN, or ~/.ray/auth_token.")
]
JobId = Annotated[str, typer.Argument(metavar="ID", help="Id of a job, as `bigray jobs list` shows it.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]

app = typer.Typer(
    add_completion=False,
    rich_markup_mode=None,
    no_args_is_help=True,
    help="List, follow, inspect and stop the jobs of a cluster.",
)


@app.command("list")
def list_(address: Address = None, token_file: TokenFile = None, as_json: AsJson = False) -> None:
    """List the submitted jobs, the latest first.

    Example: bigray jobs list
    """
    found = jobs.connect(address, token_file).jobs()
    if as_json:
        typer.echo(json.dumps([_plain(job) for job in found]))
        return
    for job in found:
        typer.echo(f"{job.status:<10} {_duration(job.seconds):>9}  {job.submitted or '-':<25}  {job.id}")


@app.command()
def status(job_id: JobId, address: Address = None, token_file: TokenFile = None, as_json: AsJson = False) -> None:
    """Show one job.

    Example: bigray jobs status sentiment-20260301-101500-a1b2c3
    """
    job = jobs.connect(address, token_file).status(job_id)
    if as_json:
        typer.echo(json.dumps(_plain(job)))
        return
    for name, value in _plain(job).items():
        typer.echo(f"{name:<12} {value}")


@app.command()
def logs(
    job_id: JobId,
    address: Address = None,
    token_file: TokenFile = None,
    no_follow: Annotated[bool, typer.Option("--no-follow", help="Print what there is and return.")] = False,
) -> None:
    """Print a job's output until it ends; ends with the job's own exit code.

    Example: bigray jobs logs sentiment-20260301-101500-a1b2c3
    """
    cluster = jobs.connect(address, token_file)
    if not no_follow:
        follow(cluster, job_id)
    for line in cluster.logs(job_id, follow=False):
        typer.echo(line)


@app.command()
def stop(job_id: JobId, address: Address = None, token_file: TokenFile = None) -> None:
    """Stop a job and wait until it is over.

    Example: bigray jobs stop sentiment-20260301-101500-a1b2c3
    """
    job = jobs.connect(address, token_file).stop(job_id)
    typer.echo(f"{job.id}: {job.status}")


def follow(cluster: jobs.Cluster, job_id: str) -> None:
    """Print a job's output as it comes, then leave with its exit code; Ctrl-C leaves the job running."""
    try:
        for line in cluster.logs(job_id):
            typer.echo(line)
        job = cluster.wait(job_id)
    except KeyboardInterrupt:
        typer.echo(
            f"\nThe job goes on. Follow it: bigray jobs logs {job_id}   Stop it: bigray jobs stop {job_id}", err=True
        )
        raise typer.Exit(130) from None
    if job.driver_code is None and job.message:
        typer.echo(job.message, err=True)  # it never ran, so its log is empty
    typer.echo(f"{job.id}: {job.status} after {_duration(job.seconds)}", err=True)
    raise typer.Exit(job.exit_code)


def _plain(job: jobs.Job) -> dict[str, object]:
    return {**dataclasses.asdict(job), "exit_code": job.exit_code if job.finished else None}


def _duration(seconds: float | None) -> str:
    return "-" if seconds is None else f"{seconds:.0f} s"
