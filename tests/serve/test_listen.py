"""Where a service may listen, and what its proxies are told."""

from __future__ import annotations

from pathlib import Path

import pytest

from bigray.errors import UserError
from bigray.serve import edge
from bigray.serve.auth import create_key
from bigray.serve.listen import SUPERVISION, Listen


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    for name in ("keys", "certfile", "keyfile"):
        (tmp_path / name).write_text("[]")
    return {name: tmp_path / name for name in ("keys", "certfile", "keyfile")}


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1", "127.8.0.1"])
def test_this_machine_needs_nothing(host: str) -> None:
    listen = Listen(host)
    listen.check()
    assert edge.KEYS not in listen.environment()
    assert "localhost" in listen.environment()[edge.HOSTS]


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.1", "example.org", "0", "2130706433"])
def test_others_need_keys_and_https(host: str, files: dict[str, Path]) -> None:
    for given, message in (
        ({}, "API keys and without HTTPS"),
        ({"keys": files["keys"]}, "without HTTPS"),
        ({"certfile": files["certfile"], "keyfile": files["keyfile"]}, "without API keys"),
    ):
        with pytest.raises(UserError, match=message) as caught:
            Listen(host, **given).check()  # type: ignore[arg-type]
        assert caught.value.code == "unsafe_exposure"
    Listen(host, insecure=True).check()
    whole = Listen(host, **files)  # type: ignore[arg-type]
    whole.check()
    assert whole.environment() == {edge.CALLBACK: edge.IMPORT_PATH, edge.KEYS: str(files["keys"]), **SUPERVISION}


def test_half_a_certificate(files: dict[str, Path]) -> None:
    with pytest.raises(UserError, match="private key"):
        Listen(certfile=files["certfile"]).check()
    with pytest.raises(UserError, match="no file"):
        Listen(certfile=files["certfile"], keyfile=Path("/nowhere.pem")).check()


def test_command_line_asks_for_keys_where_they_are_needed(tmp_path: Path) -> None:
    from bigray.cli._listen import listen

    file = tmp_path / "keys.json"
    assert listen("127.0.0.1", 1, None, None, None, None, False).keys is None
    assert listen("0.0.0.0", 1, None, None, None, None, True).keys is None
    with pytest.raises(UserError, match="bigray keys create"):
        listen("127.0.0.1", 1, True, file, None, None, False)
    create_key(file, "a")
    assert listen("127.0.0.1", 1, None, file, None, None, False).keys == file
    assert listen("0.0.0.0", 1, True, file, None, None, True).keys == file
    with pytest.raises(UserError, match="without HTTPS"):
        listen("0.0.0.0", 1, None, file, None, None, False)
