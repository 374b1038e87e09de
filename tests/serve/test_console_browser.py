"""The console in a real headless Chromium, against real models: seen, used with mouse and keyboard, and attacked."""

from __future__ import annotations

import base64
import json
import os
import re
import shutil
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cases import png
from conftest import NAMES
from starlette.requests import Request

from bigray import runs
from bigray.serve.auth import Gate, create_key

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed: pip install bigray[dev]")
expect = sync_api.expect

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = [
    pytest.mark.cluster,
    pytest.mark.skipif(CHROMIUM is None, reason="no chromium, chromium-browser or google-chrome on this machine"),
]
EVIL = "<img src=x onerror=window.hacked=1>"
WAIT_MS = 20_000


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    arguments = ["--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"]
    arguments += ["--no-sandbox"] if os.geteuid() == 0 else []
    with sync_api.sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=CHROMIUM, args=arguments)
        yield opened
        opened.close()


class Tab:
    """A page that notes what it should not do."""

    def __init__(self, context: Any, base: str) -> None:
        self.base = base
        self.page = context.new_page()
        self.page.set_default_timeout(WAIT_MS)
        self.errors: list[str] = []
        self.elsewhere: list[str] = []
        self.page.on("console", lambda message: message.type == "error" and self.errors.append(message.text))
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.on("dialog", lambda dialog: (self.errors.append(dialog.message), dialog.dismiss()))
        self.page.on("request", self._asked)

    def _asked(self, request: Any) -> None:
        if not request.url.startswith((f"{self.base}/", f"blob:{self.base}/")):
            self.elsewhere.append(request.url)

    def open(self, where: str = "") -> Any:
        self.page.goto(f"{self.base}/{where}")
        return self.page


def opened(browser: Any, base: str, **options: Any) -> Iterator[Tab]:
    context = browser.new_context(viewport={"width": 1280, "height": 900}, **options)
    tab = Tab(context, base)
    yield tab
    found = tab.page.evaluate("() => window.hacked")
    context.close()
    assert found is None, "text was run as markup"
    assert tab.errors == []
    assert tab.elsewhere == [], "the page asked somebody else"


@pytest.fixture
def tab(browser: Any, service: str) -> Iterator[Tab]:
    yield from opened(browser, service)


@pytest.fixture
def dark(browser: Any, service: str) -> Iterator[Tab]:
    yield from opened(browser, service, color_scheme="dark")


def run(page: Any) -> Any:
    page.get_by_role("button", name="Run", exact=True).click()
    expect(page.get_by_text("Answered in")).to_be_visible(timeout=WAIT_MS)
    return page.get_by_role("region", name="Answer", exact=True)


def image(width: int = 64, height: int = 48) -> dict[str, Any]:
    return {"name": "picture.png", "mimeType": "image/png", "buffer": png(width, height)}


def test_models_are_listed_tried_and_counted(tab: Tab) -> None:
    page = tab.open()
    table = page.get_by_role("table", name="Models")
    expect(table.get_by_role("row")).to_have_count(len(NAMES) + 1)
    assert table.get_by_role("rowheader").all_inner_texts() == sorted(NAMES.values())
    page.get_by_role("link", name="texts", exact=True).click()
    expect(page.get_by_role("heading", name="texts", level=1)).to_be_focused()
    page.get_by_label("Text", exact=True).fill("a good film")
    answer = run(page)
    assert sorted(answer.get_by_role("rowheader").all_inner_texts()) == ["a", "b", "c"]
    assert re.search(r"\d+\.\d %", answer.inner_text())
    expect(page.locator(".status")).to_contain_text(re.compile("[0-9a-f]{8}-"))  # the request's id
    page.get_by_role("link", name="Models", exact=True).first.click()
    row = page.get_by_role("row", name="texts")
    expect(row.get_by_role("cell").nth(7)).to_contain_text("ms", timeout=WAIT_MS)  # p50, from the replica itself
    expect(row.get_by_role("cell").nth(4)).to_have_text("1")


def test_boxes_are_drawn_where_the_detector_saw_them(tab: Tab) -> None:
    page = tab.open("#/models/objects")
    page.locator("input[type=file]").set_input_files(image())
    answer = run(page)
    answer.get_by_role("slider").focus()
    page.keyboard.press("Home")
    boxes = page.locator(".box")
    expect(boxes.first).to_be_visible()
    canvas = page.locator(".canvas").bounding_box()
    for place in (box.bounding_box() for box in boxes.all()):
        assert canvas["x"] - 1 <= place["x"] <= place["x"] + place["width"] <= canvas["x"] + canvas["width"] + 1
        assert canvas["y"] - 1 <= place["y"] <= place["y"] + place["height"] <= canvas["y"] + canvas["height"] + 1
    expect(answer.locator("caption")).to_contain_text(f"{boxes.count()} object")
    page.locator("input[type=file]").set_input_files(image(80, 40))
    expect(answer).to_be_empty()  # an answer to another image must not stay


