"""The command line: every verb explains itself, mistakes end in one message and the right exit code."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from bigray import demo, pipeline, plugins, samples
from bigray import recipe as recipes
from bigray.artifact import Manifest, create, now
from bigray.cli import main
from bigray.errors import DataError, NothingQualified, TrainingFailed
from bigray.models.base import build
from bigray.predictor import program
from bigray.schemas import CONTRACTS
from bigray.tasks import _speech, _vision
from bigray.tasks.text_classification import TASK

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """Run one command line in this process; return exit code, stdout and stderr."""

    def call(*words: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as left:
            main.run(words)
        shown = capsys.readouterr()
        return int(left.value.code or 0), shown.out, shown.err

    return call


@pytest.mark.parametrize("verb", main.VERBS)
def test_every_verb_explains_itself(run: Run, verb: str) -> None:
    code, out, _ = run(verb, "--help")
    assert code == 0
    assert out.startswith(f"Usage: bigray {verb}")
    if "Commands:" not in out:
        example = re.search(rf"Example:\s+bigray {verb}\b", out)
        assert example, "show how it is called"


def test_help_lists_every_verb_whole(run: Run) -> None:
    code, out, _ = run("--help")
    assert code == 0
    for verb in main.VERBS:
        assert f"  {verb} " in out
    files = {path.stem for path in Path(main.__file__).parent.glob("*.py") if not path.stem.startswith("_")}
    assert files == {*main.VERBS, "main"}


def test_version(run: Run) -> None:
    assert run("--version") == (0, "bigray 0.1.0\n", "")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("rnu",), "Did you mean 'run'"),
        (("run", "--dryrun"), "No such option"),
        (("run",), "give a recipe. Shipped:"),
        (("run", "nope"), "Cannot read the recipe 'nope'"),
        (("run", "text_classification.tiny", "--set", "train.epohcs=3"), "did you mean 'epochs'"),
        (("train", "nope.yaml"), "Cannot read the recipe"),
        (("search", "nope.yaml"), "Cannot read the recipe"),
        (("init", "text_clasification"), "Did you mean 'text_classification'"),
        (("predict", "nowhere", "text"), "no bigray artifact"),
        (("predict", "http://127.0.0.1:1/x", "text"), "names no model"),
        (("predict",), "Missing argument"),
        (("deploy", "nowhere", "--name", "x"), "no bigray artifact"),
        (("deploy", "nowhere"), "Missing option"),
        (("deploy", "nowhere", "--name", "x", "--port", "0"), "port"),
    ],
)
def test_mistakes_end_in_one_message_and_exit_code_2(run: Run, words: tuple[str, ...], message: str) -> None:
    code, out, err = run(*words)
    assert code == 2
    assert out == ""
    assert err.startswith("error: ")
    assert message in err
    assert "Traceback" not in err


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (NothingQualified("max_drop binds"), 3, "error: max_drop binds\n"),
        (TrainingFailed("no checkpoint"), 1, "error: no checkpoint\n"),
        (KeyboardInterrupt(), 130, ""),
        (ZeroDivisionError("a bug"), 1, "error: unexpected ZeroDivisionError: a bug\nRun again with --debug"),
    ],
)
def test_exit_codes(run: Run, monkeypatch: pytest.MonkeyPatch, error: BaseException, code: int, message: str) -> None:
    def fail() -> None:
        raise error

    monkeypatch.setattr(demo, "run", fail)
    got, out, err = run("demo")
    assert (got, out) == (code, "")
    assert err.startswith(message)


def test_debug_shows_the_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> None:
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr(demo, "run", fail)
    for words in (["--debug", "demo"], ["demo", "--debug"]):
        with pytest.raises(ZeroDivisionError):
            main.run(words)


def test_the_installed_command_leaves_no_traceback() -> None:
    command = [str(Path(sys.executable).parent / "bigray"), "run", "nope"]
    answer = subprocess.run(command, capture_output=True, text=True)
    assert (answer.returncode, answer.stdout) == (2, "")
    assert answer.stderr.count("\n") == 1


def test_a_reader_that_leaves_is_no_error() -> None:
    read, write = os.pipe()
    os.close(read)
    answer = subprocess.run(
        [sys.executable, "-m", "bigray.cli.main", "run", "--schema"], stdout=write, stderr=subprocess.PIPE
    )
    os.close(write)
    assert answer.returncode == 1
    assert answer.stderr == b""


def test_run_schema_checks_recipes(run: Run) -> None:
    code, out, _ = run("run", "--schema")
    assert code == 0
    schema = json.loads(out)
    jsonschema.Draft202012Validator.check_schema(schema)
    recipe = recipes.read("image_classification.tiny").model_dump(mode="json")
    jsonschema.validate(recipe, schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({**recipe, "sedd": 1}, schema)


def test_a_dry_run_prints_a_whole_recipe_and_what_there_is(run: Run, tmp_path: Path) -> None:
    code, out, err = run("run", "text_classification.tiny", "--dry-run", "--set", f"output={tmp_path}/out")
    assert (code, err) == (0, "")
    assert recipes.parse(out).output == f"{tmp_path}/out"
    assert yaml.safe_load(out)["serve"]["max_replicas"] == 2
    assert "# engine openvino: available" in out
    assert "# engine torch_eager: available" in out
    assert "# method quantize_dynamic: available" in out
    assert not (tmp_path / "out").exists()


def test_init_writes_once(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    rows = "".join(f"sentence {i},{'good' if i % 2 else 'bad'}\n" for i in range(30))
    (tmp_path / "rows.csv").write_text("text,label\n" + rows, encoding="utf-8")
    code, out, _ = run("init", "text_classification", "--data", "rows.csv")
    assert code == 0
    assert "bigray run recipe.yaml --dry-run" in out
    pipeline.check(recipes.read("recipe.yaml"))
    assert run("init", "text_classification")[0] == 2
    assert run("init", "text_classification", "--force")[0] == 0
    code, out, _ = run("init", "image_classification", "-o", "-")
    assert recipes.parse(out).task == "image_classification"
    code, _, err = run("init", "image_classification", "-o", "no/such/folder/recipe.yaml")
    assert code == 2
    assert "No such file or directory" in err


def test_doctor_tells_what_there_is(run: Run) -> None:
    code, out, _ = run("doctor")
    assert code == 0
    for word in ("python: 3.", "hardware:", "  torch ", "  ray 2.", "ok  openvino", "ok  quantize_static"):
        assert word in out


@pytest.fixture(scope="module")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A text classifier with random weights."""
    recipe = recipes.read("text_classification.tiny")
    rows = [{"text": f"word{i} and some more", "label": "good" if i % 2 else "bad"} for i in range(20)]
    task = TASK.prepare(recipe.data, recipe.model, rows)
    architecture = task.architecture(recipe.model)
    folder = tmp_path_factory.mktemp("model") / "artifact"
    from bigray import plugins

    with create(folder) as draft:
        task.save(draft.task_dir)
        network = build(architecture, pretrained=False).eval()
        plugins.load("bigray.engines", "openvino").ENGINE.export(program(task, network), draft.model_dir)
        draft.commit(Manifest(name="x", created=now(), task=recipe.task, architecture=architecture, engine="openvino"))
    return folder


