"""`bigray down`: stop what `bigray up` started."""

from __future__ import annotations


def command() -> None:
    """Stop the service that `bigray up` started, with its models and its Ray; other clusters are left alone.

    Example:  bigray down
    """
    from bigray import background

    print(f"stopped {background.stop().service}")
