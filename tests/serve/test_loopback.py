"""The port that Ray 2.60 opens on all interfaces: moved to the loopback address where the node has one, else left."""

from __future__ import annotations

import logging

import pytest
import ray
from ray.serve._private import replica

from bigray.serve import loopback


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What Ray's own function is asked to open."""
    addresses: list[str] = []
    monkeypatch.setattr(replica, loopback._OPENER, lambda server, address: addresses.append(address))
    return addresses


@pytest.mark.parametrize(("node", "expected"), [("127.0.0.1", "127.0.0.1:0"), ("10.1.2.3", "[::]:0")])
def test_address(monkeypatch: pytest.MonkeyPatch, opened: list[str], node: str, expected: str) -> None:
    monkeypatch.setattr(ray.util, "get_node_ip_address", lambda: node)
    loopback.keep()
    replica.add_port_to_grpc_server(None, "[::]:0")
    assert opened == [expected]


def test_another_ray_is_told_of(
    monkeypatch: pytest.MonkeyPatch, opened: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(ray.util, "get_node_ip_address", lambda: "127.0.0.1")
    monkeypatch.delattr(replica, loopback._OPENER)
    monkeypatch.setattr(loopback.log, "propagate", True)
    with caplog.at_level(logging.WARNING):
        loopback.keep()
    assert "open to other machines" in caplog.text