def test_a_long_context_has_its_answer_marked_and_its_markup_is_text(tab: Tab) -> None:
    page = tab.open("#/models/questions")
    context = f"😀 {EVIL} Ada came home at nine."
    page.get_by_label("Question").fill("When?")
    page.get_by_label("Context").fill(context)
    with page.expect_response("**/models/questions") as caught:
        answer = run(page)
    found = caught.value.json()
    expect(answer.locator("mark")).to_have_text(found["answer"])
    assert answer.locator("blockquote").inner_text() == context
    assert answer.locator("img").count() == 0


def test_a_recording_is_sent_as_wav(tab: Tab) -> None:
    page = tab.open("#/models/speech")
    page.get_by_role("button", name="Record").click()
    page.wait_for_timeout(700)
    page.get_by_role("button", name="Stop").click()
    expect(page.locator("audio")).to_be_visible(timeout=WAIT_MS)
    with page.expect_request("**/models/speech") as caught:
        run(page)
    sent = base64.b64decode(json.loads(caught.value.post_data)["inputs"])
    assert (sent[:4], sent[8:12]) == (b"RIFF", b"WAVE")
    assert int.from_bytes(sent[24:28], "little") == 16_000
    assert len(sent) > 8000


def test_two_faces_are_compared(tab: Tab) -> None:
    page = tab.open("#/models/faces")
    for number in range(2):
        page.locator("input[type=file]").nth(number).set_input_files(image())
    assert "Similarity 1.000" in run(page).inner_text()


def test_keyboard_alone_is_enough(tab: Tab) -> None:
    page = tab.open()
    page.get_by_role("link", name="texts", exact=True).wait_for()

    def press_until(name: str, key: str = "Tab") -> None:
        for _ in range(40):
            page.keyboard.press(key)
            told = page.evaluate("() => { const e = document.activeElement; return e.textContent || e.id }")
            style = page.evaluate("() => getComputedStyle(document.activeElement).outlineStyle")
            assert style != "none", f"{told} shows no focus"
            if told.strip() == name:
                return
        raise AssertionError(f"{name} is not reached")

    page.keyboard.press("Tab")
    assert page.evaluate("() => document.activeElement.className") == "skip"
    press_until("texts")
    page.keyboard.press("Enter")
    page.locator("form.try").wait_for()
    for _ in range(12):
        page.keyboard.press("Tab")
        if page.evaluate("() => document.activeElement.tagName") == "TEXTAREA":
            break
    page.keyboard.type("a good film")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(page.get_by_role("region", name="Answer", exact=True).get_by_role("table")).to_be_visible(timeout=WAIT_MS)


def test_refusals_are_told_in_words(tab: Tab) -> None:
    page = tab.open("#/models/texts")
    page.get_by_label("Text", exact=True).fill("  ")
    page.get_by_role("button", name="Run", exact=True).click()
    expect(page.get_by_role("alert").filter(has_text="422 empty_text")).to_be_visible(timeout=WAIT_MS)
    tab.errors = [one for one in tab.errors if "422" not in one]  # Chromium notes each refusal


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_both_themes_and_narrow_screens_are_accessible(scheme: str, request: pytest.FixtureRequest) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe-playwright-python is not installed")
    tab: Tab = request.getfixturevalue("tab" if scheme == "light" else "dark")
    for width, where in ((1280, ""), (360, ""), (1280, "#/models/texts"), (360, "#/models/objects"), (360, "#/runs")):
        tab.page.set_viewport_size({"width": width, "height": 800})
        page = tab.open(where)
        page.reload()
        page.locator("h1").wait_for()
        page.wait_for_load_state("networkidle")
        found = axe.Axe().run(page)
        assert found.violations_count == 0, f"{where} at {width}: {found.generate_report()}"
        assert page.evaluate("() => document.documentElement.scrollWidth") <= width, where
        shade = page.evaluate("() => getComputedStyle(document.body).backgroundColor.match(/\\d+/g).map(Number)")
        assert (max(shade) < 60) == (scheme == "dark")


