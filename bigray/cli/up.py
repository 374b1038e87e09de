"""`bigray up`: start a service on this machine that stays."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from bigray.cli import _listen

if TYPE_CHECKING:
    from bigray.background import Running
    from bigray.serve.listen import Listen


def command(
    host: _listen.Host = "127.0.0.1",
    port: _listen.Port = 8000,
    auth: _listen.Auth = None,
    keys: _listen.KeysFile = None,
    certfile: _listen.CertFile = None,
    keyfile: _listen.KeyFile = None,
    insecure: _listen.Insecure = False,
    cpus: Annotated[
        int | None, typer.Option(min=1, help="Logical cores; by default the machine's, at least 4.")
    ] = None,
) -> None:
    """Start a Ray and an empty service on this machine and leave them running, or say where they run already.

    `bigray deploy` then adds models to it, and `bigray down` stops it. Ray itself listens on this machine only and wants
    a token; the service does what --host and the other options say.

    Example:  bigray up
    """
    from bigray import background

    listen = _listen.listen(host, port, auth, keys, certfile, keyfile, insecure)
    with background.starting():
        noted = background.running()
        if noted is None:
            noted = background.start(cpus=cpus)
            try:
                noted = _serve(noted, listen)
            except BaseException:
                background.stop()
                raise
        else:
            print("runs already; options of this call were not looked at")
    print(f"endpoints  {noted.service}  (through Serve's own proxy)")
    print(f"dashboard  {noted.dashboard}  (its token is in {noted.token_file})")
    print(f"jobs       bigray submit RECIPE --address {noted.dashboard} --token-file {noted.token_file}")
    print(f"ray        {noted.address}")
    print("models     bigray deploy ARTIFACT --name NAME")
    print("stop       bigray down")


def _serve(noted: Running, listen: Listen) -> Running:
    """Open the service, which lists no models yet."""
    from bigray import background

    noted.enter()
    from bigray.cluster import cluster
    from bigray.serve import config

    with cluster():
        config.deploy_all({}, listen=listen)
        noted = noted.model_copy(update={"service": config.base_url()})
    background.note(noted)
    return noted
