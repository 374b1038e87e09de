"""The chosen model of a run beside what other tools make of the same dense model, all on the same rows and cores.

Each rival is one recipe of its own documentation, called directly and not through bigray: ONNX Runtime's dynamic and
static 8 bits, NNCF's default post-training quantization (with and without its preset for transformers), torchao's 8
bits under torch.compile, Olive's fusions for transformers with its dynamic 8 bits. A network of several graphs (an encoder
and a decoder's step) has each of them converted. A rival counts when it keeps the same budget on the same unseen rows.
"""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from bigray import measure, plugins
from bigray import recipe as recipes
from bigray.artifact import Artifact
from bigray.compress import calibration
from bigray.compress.candidate import same_rows, usual_batch
from bigray.compress.plan import Plan, adapted
from bigray.data import sources
from bigray.digest import digest
from bigray.engines.base import Parts, Program, Session, graph_folders
from bigray.evaluate import answers
from bigray.models import _weights
from bigray.models.base import build
from bigray.pipeline import TEST_ROWS, task_class
from bigray.predictor import Inference, Predictor, load_session, load_task, program
from bigray.tasks.base import Batch, Row, Task

SECONDS = 3.0
"""Of each race."""


@dataclass(frozen=True)
class Rival:
    """What another tool made of the dense model."""

    name: str
    session: Session | None
    size_bytes: int = 0
    reason: str = ""
    """Why there is none."""


@dataclass
class Pair:
    """The dense and the chosen model of a finished run."""

    folder: Path

    def __post_init__(self) -> None:
        self.recipe = recipes.read(self.folder / "recipe.yaml")
        self._dense = Artifact.open(self.folder / f"train-{digest(self.recipe, 'train')}" / "dense")
        self._chosen = Artifact.open(self.folder / "artifact")
        self.task: Task = load_task(self.recipe.task, self._dense.task_dir)
        plan = Plan(engine=self.engine, steps=self._chosen.manifest.steps)
        self.chosen_task = adapted(plan, self.task)
        """That of the dense model, but for what compression changed (the length of its window)."""

    @property
    def engine(self) -> str:
        """Engine of the chosen model."""
        return self._chosen.manifest.engine

    @property
    def model_dir(self) -> Path:
        """Files of the chosen model."""
        return self._chosen.model_dir

    @property
    def chosen_files(self) -> dict[str, str]:
        """File of the chosen model -> its SHA-256."""
        files = self._chosen.manifest.files.items()
        return {path: record.sha256 for path, record in files if path.startswith("model/")}

    @property
    def dense_bytes(self) -> int:
        """Size of the dense model's files."""
        return self._dense.manifest.size_bytes

    @cached_property
    def dense(self) -> Session:
        """The dense model in torch, eager."""
        return self._load_dense()

    @cached_property
    def chosen(self) -> Session:
        """The model that was handed out."""
        manifest = self._chosen.manifest
        return load_session(self.chosen_task, manifest.architecture, manifest.engine, self._chosen.model_dir)

    @cached_property
    def test(self) -> Sequence[Row]:
        """The rows that neither training nor search saw."""
        return sources.take(self._splits.test, TEST_ROWS, self.recipe.seed)

    @cached_property
    def calibration(self) -> Mapping[str, Sequence[Batch]]:
        """Part -> what tools that calibrate are given, of rows of the training split."""
        rows = sources.take(self._splits.train, self.recipe.compress.calibration_rows, self.recipe.seed)
        return calibration.batches(self.task, rows, self._load_dense)

    @cached_property
    def _splits(self) -> sources.Splits:
        return sources.load(self.recipe.data, task_class(self.recipe), self.recipe.seed)

    def batch(self, size: int) -> Batch:
        """Return a batch of unseen rows of about median size."""
        return usual_batch(self.task, self.test, size)

    def task_of(self, session: Session) -> Task:
        """Return the task as it answers with a model."""
        return self.chosen_task if session is self.chosen else self.task

    def score(self, session: Session) -> float:
        """Return the task's primary metric on the unseen rows."""
        found = self.task.score(answers(Predictor(self.task_of(session), session), self.test), self.test)
        return found[self.task.primary.name]

    @cached_property
    def dense_score(self) -> float:
        """The same of the dense model."""
        return self.score(self.dense)

    def network(self) -> Any:
        """Return the dense network, in torch."""
        network = build(self._dense.manifest.architecture, pretrained=False)
        _weights.load(network, self._dense.model_dir)
        return network.eval()

    def export_dense(self, engine: str, folder: Path) -> Session:
        """Export the dense model to an engine as it is, and load it."""
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        plugins.load("bigray.engines", engine).ENGINE.export(program(self.task, self.network()), folder)
        return load_session(self.task, self._dense.manifest.architecture, engine, folder)

    def _load_dense(self) -> Session:
        manifest = self._dense.manifest
        return load_session(self.task, manifest.architecture, manifest.engine, self._dense.model_dir)


