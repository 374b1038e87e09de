"""The walls of the house, held by reading the source: who imports whom, where Ray stands, what stays light."""

from __future__ import annotations

import ast
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

import bigray
from bigray import plugins

ROOT = Path(__file__).parent.parent
SOURCE = ROOT / "bigray"
MAX_LINES = 400

FLOORS = (
    {"errors", "charts"},
    {"plugins", "schemas", "strict_yaml", "recipe_problems", "head", "polling", "capacity"},
    {"recipe", "recipes", "samples", "metrics"},
    {"models"},
    {"artifact", "engines", "tasks"},
    {"results", "predictor", "data"},
    {"evaluate", "measure", "listening", "front", "runs"},
    {"train", "compress", "serve"},
    {"report", "recovery", "digest", "bundle", "cluster", "inventory", "probe", "progress", "client", "background"},
    {"pipeline", "jobs"},
    {"demo"},
    {"cli"},
)
"""From the ground up. What stands on a floor may import what stands on lower ones, and within itself, nothing else."""

NARROW = {
    "client": {"errors", "schemas"},
    "tasks": {"errors", "schemas", "recipe", "models", "metrics", "plugins"},
    "engines": {"errors", "models"},
    "models": {"errors", "recipe", "plugins"},
    "schemas": set(),
    "errors": set(),
}
"""Those that may import less than their floor allows."""

RAY = {
    "bigray.background",
    "bigray.cluster",
    "bigray.compress.proposer",
    "bigray.compress.search",
    "bigray.data.sources",
    "bigray.demo",
    "bigray.head",
    "bigray.jobs",
    "bigray.train.data",
    "bigray.train.loop",
    "bigray.train.recover_group",
    "bigray.train.trainer",
}
"""Modules that import Ray; all of bigray.serve may as well."""

PLUGINS = {
    "bigray.tasks": (
        "automatic_speech_recognition",
        "face_recognition",
        "image_classification",
        "object_detection",
        "question_answering",
        "speaker_recognition",
        "summarization",
        "text_classification",
        "text_to_speech",
        "translation",
    ),
    "bigray.engines": ("onnxruntime", "openvino", "torch_eager", "torch_gpu"),
    "bigray.compress.methods": (
        "bfloat16",
        "drop_layers",
        "low_rank",
        "prune_2_4",
        "prune_magnitude",
        "prune_structured",
        "quantize_aware",
        "quantize_dynamic",
        "quantize_fp8",
        "quantize_static",
        "quantize_weight_only",
        "shorten_window",
        "trim_vocabulary",
    ),
    "bigray.models": ("cnn", "detector", "fastspeech", "ffnn", "lenet", "rnn", "transformer"),
    "bigray.data.augment": (
        "add_noise",
        "add_silence",
        "add_typos",
        "brightness",
        "change_speed",
        "change_voice",
        "crop",
        "crop_words",
        "drop_words",
        "excerpt",
        "flip",
        "gain",
        "mask_spectrum",
        "rotate",
        "scale",
        "swap_words",
    ),
    "bigray.serve.dialects": ("huggingface", "openai", "openinference"),
    "bigray.data.catalogue": (
        "announcements",
        "digits",
        "faces",
        "rated_sentences",
        "shapes",
        "spoken_words",
        "voices",
    ),
}
"""Names that stand in recipes and artifacts. Adding one is fine; renaming or removing one breaks files of users."""


@dataclass(frozen=True)
class Import:
    """One import statement's target."""

    source: str
    target: str
    late: bool
    """Inside a function."""
    typing_only: bool


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


FILES = {module_name(path): path for path in sorted(SOURCE.rglob("*.py"))}
TREES = {name: ast.parse(path.read_text(encoding="utf-8")) for name, path in FILES.items()}


def imports_of(name: str) -> Iterator[Import]:
    def walk(node: ast.AST, late: bool, typing_only: bool) -> Iterator[Import]:
        for child in ast.iter_child_nodes(node):
            inside = late or isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
            guarded = typing_only or (isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test))
            if isinstance(child, ast.Import):
                yield from (Import(name, alias.name, inside, guarded) for alias in child.names)
            elif isinstance(child, ast.ImportFrom):
                assert child.level == 0, f"{name}: relative import"
                for alias in child.names:
                    whole = f"{child.module}.{alias.name}"
                    yield Import(name, whole if whole in FILES else child.module or "", inside, guarded)
            yield from walk(child, inside, guarded)

    yield from walk(TREES[name], False, False)


IMPORTS = [found for name in FILES for found in imports_of(name)]
OWN = [found for found in IMPORTS if found.target.split(".")[0] == "bigray" and not found.typing_only]


def room(module: str) -> str:
    """Return the part of a module's name that the floors are about; "" for the package itself."""
    return module.split(".")[1] if "." in module else ""


def test_every_room_has_a_floor() -> None:
    built = {room(name) for name in FILES} - {""}
    planned = set().union(*FLOORS)
    assert built - planned == set(), "give the new file or folder a floor in this test"


def test_imports_only_lead_down() -> None:
    floor = {name: number for number, names in enumerate(FLOORS) for name in names}
    wrong = [
        f"{found.source} imports {found.target}"
        for found in OWN
        if room(found.source) != room(found.target)
        and room(found.source)
        and room(found.target)
        and floor[room(found.source)] <= floor[room(found.target)]
    ]
    assert wrong == []


