"""Where proxies listen and whom they let in: this machine only and no keys, unless said otherwise."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from pathlib import Path

from bigray.errors import UserError
from bigray.serve import edge

HOST, PORT = "127.0.0.1", 8000
LOOPBACK_NAMES = "localhost,127.0.0.1,::1"
SUPERVISION = {
    "RAY_SERVE_PROXY_HEALTH_CHECK_PERIOD_S": "0.5",
    "RAY_SERVE_PROXY_READY_CHECK_TIMEOUT_S": "30",
}
"""How soon a dead proxy is replaced. Serve asks each one every 10 s by default and acts on the third failure, which is
half a minute without a service; a proxy that is alive still has 10 s to answer. A new one has 30 s instead of 5 s to
start, after which it would be killed and begun again, on a busy machine without end."""


@dataclass(frozen=True)
class Listen:
    """What a service's front is told when it starts.

    Raises:
        UserError: Nothing is refused but what is unsafe or cannot work: see `check`.
    """

    host: str = HOST
    port: int = PORT
    keys: Path | None = None
    """File of API keys (see `bigray.serve.auth`), at a path that all nodes see; None lets everybody in."""
    certfile: Path | None = None
    """Certificate for HTTPS, with its chain, as PEM."""
    keyfile: Path | None = None
    """The certificate's private key, as PEM."""
    insecure: bool = False
    """Whether other machines may be answered without keys or without encryption."""

    @property
    def local(self) -> bool:
        """Whether only this machine can connect."""
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False

    @property
    def scheme(self) -> str:
        """``https`` where there is a certificate."""
        return "https" if self.certfile else "http"

    def check(self) -> None:
        """Refuse to answer other machines without keys and encryption, unless told so.

        Raises:
            UserError: ``unsafe_exposure``, or half a certificate.
        """
        if (self.certfile is None) != (self.keyfile is None):
            raise UserError("HTTPS takes both a certificate and its private key.", code="missing_certificate")
        for file in (self.certfile, self.keyfile):
            if file is not None and not file.is_file():
                raise UserError(f"There is no file {str(file)!r}.", code="missing_certificate")
        lacks = [word for word, there in (("API keys", self.keys), ("HTTPS", self.certfile)) if not there]
        if lacks and not self.local and not self.insecure:
            raise UserError(
                f"Listening on {self.host} lets other machines in, without {' and without '.join(lacks)}. Listen on "
                f"{HOST}, give --keys, --certfile and --keyfile, or say --insecure if something in front does both.",
                code="unsafe_exposure",
            )

    def environment(self) -> dict[str, str]:
        """Return the environment of Serve's controller, which proxies inherit."""
        told = {edge.CALLBACK: edge.IMPORT_PATH, **SUPERVISION}
        if self.keys is not None:
            told[edge.KEYS] = str(self.keys.resolve())
        if self.local:  # a page of another site must not reach us under a name that leads here
            told[edge.HOSTS] = LOOPBACK_NAMES
        return told


LOCAL = Listen()
"""The default: this machine, everybody on it."""
