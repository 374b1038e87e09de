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
    haproxy: Annotated[
        bool, typer.Option("--haproxy/--no-haproxy", help="Take requests in through HAProxy, where that is possible.")
    ] = True,
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
            noted = _start(listen, cpus, haproxy)
            try:
                noted = _serve(noted, listen)
            except BaseException:
                background.stop()
                raise
        else:
            print("runs already; options of this call were not looked at")
    print(f"endpoints  {noted.service}  (through {noted.ingress})")
    print(f"dashboard  {noted.dashboard}  (its token is in {noted.token_file})")
    print(f"jobs       bigray submit RECIPE --address {noted.dashboard} --token-file {noted.token_file}")
    print(f"ray        {noted.address}")
    print("models     bigray deploy ARTIFACT --name NAME")
    print("stop       bigray down")


def _start(listen: Listen, cpus: int | None, haproxy: bool) -> Running:
    """Start a Ray, with what its processes must know of what takes the requests in."""
    from bigray import background
    from bigray.serve import ingress

    unfit = ingress.why_not(listen) if haproxy else "as told"
    folder = background.make_folder()
    environment = {**listen.environment(), **ingress.environment(folder)} if unfit is None else {}
    through = "HAProxy" if unfit is None else f"Serve's own proxy: {unfit}"
    return background.start(folder, environment, cpus=cpus).model_copy(update={"ingress": through})


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
