"""`bigray doctor`: what this machine and installation can do."""

from __future__ import annotations


def command() -> None:
    """Show what this machine and installation can do.

    Python, packages, hardware, engines and methods, and why something is not usable.

    Example:  bigray doctor
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
