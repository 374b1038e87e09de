"""Options of verbs that open a service: where to listen and whom to let in."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from bigray.serve.listen import Listen

Host = Annotated[str, typer.Option(help="Address to listen on, where Serve does not run yet.")]
Port = Annotated[int, typer.Option(min=1, max=65535, help="Port to listen on, where Serve does not run yet.")]
Auth = Annotated[
    bool | None,
    typer.Option("--auth/--no-auth", help="Ask callers for an API key; by default where other machines can connect."),
]
KeysFile = Annotated[Path | None, typer.Option("--keys", help="File of API keys, as `bigray keys` writes it.")]
CertFile = Annotated[Path | None, typer.Option("--certfile", help="Certificate for HTTPS (PEM).")]
KeyFile = Annotated[Path | None, typer.Option("--keyfile", help="Private key of the certificate (PEM).")]
Insecure = Annotated[
    bool, typer.Option("--insecure", help="Answer other machines even without API keys or without HTTPS.")
]


def listen(
    host: str,
    port: int,
    auth: bool | None,
    keys: Path | None,
    certfile: Path | None,
    keyfile: Path | None,
    insecure: bool,
) -> Listen:
    """Put the options together and check them.

    Raises:
        UserError: Unsafe or impossible; or keys are wanted and there are none.
    """
    from bigray.errors import UserError
    from bigray.serve.auth import default_path, read_keys
    from bigray.serve.listen import Listen

    wanted = auth if auth is not None else keys is not None or not Listen(host).local
    file = keys or default_path()
    told = Listen(host, port, file if wanted and not (insecure and auth is None) else None, certfile, keyfile, insecure)
    told.check()
    if told.keys is not None and not read_keys(told.keys):
        raise UserError(f"There are no API keys in {str(file)!r}. Make one: bigray keys create NAME", code="no_keys")
    return told
