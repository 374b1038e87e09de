"""Keeps a replica's own listener on this machine where the whole Ray is on this machine.

Every replica opens a gRPC port for calls from other deployments, and Ray 2.60 opens it on all network interfaces
(``[::]:0`` in ``ray/serve/_private/replica.py``), even where each of Ray's other ports keeps to the loopback address.
"""

from __future__ import annotations

import ipaddress
import logging
from typing import Any

import ray

log = logging.getLogger("ray.serve")

_EVERYWHERE = "[::]"
_OPENER = "add_port_to_grpc_server"


def keep() -> None:
    """Have this replica open that port on the loopback address if its node is known by one; before it is ready.

    Callers reach a replica under the address of its node, so nobody is shut out who could have come in.
    """
    here = ray.util.get_node_ip_address()
    if not ipaddress.ip_address(here).is_loopback:
        return
    from ray.serve._private import replica

    inner = getattr(replica, _OPENER, None)
    if inner is None:  # another Ray: what it opens is not known
        log.warning("This Ray opens its replicas' ports in another way; they may be open to other machines.")
        return
    setattr(replica, _OPENER, _only(inner, f"[{here}]" if ":" in here else here))


def _only(inner: Any, here: str) -> Any:
    def opened(server: Any, address: str) -> Any:
        return inner(server, address.replace(_EVERYWHERE, here))

    return opened
