"""The console over HTTP: who gets the page, its headers, that it needs nothing from elsewhere, and the numbers it shows."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.requests import Request

from bigray.serve import auth, edge, live, pages
from bigray.serve.auth import Gate, create_key

BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,*/*;q=0.8"
SOURCES = {path.name: path.read_text(encoding="utf-8") for path in sorted(pages.FOLDER.iterdir())}


@pytest.mark.parametrize(
    ("accept", "html"),
    [
        (BROWSER, True),
        ("text/html", True),
        ("TEXT/HTML;q=0.5", True),
        ("application/json, text/html;q=0.9", False),
        ("text/html, application/json", True),
        ("text/html;q=0", False),
        ("text/html;q=x", False),
        ("*/*", False),
        ("text/*", False),
        ("application/json", False),
        ("", False),
    ],
)
def test_browsers_get_the_page_and_programs_json(accept: str, html: bool) -> None:
    assert pages.wants_html([accept] if accept else []) is html
    assert (pages.name_of("GET", "/", [accept]) == pages.PAGE) is html


def test_only_our_own_files_are_served() -> None:
    assert pages.name_of("HEAD", "/console/app.js", []) == "app.js"
    for path in (
        "/console/",
        "/console",
        "/console/../auth.py",
        "/console/app.js/",
        "//console/app.js",
        "/console/none",
    ):
        assert pages.name_of("GET", path, [BROWSER]) is None, path
    for method in ("POST", "PUT", "DELETE", "OPTIONS"):
        assert pages.name_of(method, "/", [BROWSER]) is None
        assert pages.name_of(method, "/console/app.js", []) is None
    assert set(pages.files()) == set(SOURCES), "every file of the folder has a type"


def test_headers_and_caching() -> None:
    first = pages.answer(pages.PAGE, None)
    assert (first.status_code, first.media_type, first.headers["vary"]) == (200, "text/html", "accept")
    policy = dict(part.split(" ", 1) for part in first.headers["content-security-policy"].split("; "))
    assert policy["default-src"] == "'none'"
    assert policy["script-src"] == policy["style-src"] == policy["connect-src"] == "'self'"
    assert policy["require-trusted-types-for"] == "'script'"
    assert "unsafe" not in str(policy)
    assert first.headers["x-content-type-options"] == "nosniff"
    assert first.headers["cache-control"] == "no-cache"
    again = pages.answer(pages.PAGE, f'"other", W/{first.headers["etag"]}')
    assert (again.status_code, again.body) == (304, b"")
    assert pages.answer("app.js", first.headers["etag"]).status_code == 200
    assert pages.answer("app.js", None).headers["content-type"].startswith("text/javascript")


def test_nothing_comes_from_elsewhere() -> None:
    for name, text in SOURCES.items():
        addresses = set(re.findall(r"(?:https?:)?//[\w.-]+\.\w+[^\s\"')]*", text))
        assert addresses <= {"http://www.w3.org/2000/svg"}, name
        assert "@import" not in text
        assert not re.search(r"url\(", text), name
    page = SOURCES[pages.PAGE]
    assert set(re.findall(r'(?:src|href)="([^"#]+)"', page)) == {
        "console/app.js",
        "console/icon.svg",
        "console/style.css",
    }
    assert "<style" not in page
    assert not re.search(r"<script(?![^>]*src=)", page), "the policy forbids scripts in the page itself"
    assert not re.search(r"\son\w+=|\sstyle=", page)
    for name, text in SOURCES.items():
        if name.endswith(".js"):
            imported = re.findall(r'from "([^"]+)"', text)
            assert all(one.startswith("./") and one[2:] in SOURCES for one in imported), name
            assert "import(" not in text


def test_no_text_ever_becomes_markup() -> None:
    ways = r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|DOMParser|createContextualFragment|setHTML|eval\(|new Function|srcdoc"
    for name, text in SOURCES.items():
        assert not re.search(ways, text), name
        assert not re.search(r"localStorage|document\.cookie|indexedDB", text), f"{name}: a key stays in its tab"
        assert text.count("\n") <= 400, name


class App:
    """Counts who came through."""

    def __init__(self) -> None:
        self.passed: list[str] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.passed.append(scope["path"])
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/html")]})
        await send({"type": "http.response.body", "body": b""})


def ask(app: Any, path: str, method: str = "GET", **headers: str) -> httpx.Response:
    async def run() -> httpx.Response:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost") as client:
            return await client.request(method, path, headers=headers)

    return asyncio.run(run())


def test_the_page_passes_without_a_key_and_nothing_else_does(tmp_path: Path) -> None:
    _, key = create_key(tmp_path / "keys.json", "a")
    _, admin = create_key(tmp_path / "keys.json", "b", scopes=["admin"])
    app = App()
    front = edge.Edge(app, Gate(tmp_path / "keys.json"), frozenset({"localhost"}))
    for path in ("/", *(f"/console/{name}" for name in SOURCES)):
        assert ask(front, path, accept=BROWSER).status_code == 200, path
    for path in (
        "/models",
        "/live",
        "/runs",
        "/models/x",
        "/console/",
        "/console/none.js",
        "/console/%2e%2e/x",
        "/index.html",
    ):
        assert ask(front, path, accept=BROWSER).status_code == 401, path
    for method in ("POST", "PUT", "DELETE", "OPTIONS"):
        assert ask(front, "/", method, accept=BROWSER).status_code == 401
    assert ask(front, "/", accept="*/*").status_code == 401, "the list of models needs a key"
    assert ask(front, "/", accept=BROWSER, host="evil.example").status_code == 403, (
        "another name must not reach the page"
    )
    assert ask(front, "/models", authorization=f"Bearer {key}").status_code == 200
    for path in ("/live", "/runs"):
        assert ask(front, path, authorization=f"Bearer {key}").json()["code"] == "missing_scope"
        assert ask(front, path, authorization=f"Bearer {admin}").status_code == 200
    assert not auth.is_health("/console/app.js")


class Index:
    """The index without Serve around it."""

    def __init__(self, runs: Path) -> None:
        from bigray.serve.index import Index as Real

        self.real = Real(str(runs))

        async def models() -> list[dict[str, Any]]:
            return [{"id": "texts", "url": "/models/texts"}]

        self.real._list = models  # type: ignore[method-assign]

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        response = await self.real(Request(scope, receive))
        await response(scope, receive, send)


def test_the_index_answers_both_and_refuses_in_the_right_dialect(tmp_path: Path) -> None:
    index = Index(tmp_path / "none")
    page = ask(index, "/", accept=BROWSER)
    assert page.text == SOURCES[pages.PAGE]
    assert page.headers["x-request-id"]
    assert ask(index, "/", accept="application/json").json()["models"] == {"texts": "/models/texts"}
    assert ask(index, "/").json()["service"] == "bigray"
    assert ask(index, "/console/style.css").headers["content-type"].startswith("text/css")
    assert ask(index, "/", accept=BROWSER, **{"if-none-match": page.headers["etag"]}).status_code == 304
    for path in ("/console/none.js", "/console/../index.py", "/nothing"):
        missing = ask(index, path, accept=BROWSER)
        assert (missing.status_code, missing.headers["content-type"]) == (404, "application/problem+json"), path
    assert isinstance(ask(index, "/models/nothing/v2").json()["error"], str)
    assert ask(index, "/runs").json() == {"object": "list", "data": []}
    told = ask(index, "/live").json()
    assert told["models"]["texts"] == {
        "reporting": 0,
        "requests": 0,
        "rate_per_s": 0.0,
        "p50_ms": None,
        "p95_ms": None,
        "refused": 0,
        "failed": 0,
        "per_second": [0] * live.WINDOW_S,
    }