def test_predict_answers_from_disk(run: Run, artifact: Path) -> None:
    code, out, _ = run("predict", str(artifact), "word1 and", "something else")
    assert code == 0
    answers = [json.loads(line) for line in out.splitlines()]
    assert [{label["label"] for label in answer} for answer in answers] == [{"good", "bad"}] * 2
    assert sum(label["score"] for label in answers[0]) == pytest.approx(1)


def test_predict_without_an_input_takes_the_sample(run: Run, artifact: Path) -> None:
    code, out, err = run("predict", str(artifact))
    assert code == 0
    assert {label["label"] for label in json.loads(out)} == {"good", "bad"}
    assert "samples/text_classification.txt" in err


@pytest.mark.parametrize("task", plugins.names("bigray.tasks"))
def test_every_task_has_a_sample_that_it_takes(task: str) -> None:
    file, contract = samples.locate(task), CONTRACTS[task]
    if contract.input is not None:
        contract.input.model_validate_json(file.read_bytes())
    elif contract.field == "text":
        assert file.read_text(encoding="utf-8").strip()
    elif contract.field == "image":
        assert min(_vision.decode_image(file.read_bytes()).shape[:2]) >= 8
    else:
        assert len(_speech.decode_audio(file.read_bytes(), 16_000)) > 4000


def test_predict_refuses_a_changed_artifact(run: Run, artifact: Path, tmp_path: Path) -> None:
    import shutil

    shutil.copytree(artifact, tmp_path / "copy")
    with next((tmp_path / "copy" / "model").glob("*.bin")).open("ab") as file:
        file.write(b"x")
    code, _, err = run("predict", str(tmp_path / "copy"), "word1")
    assert code == 2
    assert "has changed" in err