def test_names_from_elsewhere_stay_text(tab: Tab) -> None:
    model = {"id": EVIL, "task": EVIL, "engine": EVIL, "version": EVIL, "status": EVIL, "labels": [EVIL]}
    more = {"canary": {"version": EVIL, "share": 0.1, "state": EVIL}, "steps": [{"method": EVIL}]}
    point = {"label": EVIL, "kind": "chosen", "quality": 0.5, "p50_ms": 1, "p95_ms": 2, "size_bytes": 9, "speedup": 1}
    front = {"metric": EVIL, "higher_is_better": True, "max_drop": 1, "tried": 1, "points": [point]}
    version = {"id": EVIL, "deployed": EVIL, "rolled_back": True}
    event = {"at": EVIL, "what": EVIL, "version": EVIL, "reason": EVIL, "by": EVIL}
    canary = {"version": version, "share": 0.1, "state": EVIL, "waiting_for": EVIL}
    rollout = {"running": "a", "versions": [version], "canary": canary, "decisions": [event]}
    whole = {
        **model,
        **more,
        "front": front,
        "rollout": rollout,
        "verdict": {"qualified": True, "reason": EVIL},
        "thresholds": None,
    }
    page = tab.page
    page.route("**/models", lambda route: route.fulfill(json={"data": [{**model, **more}]}))
    page.route("**/models/*", lambda route: route.fulfill(json=whole))
    tab.open()
    page.get_by_role("link", name=EVIL).click()
    expect(page.get_by_role("heading", name=EVIL, level=1)).to_be_visible()
    expect(page.get_by_role("heading", name="Quality against latency")).to_be_visible()
    expect(page.get_by_role("table", name="Canary beside the present version")).to_be_visible()
    page.get_by_label("Inputs, as JSON").fill(json.dumps(EVIL))
    page.unroute("**/models/*")
    page.route("**/models/*", lambda route: route.fulfill(json=[EVIL]))
    assert EVIL in run(page).inner_text()
    assert page.locator("main img").count() == 0


class Front:
    """The real edge and index without Serve, with API keys and a folder of runs."""

    def __init__(self, folder: Path) -> None:
        import uvicorn

        from bigray.serve.edge import Edge
        from bigray.serve.index import Index

        index = Index(str(folder / "runs"))

        async def models() -> list[dict[str, Any]]:
            return [{"id": "texts", "task": "text_classification", "status": "RUNNING", "url": "/models/texts"}]

        index._list = models  # type: ignore[method-assign]

        async def app(scope: Any, receive: Any, send: Any) -> None:
            response = await index(Request(scope, receive))
            await response(scope, receive, send)

        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        edge = Edge(app, Gate(folder / "keys.json"))  # type: ignore[arg-type]
        self.server = uvicorn.Server(uvicorn.Config(edge, port=self.port, log_level="error", lifespan="off"))  # type: ignore[arg-type]
        self.thread = threading.Thread(target=self.server.run, daemon=True)
        self.thread.start()
        while not self.server.started:
            time.sleep(0.02)


@pytest.fixture
def locked(browser: Any, tmp_path: Path) -> Iterator[tuple[Tab, dict[str, str]]]:
    keys = {scope: create_key(tmp_path / "keys.json", scope, scopes=[scope])[1] for scope in ("predict", "admin")}
    record = runs.Record(
        name="reviews",
        task="text_classification",
        metric="accuracy",
        higher_is_better=True,
        stage="train",
        epochs=4,
        share=0.5,
        history=[{"epoch": i, "loss": 0.7 / (i + 1), "accuracy": 0.6 + i / 10, "seconds": 2.0} for i in range(2)],
    )
    (tmp_path / "runs" / "reviews").mkdir(parents=True)
    (tmp_path / "runs" / "reviews" / runs.FILE).write_text(record.model_dump_json())
    front = Front(tmp_path)
    for tab in opened(browser, f"http://127.0.0.1:{front.port}"):
        yield tab, keys
        tab.errors = [one for one in tab.errors if "401" not in one and "403" not in one]  # Chromium notes refusals
    front.server.should_exit = True
    front.thread.join(10)


def test_a_key_is_asked_for_kept_in_the_tab_and_forgotten(locked: tuple[Tab, dict[str, str]]) -> None:
    tab, keys = locked
    page = tab.open()
    field = page.get_by_label("API key", exact=True)
    expect(field).to_be_focused()
    field.fill("bigray_wrong")
    page.keyboard.press("Enter")
    expect(page.get_by_text("Send a valid API key")).to_be_visible()
    field.fill(keys["predict"])
    page.keyboard.press("Enter")
    expect(page.get_by_role("link", name="texts", exact=True)).to_be_visible()
    expect(page.get_by_text("This key may not see live numbers")).to_be_visible()
    assert page.evaluate("() => [Object.keys(localStorage).length, document.cookie]") == [0, ""]
    assert keys["predict"] not in page.content()
    page.get_by_role("button", name="API key").click()
    page.get_by_role("button", name="Forget the key").click()
    expect(field).to_be_visible()
    assert page.evaluate("() => sessionStorage.length") == 0
    field.fill(keys["admin"])
    page.keyboard.press("Enter")
    page.get_by_role("link", name="Training runs").click()
    row = page.get_by_role("row", name="reviews")
    expect(row).to_contain_text("2 of 4")
    expect(row).to_contain_text("accuracy 0.7000")
    expect(page.get_by_role("progressbar")).to_have_attribute("value", "0.5")
    expect(
        page.get_by_role("img", name=re.compile("^Training loss after each epoch: 0.7 at first, 0.35"))
    ).to_be_visible()
