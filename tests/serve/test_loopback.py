"""The port that Ray 2.60 opens on all interfaces: moved to the loopback address where the node has one, else left."""

from __future__ import annotations

import ast
import logging
from pathlib import Path

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


def test_every_deployment_keeps_its_port() -> None:
    """Whatever is given to Serve begins with `loopback.keep`; a class that does not opens a port to other machines."""
    folder = Path(loopback.__file__).parent
    trees = {path: ast.parse(path.read_text()) for path in folder.glob("*.py")}
    given = {
        call.args[0].id
        for tree in trees.values()
        for call in ast.walk(tree)
        if isinstance(call, ast.Call)
        and ast.unparse(call.func) == "serve.deployment"
        and call.args
        and isinstance(call.args[0], ast.Name)
    }
    classes = [node for tree in trees.values() for node in ast.walk(tree) if isinstance(node, ast.ClassDef)]
    decorated = {
        one.name for one in classes if any(ast.unparse(d).startswith("serve.deployment") for d in one.decorator_list)
    }
    assert given | decorated >= {"Index", "Model"}
    for one in classes:
        if one.name in given | decorated:
            init = next(part for part in one.body if isinstance(part, ast.FunctionDef) and part.name == "__init__")
            assert ast.unparse(init.body[0]) == "loopback.keep()", one.name