def open_run(folder: Path) -> Pair:
    """Open a finished run that handed out a model."""
    return Pair(folder)


def race(sessions: Mapping[str, Session], batch: Batch) -> measure.Race:
    """Time sessions interleaved, on one thread."""
    with measure.quiet():
        return measure.race(sessions, batch, seconds=SECONDS, threads=1)


def beside_dense(pair: Pair, session: Session, size: int) -> measure.Race:
    """Time the whole inference of the dense model (``dense``) and of another (``other``) so, on the same unseen rows."""
    task = pair.task_of(session)
    batch, other = same_rows(pair.task, task, pair.test, size)
    runs = {"dense": Inference(pair.task, pair.dense), "other": Inference(task, session)}
    with measure.quiet():
        return measure.race(runs, batch, own={"other": other}, seconds=SECONDS, threads=1)


def table(pair: Pair, work: Path) -> list[dict[str, Any]]:
    """Return one entry per model: metric, drop in points, medians in ms at batch 1 and 8, speed-up over dense, bytes.

    What was raced against the same chosen model is kept in ``work``, and not raced again when it is interrupted or when the
    model is chosen under another budget, too.
    """
    kept, lines = work / "table.json", []
    if kept.is_file() and (found := json.loads(kept.read_text(encoding="utf-8")))["chosen"] == pair.chosen_files:
        lines = found["lines"]
    else:
        pair.export_dense("onnxruntime", work / "onnx")
        pair.export_dense("openvino", work / "openvino")
    left = [name for name in MAKERS if name not in {line["model"] for line in lines}]
    for name in left:
        lines.append(_line(_made(name, pair, work), pair))
        kept.write_text(json.dumps({"chosen": pair.chosen_files, "lines": lines}, indent=1), encoding="utf-8")
        print(json.dumps(lines[-1]), file=sys.stderr)
    return lines


def _made(name: str, pair: Pair, work: Path) -> Rival:
    try:
        return MAKERS[name](pair, work)
    except Exception as error:  # a tool that fails on this model is a result
        return Rival(name, None, reason=f"{type(error).__name__}: {' '.join(str(error).split())[:160]}")


def _line(one: Rival, pair: Pair) -> dict[str, Any]:
    line: dict[str, Any] = {"model": one.name, "bytes": one.size_bytes, "reason": one.reason}
    if one.session is not None:
        metric = pair.task.primary
        value = pair.dense_score if one.session is pair.dense else pair.score(one.session)
        line |= {metric.name: value, "drop_points": metric.drop(pair.dense_score, value)}
        for size in (1, 8):
            # in pairs: among ten, each would find its caches full of the nine others' weights
            found = beside_dense(pair, one.session, size)
            line[f"p50_ms_{size}"] = found.latency["other"].p50_ms
            line[f"speedup_{size}"] = found.speedup("dense", "other")
    return line


def _loaded(name: str, pair: Pair, engine: str, folder: Path) -> Rival:
    session = load_session(pair.task, pair._dense.manifest.architecture, engine, folder)
    return Rival(name, session, measure.directory_bytes(folder))


def _copy(source: Path, target: Path) -> Path:
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(source, target)
    return target


def _onnxruntime_dynamic(pair: Pair, work: Path) -> Rival:
    from onnxruntime.quantization import quantize_dynamic
    from onnxruntime.quantization.shape_inference import quant_pre_process

    folder = _copy(work / "onnx", work / "onnx-dynamic")
    for graph in graph_folders(folder).values():
        with tempfile.TemporaryDirectory() as scratch:
            quant_pre_process(graph / "model.onnx", f"{scratch}/ready.onnx", skip_symbolic_shape=True)
            quantize_dynamic(f"{scratch}/ready.onnx", graph / "model.onnx")
    return _loaded("onnxruntime dynamic INT8", pair, "onnxruntime", folder)


def _onnxruntime_static(pair: Pair, work: Path) -> Rival:
    import onnx
    from onnxruntime.quantization import CalibrationDataReader, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self, batches: Sequence[Batch]) -> None:
            self._left = iter(batches)

        def get_next(self) -> Any:
            return next(self._left, None)

    folder = _copy(work / "onnx", work / "onnx-static")
    for part, graph in graph_folders(folder).items():
        names = [entry.name for entry in onnx.load(graph / "model.onnx", load_external_data=False).graph.input]
        with tempfile.TemporaryDirectory() as scratch:
            quant_pre_process(graph / "model.onnx", f"{scratch}/ready.onnx", skip_symbolic_shape=True)
            quantize_static(f"{scratch}/ready.onnx", graph / "model.onnx", Reader(_inputs(pair, part, names)))
    return _loaded("onnxruntime static INT8", pair, "onnxruntime", folder)


