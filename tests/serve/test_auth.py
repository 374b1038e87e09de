"""API keys: what is stored, who may pass, how fast, and that every other spelling of a path stays shut."""

from __future__ import annotations

import asyncio
import stat
import threading
from pathlib import Path
from typing import Any

import httpx
import pytest

from bigray.errors import BigrayError, Conflict, Forbidden, NotFound, RateLimited, Unauthorized, UserError
from bigray.serve import auth, edge
from bigray.serve.auth import Gate, create_key, read_keys, revoke_key


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "folder" / "keys.json"


def bearer(key: str) -> list[bytes]:
    return [f"Bearer {key}".encode("latin-1", "replace")]


def test_only_hashes_are_stored_and_only_for_the_owner(file: Path) -> None:
    kept, key = create_key(file, "website", scopes=["admin", "predict"], per_minute=60, days=1)
    text = file.read_text()
    assert key not in text
    assert key.rpartition("_")[2] not in text
    assert kept.sha256 in text
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
    assert kept.scopes == ("predict", "admin")
    assert [path.name for path in file.parent.iterdir() if path.name.startswith(".")] == [], "nothing half written"


def test_names_are_unique_and_keys_can_be_revoked(file: Path) -> None:
    kept, _ = create_key(file, "a")
    create_key(file, "b")
    with pytest.raises(Conflict, match="'a'"):
        create_key(file, "a")
    with pytest.raises(NotFound, match="a, b"):
        revoke_key(file, "c")
    assert revoke_key(file, kept.id).name == "a"
    assert [key.name for key in read_keys(file)] == ["b"]
    with pytest.raises(UserError, match="predict and admin"):
        create_key(file, "c", scopes=["root"])
    file.write_text("[{}]")
    with pytest.raises(UserError, match="cannot be read"):
        read_keys(file)


def test_writers_wait_for_each_other(file: Path) -> None:
    threads = [threading.Thread(target=create_key, args=(file, f"key{i}")) for i in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(read_keys(file)) == 12


def test_who_passes(file: Path) -> None:
    _, key = create_key(file, "a")
    _, admin = create_key(file, "b", scopes=["admin"])
    gate = Gate(file)
    assert gate.check("/models/x", bearer(key)).name == "a"  # type: ignore[union-attr]
    assert gate.check("/models/x", [f"bearer  {key} ".encode()]) is not None
    for path in ("/models/x", "/-/routes", "/anything"):
        assert gate.check(path, bearer(admin)) is not None
    with pytest.raises(Forbidden):
        gate.check("/-/routes", bearer(key))
    for path in ("/healthz", "/models/x/healthz", "/-/healthz"):
        assert gate.check(path, []) is None
    wrong = [key[:-1], f"{key}0", key.swapcase(), key.replace("bigray", "b"), "", "a b", "\xff\0", "é" * 100]
    wrong += [f"bigray_{'0' * 12}_{'0' * 64}", key[:20] + "0" * (len(key) - 20)]
    for given in wrong:
        with pytest.raises(Unauthorized):
            gate.check("/models/x", bearer(given))
    for header in (b"", b"Bearer", b"Basic dXNlcjpw", key.encode(), b"\xff\xfe"):
        with pytest.raises(Unauthorized):
            gate.check("/models/x", [header])
    with pytest.raises(BigrayError) as caught:
        gate.check("/models/x", bearer(key) * 2)
    assert (caught.value.status, caught.value.code) == (400, "bad_credentials")


def test_revoked_and_expired_keys(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _, key = create_key(file, "a")
    _, short = create_key(file, "b", days=1)
    monkeypatch.setattr(auth, "RELOAD_S", 0.0)
    gate = Gate(file)
    gate.check("/models/x", bearer(key))
    revoke_key(file, "a")
    with pytest.raises(Unauthorized):
        gate.check("/models/x", bearer(key))
    gate.check("/models/x", bearer(short))
    tomorrow = auth.time.time() + 90_000
    monkeypatch.setattr(auth.time, "time", lambda: tomorrow)
    with pytest.raises(Unauthorized) as caught:
        gate.check("/models/x", bearer(short))
    assert caught.value.code == "key_expired"


@pytest.mark.parametrize("content", [None, "[", "{}", '[{"id": 1}]'])
def test_a_lost_or_broken_file_lets_nobody_in(content: str | None, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _, key = create_key(file, "a")
    monkeypatch.setattr(auth, "RELOAD_S", 0.0)
    gate = Gate(file)
    gate.check("/models/x", bearer(key))
    if content is None:
        file.unlink()
    else:
        file.write_text(content)
    with pytest.raises(BigrayError) as caught:
        gate.check("/models/x", bearer(key))
    assert (caught.value.status, caught.value.code) == (503, "keys_unreadable")


def test_rate_limit_per_key(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _, slow = create_key(file, "slow", per_minute=2)
    _, other = create_key(file, "other", per_minute=1000)
    now = [1000.0]
    monkeypatch.setattr(auth.time, "monotonic", lambda: now[0])
    gate = Gate(file)
    for _ in range(2):
        gate.check("/models/x", bearer(slow))
    with pytest.raises(RateLimited) as caught:
        gate.check("/models/x", bearer(slow))
    assert caught.value.retry_after_s == 30
    gate.check("/models/x", bearer(other))
    now[0] += 29
    with pytest.raises(RateLimited):
        gate.check("/models/x", bearer(slow))
    now[0] += 2
    gate.check("/models/x", bearer(slow))


class App:
    """Counts who came through."""

    def __init__(self) -> None:
        self.scopes: list[Any] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.scopes.append(scope)
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"application/json")]})
        await send({"type": "http.response.body", "body": b"{}"})


