"""`bigray doctor`: what this machine and installation can do."""

from __future__ import annotations

import sys
from typing import Annotated

import typer


def command(
    bench: Annotated[
        bool, typer.Option("--bench", help="Also race the engines and methods on three small networks (a minute).")
    ] = False,
) -> None:
    """Show what this machine and installation can do.

    Python, packages, hardware, engines and methods, and why something is not usable.

    Example:  bigray doctor --bench
    """
    from bigray import inventory, measure
    from bigray.cli import _show

    print(f"python: {inventory.python()}")
    print("hardware:")
    for name, value in measure.hardware().items():
        print(f"  {name}: {value}")
    print("packages:")
    for name, version in inventory.packages().items():
        print(f"  {name} {version or 'not installed'}")
    _show.items("engines", inventory.engines())
    _show.items("methods", inventory.methods())
    if bench:
        from bigray import probe

        print("race, one row, one thread, random weights:")
        lines: list[tuple[str, ...]] = [("network", "engine and method", "p50 ms", "against torch_eager", "")]
        for found in probe.race(listen=lambda name: print(f"  measuring {name} ...", file=sys.stderr, flush=True)):
            ratio = "-" if found.speedup is None else f"{found.speedup:.2f}x"
            time = "-" if found.p50_ms is None else f"{found.p50_ms:.3g}"
            lines.append((found.network, found.label, time, ratio, found.reason or ""))
        _show.table(lines)