def _nncf(pair: Pair, work: Path, model_type: str | None) -> Rival:
    import nncf
    import openvino

    name = "NNCF for transformers" if model_type else "NNCF default"
    folder = _copy(work / "openvino", work / f"nncf-{model_type or 'default'}")
    kind = nncf.ModelType.TRANSFORMER if model_type else None
    for part, graph in graph_folders(folder).items():
        target = next(graph.glob("*.xml"))
        model = openvino.Core().read_model(target)
        data = nncf.Dataset(_inputs(pair, part, [port.get_any_name() for port in model.inputs]))
        quantized = nncf.quantize(model, data, model_type=kind)
        with tempfile.TemporaryDirectory() as scratch:  # the files that the model still reads from are replaced after
            openvino.save_model(quantized, f"{scratch}/{target.name}")
            for file in Path(scratch).iterdir():
                shutil.copy(file, graph / file.name)
    return _loaded(name, pair, "openvino", folder)


def _torchao(pair: Pair, work: Path) -> Rival:
    if importlib.util.find_spec("torchao") is None:
        raise ImportError("torchao is not installed")
    import torch
    from torchao.quantization import Int8DynamicActivationInt8WeightConfig, quantize_

    network = pair.network()
    quantize_(network, Int8DynamicActivationInt8WeightConfig())
    one = program(pair.task, network)

    class Compiled(Session):
        def __init__(self, graph: Program) -> None:
            self._names = graph.inputs
            self._forward = torch.compile(lambda inputs: graph.forward(network, inputs), dynamic=True)

        def run(self, inputs: Mapping[str, np.ndarray], part: str = "") -> Batch:
            torch.set_num_threads(1)
            with torch.inference_mode():
                given = {name: torch.from_numpy(np.asarray(inputs[name])) for name in self._names}
                return {name: value.numpy() for name, value in self._forward(given).items()}

    session = Parts({name: Compiled(graph) for name, graph in {"": one, **one.parts}.items()})
    Inference(pair.task, session).run(pair.batch(1))
    weights = sum(value.numel() * value.element_size() for value in network.state_dict().values())
    return Rival("torchao and torch.compile", session, weights)


def _olive(pair: Pair, work: Path) -> Rival:
    os.environ["OLIVE_DISABLE_TELEMETRY"] = "1"
    import olive

    folder = _copy(work / "onnx", work / "olive")
    for graph in graph_folders(folder).values():
        with tempfile.TemporaryDirectory() as scratch:
            olive.run(
                {
                    "input_model": {"type": "ONNXModel", "model_path": str(graph / "model.onnx")},
                    "passes": {
                        "fuse": {"type": "OrtTransformersOptimization", "model_type": "bert"},
                        "quantize": {"type": "OnnxDynamicQuantization"},
                    },
                    "output_dir": f"{scratch}/out",
                    "cache_dir": f"{scratch}/cache",
                    "log_severity_level": 3,
                }
            )
            shutil.copy(f"{scratch}/out/model.onnx", graph / "model.onnx")
    return _loaded("Olive", pair, "onnxruntime", folder)


def _inputs(pair: Pair, part: str, names: Sequence[str]) -> list[dict[str, np.ndarray]]:
    return [{name: batch[name] for name in names} for batch in pair.calibration[part]]


MAKERS: dict[str, Callable[[Pair, Path], Rival]] = {
    "torch eager": lambda pair, work: Rival("torch eager", pair.dense, pair.dense_bytes),
    "bigray": lambda pair, work: Rival("bigray", pair.chosen, measure.directory_bytes(pair.model_dir)),
    "onnxruntime float32": lambda pair, work: _loaded("onnxruntime float32", pair, "onnxruntime", work / "onnx"),
    "openvino float32": lambda pair, work: _loaded("openvino float32", pair, "openvino", work / "openvino"),
    "onnxruntime dynamic INT8": _onnxruntime_dynamic,
    "onnxruntime static INT8": _onnxruntime_static,
    "NNCF default": lambda pair, work: _nncf(pair, work, None),
    "NNCF for transformers": lambda pair, work: _nncf(pair, work, "transformer"),
    "torchao and torch.compile": _torchao,
    "Olive": _olive,
}