def test_narrow_rooms_import_little() -> None:
    wrong = [
        f"{found.source} imports {found.target}"
        for found in OWN
        if room(found.source) in NARROW
        and room(found.target) not in {"", room(found.source)}
        and room(found.target) not in NARROW[room(found.source)]
    ]
    assert wrong == []


def test_no_plugin_knows_another_of_its_kind() -> None:
    wrong = []
    for package in PLUGINS:
        members = {f"{package}.{name}" for name in plugins.names(package)}
        wrong += [
            f"{i.source} imports {i.target}" for i in OWN if {i.source, i.target} <= members and i.source != i.target
        ]
    assert [line for line in wrong if not line.startswith("bigray.models.")] == []


def test_no_cycles_when_modules_load() -> None:
    graph: dict[str, set[str]] = {name: set() for name in FILES}
    for found in OWN:
        if not found.late and found.target in FILES and found.target != "bigray":
            graph[found.source].add(found.target)
    done: set[str] = set()

    def visit(name: str, path: tuple[str, ...]) -> None:
        assert name not in path, " -> ".join([*path[path.index(name) :], name])
        if name not in done:
            for target in sorted(graph[name]):
                visit(target, (*path, name))
            done.add(name)

    for name in graph:
        visit(name, ())


def test_ray_stands_only_where_it_should() -> None:
    found = {i.source for i in IMPORTS if i.target.split(".")[0] == "ray" and not i.typing_only}
    assert {name for name in found if room(name) != "serve"} <= RAY


@pytest.mark.parametrize(
    ("module", "heavy"),
    [
        ("bigray", "torch ray numpy pydantic yaml httpx"),
        ("bigray.cli.main", "torch ray numpy pydantic yaml httpx rich"),
        ("bigray.schemas", "torch ray numpy"),
        ("bigray.recipe", "torch ray numpy"),
        ("bigray.client", "torch ray numpy yaml"),
        ("bigray.results", "torch ray"),
        ("bigray.pipeline", "torch ray transformers"),
        ("bigray.predictor", "torch ray transformers"),
        ("bigray.serve.app", "torch transformers"),
        ("bigray.serve.replica", "torch transformers"),
        *((f"bigray.tasks.{name}", "torch ray transformers") for name in PLUGINS["bigray.tasks"]),
        ("bigray.engines.openvino", "torch ray"),
        ("bigray.engines.onnxruntime", "torch ray"),
        *((f"bigray.compress.methods.{name}", "ray") for name in PLUGINS["bigray.compress.methods"]),
    ],
)
def test_light_imports(module: str, heavy: str) -> None:
    code = f"import sys, {module}; print(*(name for name in {heavy.split()!r} if name in sys.modules))"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert answer.stdout.strip() == ""


def test_importing_bigray_takes_less_than_half_a_second() -> None:
    code = "import time; t = time.perf_counter(); import bigray; print(time.perf_counter() - t)"
    runs = [subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True) for _ in range(3)]
    assert min(float(run.stdout) for run in runs) < 0.5


@pytest.mark.parametrize("package", PLUGINS)
def test_plugin_names_are_frozen(package: str) -> None:
    assert plugins.names(package) == PLUGINS[package]


def test_the_public_list_loads() -> None:
    for name in bigray.__all__:
        assert getattr(bigray, name) is not None
    assert set(bigray._HOMES) | {"__version__"} == set(bigray.__all__)
    with pytest.raises(AttributeError, match="public names"):
        _ = bigray.nothing


def test_the_version_is_said_once() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert project["version"] == bigray.__version__


@pytest.mark.parametrize("name", FILES)
def test_form(name: str) -> None:
    path, tree = FILES[name], TREES[name]
    assert path.read_text(encoding="utf-8").count("\n") <= MAX_LINES
    assert path.stem not in {"utils", "util", "common", "helpers", "helper", "misc"}
    assert ast.get_docstring(tree), "a file says what it is"
    for node in ast.walk(tree):
        assert not isinstance(node, ast.Assert), f"line {node.lineno}: an assert vanishes under -O; raise an error"
    modules = {found.target.split(".")[0] for found in IMPORTS if found.source == name}
    if "fastapi" in modules:
        assert "__future__" not in modules, "FastAPI cannot read the types of routes then"


@pytest.mark.parametrize("name", FILES)
def test_nothing_from_outside_is_ever_run(name: str) -> None:
    targets = {found.target.split(".")[0] for found in IMPORTS if found.source == name}
    assert not targets & {"pickle", "cPickle", "dill", "cloudpickle", "marshal", "shelve", "joblib"}
    for node in ast.walk(TREES[name]):
        if not isinstance(node, ast.Call):
            continue
        called = ast.unparse(node.func)
        given = {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords}
        assert called not in {"eval", "exec", "os.system"}, f"line {node.lineno}"
        assert given.get("trust_remote_code", "False") == "False", f"line {node.lineno}"
        assert given.get("shell", "False") == "False", f"line {node.lineno}"
        assert given.get("allow_pickle", "False") == "False", f"line {node.lineno}"
        if called == "torch.load":
            assert given.get("weights_only") == "True", f"line {node.lineno}"
        if called == "yaml.load":
            assert given.get("Loader") == "_StrictLoader", f"line {node.lineno}"