class FakeService(BaseHTTPRequestHandler):
    """Answers as a bigray service does, from fixed bodies."""

    ABOUT: dict[str, Any] = {
        "reviews": {"id": "reviews", "task": "text_classification", "engine": "openvino", "url": "/models/reviews"},
        "digits": {"id": "digits", "task": "image_classification", "engine": "onnxruntime", "url": "/models/digits"},
    }
    ASLEEP: dict[str, Any] = {"id": "idle", "task": "translation", "engine": "openvino", "replicas": {"wanted": 0}}

    def do_GET(self) -> None:
        parts = self.path.strip("/").split("/")
        if self.path == "/models":
            self.answer({"object": "list", "data": [*self.ABOUT.values(), self.ASLEEP]})
        elif parts == ["models", "digits", "healthz"]:
            self.answer({"status": 400, "detail": "loading", "code": "bad_request"}, 400)
        elif len(parts) == 3:
            self.answer({"status": "ok"})
        else:
            self.answer(self.ABOUT[parts[1]])

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        label = [{"label": body[:7].decode(errors="replace"), "score": 1.0}]
        self.answer([label] if "reviews" in self.path else label)

    def answer(self, body: object, status: int = 200) -> None:
        content = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def service() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), FakeService)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def test_predict_asks_a_service(run: Run, service: str, tmp_path: Path) -> None:
    code, out, err = run("predict", f"{service}/models/reviews", "a fine film")
    assert (code, err) == (0, "")
    assert json.loads(out) == [{"label": '{"input', "score": 1.0}]
    (tmp_path / "seven.png").write_bytes(b"\x89PNG...")
    code, out, _ = run("predict", f"{service}/models/digits/", str(tmp_path / "seven.png"))
    assert json.loads(out)[0]["label"].endswith("PNG...")
    code, _, err = run("predict", f"{service}/models/digits", "eight.png")
    assert code == 2
    assert "takes the path of an image file" in err


def test_status_lists_models(run: Run, service: str) -> None:
    code, out, err = run("status", "--url", service)
    assert (code, err) == (0, "")
    assert re.search(r"reviews\s+text_classification\s+openvino\s+\S+\s+ready", out)
    assert re.search(r"digits\s+image_classification\s+onnxruntime\s+\S+\s+not ready", out)
    assert re.search(r"idle\s+translation\s+openvino\s+\S+\s+asleep", out)


def test_an_input_of_several_fields_is_json() -> None:
    from bigray.cli.predict import _value
    from bigray.schemas import CONTRACTS

    contract = CONTRACTS["question_answering"]
    assert _value(contract, '{"question": "a", "context": "b"}') == {"question": "a", "context": "b"}
    for text in ("who?", '{"question": "a"}', "[1]"):
        with pytest.raises(DataError, match=r"This model takes JSON: .\{.question"):
            _value(contract, text)


def test_status_without_a_service_says_so(run: Run) -> None:
    code, _, err = run("status", "--url", "http://127.0.0.1:1")
    assert code == 1
    assert err.startswith("error: ")
    assert "No connection" in err


@pytest.mark.cluster
@pytest.mark.slow
@pytest.mark.parametrize("task", sorted(name for name in recipes.shipped() if name.endswith(".tiny")))
def test_every_tiny_recipe_runs_to_the_end(ray_cluster: None, run: Run, tmp_path: Path, task: str) -> None:
    code, out, err = run("run", task, "--set", f"output={tmp_path}")
    assert code in (0, 3), err
    folder = next(tmp_path.iterdir())
    assert (folder / "report.html").is_file()
    assert (folder / "results.json").is_file()
    if code == 0:
        assert "verdict" in out
        assert (folder / "artifact" / "bigray.json").is_file()


def test_keys(run: Run, tmp_path: Path) -> None:
    file = str(tmp_path / "keys.json")
    code, key, told = run("keys", "create", "website", "--per-minute", "60", "--file", file)
    assert code == 0
    assert key.startswith("bigray_")
    assert key.strip() not in told
    listed = run("keys", "list", "--file", file)[1]
    assert "website" in listed
    assert key.strip() not in listed
    assert run("keys", "create", "website", "--file", file)[0] == 2
    assert run("keys", "revoke", "website", "--file", file) == (0, "revoked website\n", "")
    code, _, told = run("keys", "revoke", "website", "--file", file)
    assert (code, "no key 'website'" in told) == (2, True)
    assert run("keys", "create", "x", "--scope", "root", "--file", file)[0] == 2


def test_opening_a_service_to_others_is_refused(run: Run, artifact: Path) -> None:
    code, _, told = run("deploy", str(artifact), "--name", "a", "--host", "0.0.0.0", "--no-auth")
    assert (code, "--insecure" in told) == (2, True)


def test_capacity_keeps_the_p95_of_the_recipe(run: Run, artifact: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(artifact, tmp_path / "artifact"))
    manifest = json.loads((folder / "bigray.json").read_text())
    times = [{"batch_size": 1, "p50_ms": 4.0}, {"batch_size": 16, "p50_ms": 34.0}]
    manifest |= {"latency": {"model": times}, "recipe": {"serve": {"p95_ms": 12}}}
    (folder / "bigray.json").write_text(json.dumps(manifest))

    def needed(*words: str) -> tuple[int, float]:
        code, out, err = run("capacity", str(folder), "--rps", "1000", *words)
        assert code == 0, err
        replicas, p95 = re.search(r"replicas +(\d+)", out), re.search(r"p95 +([\d.]+)", out)
        assert replicas
        assert p95
        return int(replicas[1]), float(p95[1])

    stated, loose = needed(), needed("--p95-ms", "60")
    assert stated[1] <= 12
    assert stated == needed("--p95-ms", "12")
    assert loose[0] < stated[0]
    code, _, err = run("capacity", str(folder), "--rps", "10", "--p95-ms", "3")
    assert code == 2
    assert "One inference takes 4 ms" in err
