"""`bigray capacity`: replicas, cores and cost for a stated load."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def command(
    artifact: Annotated[Path, typer.Argument(metavar="ARTIFACT", help="Folder of the artifact, as a run wrote it.")],
    requests_per_s: Annotated[float, typer.Option("--rps", min=0.0, help="Requests per second, one input each.")],
    p95_ms: Annotated[
        float | None,
        typer.Option(
            min=0.0, help="Longest time in the service for 95 of 100 requests, in ms; by default the recipe's."
        ),
    ] = None,
    core_hour: Annotated[float | None, typer.Option(min=0.0, help="Price of one core for one hour.")] = None,
) -> None:
    """Say how many replicas and cores a load takes, and what a million requests cost.

    Worked out from the times that the search measured, so for a machine like the one it ran on.

    Example:  bigray capacity runs/reviews/artifact --rps 500 --p95-ms 80 --core-hour 0.04
    """
    from bigray import capacity
    from bigray.artifact import Artifact
    from bigray.recipe import Serve

    manifest = Artifact.open(artifact, verify=False).manifest
    settings = Serve.model_validate(manifest.recipe.get("serve") or {})
    times = capacity.points(manifest.latency)
    found = capacity.plan(
        times,
        requests_per_s=requests_per_s,
        cpus=settings.cpus,
        max_batch_size=settings.max_batch_size,
        p95_ms=settings.p95_ms if p95_ms is None else p95_ms,
        core_hour=core_hour,
    )
    measured = ", ".join(f"{ms:.3g} ms for {size}" for size, ms in times)
    print(f"replicas   {found.replicas} (the recipe allows {settings.max_replicas}), loaded to {found.load:.0%}")
    print(f"cores      {found.cores:g} ({settings.cpus:g} per replica)")
    print(f"p95        {found.p95_ms:.3g} ms in the service, without network")
    print(f"batches    of {found.batch_size:.3g} on average")
    if found.cost_per_million is not None:
        print(f"cost       {found.cost_per_million:.3g} per million requests")
    print(f"measured   {measured}; on {manifest.hardware.get('cpu') or 'a machine not named'}")
