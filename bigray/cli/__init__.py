"""The command line: one file per verb, see `bigray.cli.main`."""

from __future__ import annotations

import sys
from typing import NoReturn


def start() -> NoReturn:
    """Run the command line; where bigray was installed as a client only, say how to install all of it."""
    try:
        from bigray.cli.main import run
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("bigray"):
            raise
        print(
            f"error: The command line needs the package {error.name}, and bigray was installed as a client only. "
            "Run: pip install 'bigray[all]'",
            file=sys.stderr,
        )
        sys.exit(2)
    run()
