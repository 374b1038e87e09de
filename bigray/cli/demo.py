"""`bigray demo`: the whole story on this machine."""

from __future__ import annotations


def command() -> None:
    """Train, compress, verify, serve and call three models here.

    Example:  bigray demo
    """
    from bigray import demo

    demo.run()