def ask(app: App, gate: Gate, method: str, path: str, **more: Any) -> httpx.Response:
    async def run() -> httpx.Response:
        transport = httpx.ASGITransport(edge.Edge(app, gate))  # type: ignore[arg-type]
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            return await client.request(method, path, **more)

    return asyncio.run(run())


PATHS = ["/", "/models", "/models/x", "/models/x/v2/models/x/infer", "/models/x/openapi.json", "/-/routes"]
SPELLINGS = ["//models/x", "/Models/x", "/models/x/", "/models/%78", "/healthz/../models/x", "/healthz/", "/healthz%2f"]
SPELLINGS += ["/models/x/healthz/y", "/models/%2e%2e%2fhealthz", "/models/X/healthz", "/models/x/healthz%0a", "/docs"]


@pytest.mark.parametrize("path", PATHS + SPELLINGS)
def test_every_path_and_method_is_shut(path: str, file: Path) -> None:
    _, key = create_key(file, "a", scopes=["admin"])
    app, gate = App(), Gate(file)
    for method in ("GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS", "TRACE", "FOO"):
        response = ask(app, gate, method, f"http://test{path}?token={key}", headers={"origin": "https://evil"})
        assert response.status_code == 401, method
        assert response.headers["www-authenticate"] == "Bearer"
        assert "access-control-allow-origin" not in response.headers
    assert not app.scopes
    assert ask(app, gate, "POST", path, headers={"authorization": f"Bearer {key}"}).status_code == 200
    assert key not in str(app.scopes[0]["headers"]), "the key went further in than needed"


def test_refusals_speak_the_dialect_of_the_path(file: Path) -> None:
    create_key(file, "a")
    app, gate = App(), Gate(file)
    assert ask(app, gate, "POST", "/models/x").json()["code"] == "unauthorized"
    assert isinstance(ask(app, gate, "POST", "/models/x/v2/models/x/infer").json()["error"], str)
    assert ask(app, gate, "GET", "/models/x/v1/models").json()["error"]["type"] == "authentication_error"


def test_websockets_are_closed(file: Path) -> None:
    sent: list[Any] = []

    async def run() -> None:
        async def send(message: Any) -> None:
            sent.append(message)

        await edge.Edge(App(), Gate(file))({"type": "websocket", "headers": []}, None, send)  # type: ignore[arg-type]

    asyncio.run(run())
    assert sent == [{"type": "websocket.close", "code": 1008}]
