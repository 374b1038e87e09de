"""`bigray keys`: API keys of a service that asks for them."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(
    add_completion=False,
    rich_markup_mode=None,
    no_args_is_help=True,
    help="Create, list and revoke API keys. Only their hashes are stored.",
)

KeysFile = Annotated[
    Path | None, typer.Option("--file", help="File of keys; by default BIGRAY_KEYS or ~/.config/bigray/keys.json.")
]


@app.command("create")
def create(
    name: Annotated[str, typer.Argument(metavar="NAME", help="What the key is for, to tell keys apart.")],
    scope: Annotated[list[str] | None, typer.Option(help="predict (default), admin; may be given twice.")] = None,
    per_minute: Annotated[int | None, typer.Option(min=1, help="Requests allowed per minute and proxy.")] = None,
    days: Annotated[float | None, typer.Option(min=0.0, help="Days until the key expires.")] = None,
    file: KeysFile = None,
) -> None:
    """Make a key and print it, once, on stdout.

    Example:  bigray keys create website --per-minute 600
    """
    from bigray.serve import auth

    path = file or auth.default_path()
    kept, key = auth.create_key(path, name, scopes=scope or ["predict"], per_minute=per_minute, days=days)
    typer.echo(f"{kept.name} may {' and '.join(kept.scopes)}; stored as a hash in {path}", err=True)
    typer.echo("The key is shown this once:", err=True)
    print(key)


@app.command("list")
def list_keys(file: KeysFile = None) -> None:
    """List the keys, without the keys themselves.

    Example:  bigray keys list
    """
    from bigray.cli import _show
    from bigray.serve import auth

    rows = [
        (
            key.name,
            key.id,
            ",".join(key.scopes),
            str(key.per_minute or "-"),
            key.created,
            "-" if key.expires_s is None else datetime.fromtimestamp(key.expires_s, UTC).isoformat(timespec="seconds"),
        )
        for key in auth.read_keys(file or auth.default_path())
    ]
    _show.table([("name", "id", "scopes", "per minute", "created", "expires"), *rows])


@app.command("revoke")
def revoke(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Name or id of the key.")], file: KeysFile = None
) -> None:
    """Take a key back; services that see the file refuse it within a second or two.

    Example:  bigray keys revoke website
    """
    from bigray.serve import auth

    print(f"revoked {auth.revoke_key(file or auth.default_path(), name).name}")
