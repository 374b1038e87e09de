"""Models as torch_gpu runs them. Without a GPU its arithmetic is tried on the CPU; the last tests need one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from bigray import measure, plugins
from bigray.artifact import Step
from bigray.compress import candidate, search
from bigray.compress.base import ConversionError
from bigray.compress.methods import quantize_fp8
from bigray.compress.plan import Plan, step
from bigray.engines import torch_eager, torch_gpu
from bigray.engines.base import Program, Stopwatch
from bigray.errors import MissingPackage
from bigray.models import _masks, _replacements, _weights
from bigray.recipe import Serve
from bigray.serve import app
from tests import networks
from tests.compress.test_candidate import ROWS, dense, job  # noqa: F401 - dense is a fixture

GPU = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")


@pytest.fixture
def on_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the engine take the CPU for a GPU."""
    monkeypatch.setattr(torch_gpu, "DEVICE", "cpu")


def exported(build: Callable[[], Program], directory: Path, *methods: Any, keep: str = "classifier") -> Program:
    """What `carry_out` does, on a program of its own."""
    program, todo = build(), [(plugins.load("bigray.compress.methods", name).METHOD) for name in methods]
    for method in todo:
        if method.stage != "graph":
            method.prune(program, method.Config(), [keep], networks.samples(program))
            method.finish(program, method.Config(), [keep])
    torch_gpu.ENGINE.export(program, directory)
    for method in todo:
        method.rewrite(directory, "torch_gpu", method.Config(), iter(()), networks.task())
    return program


def loaded(directory: Path, build: Callable[[], Program]) -> tuple[torch_gpu.GpuSession, Program]:
    kept = []

    def once() -> Program:
        kept.append(build())
        return kept[0]

    session = torch_gpu.ENGINE.load(directory, program=once)
    assert isinstance(session, torch_gpu.GpuSession)
    return session, kept[0]


def size(directory: Path) -> int:
    return (directory / _weights.WEIGHTS).stat().st_size


@pytest.mark.usefixtures("on_cpu")
@pytest.mark.parametrize(("build", "head"), [(networks.bert, "classifier"), (networks.residual, "head")])
def test_a_dense_model_answers_as_the_reference_does(build: Callable[[], Program], head: str, tmp_path: Path) -> None:
    program = build()
    torch_eager.ENGINE.export(program, tmp_path)
    session, _ = loaded(tmp_path, build)
    found = session.run(program.example)["logits"]
    np.testing.assert_allclose(found, networks.answer(program, program.example)["logits"], rtol=1e-5, atol=1e-6)
    assert session.stopwatch() is None


@pytest.mark.usefixtures("on_cpu")
@pytest.mark.parametrize(("build", "head"), [(networks.bert, "classifier"), (networks.residual, "head")])
def test_bfloat16_halves_the_file_and_is_close(build: Callable[[], Program], head: str, tmp_path: Path) -> None:
    (tmp_path / "plain").mkdir()
    (tmp_path / "half").mkdir()
    program = exported(build, tmp_path / "plain", keep=head)
    exported(build, tmp_path / "half", "bfloat16", keep=head)
    assert size(tmp_path / "half") < 0.65 * size(tmp_path / "plain")
    session, inside = loaded(tmp_path / "half", build)
    found = session.run(program.example)["logits"]
    assert found.dtype == np.float32
    truth = networks.answer(program, program.example)["logits"]
    np.testing.assert_allclose(found, truth, atol=0.05 * np.abs(truth).max())
    assert not np.array_equal(found, truth)
    assert inside.network.get_submodule(head).weight.dtype == torch.bfloat16


@pytest.mark.usefixtures("on_cpu")
def test_linear_layers_of_8_bits(tmp_path: Path) -> None:
    program = exported(networks.bert, tmp_path, "quantize_fp8")
    kinds = {type(module) for module in program.network.modules()}
    assert _replacements.Float8Linear in kinds
    assert torch.float8_e4m3fn in _weights.types(tmp_path)
    assert type(program.network.get_submodule("classifier")) is torch.nn.Linear
    session, inside = loaded(tmp_path, networks.bert)
    truth = networks.answer(networks.bert(), program.example)["logits"]
    np.testing.assert_allclose(session.run(program.example)["logits"], truth, atol=0.1 * np.abs(truth).max())
    layers = [one for one in inside.network.modules() if isinstance(one, _replacements.Float8Linear)]
    assert all(float(layer.scale.max()) < 1 for layer in layers)  # they hold what was stored


def test_each_row_and_each_output_has_its_own_scale() -> None:
    torch.manual_seed(0)
    plain = torch.nn.Linear(64, 32)
    with torch.no_grad():
        plain.weight *= torch.logspace(-4, 2, 32)[:, None]
        plain.bias.zero_()
    x = torch.randn(5, 3, 64) * torch.logspace(-3, 3, 5)[:, None, None]
    found, truth = _replacements.Float8Linear.of(plain)(x).float(), plain(x).detach()
    assert found.shape == (5, 3, 32)
    length = 64**0.5 * x.norm(dim=-1, keepdim=True) * plain.weight.detach().norm(dim=1) / 64**0.5
    assert float(((found - truth).abs() / length).max()) < 0.04  # 3 bits behind the point: 1/16 of each factor at most


@pytest.mark.usefixtures("on_cpu")
def test_networks_without_such_layers_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConversionError, match="multiples of 16"):
        exported(networks.residual, tmp_path, "quantize_fp8", keep="head")
    exported(networks.bert, tmp_path, "bfloat16")
    with pytest.raises(ConversionError, match="32 bits"):
        plugins.load("bigray.compress.methods", "bfloat16").METHOD.rewrite(tmp_path, "torch_gpu", None, iter(()), None)


@pytest.mark.usefixtures("on_cpu")
def test_a_candidate_is_compared_with_the_dense_model_on_the_same_device(
    dense: Path,  # noqa: F811
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(candidate, "peak_memory", lambda *_: 1)  # its process knows nothing of `on_cpu`
    bench = candidate.Workbench(job(dense, tmp_path, lambda *_: None))
    assert isinstance(bench.dense("torch_gpu"), torch_gpu.GpuSession)
    assert bench.dense("torch_gpu") is bench.dense("torch_gpu")
    assert isinstance(bench.dense("openvino"), torch_eager.TorchSession)
    plan = Plan(engine="torch_gpu", steps=(step("bfloat16", {}),))
    trial = bench.run(plan)
    assert trial.status == "ok", trial.reason
    judged = candidate.verify(
        bench.job.recipe,
        dense,
        tmp_path / plan.key / "model",
        plan,
        ROWS,
        candidate.dense_answers(bench.job.recipe, dense, ROWS),
    )
    assert judged.dense.engine == judged.chosen.engine == "torch_gpu"


@pytest.mark.usefixtures("on_cpu")
def test_a_plan_of_8_bits_becomes_an_artifact_that_is_loaded_again(dense: Path, tmp_path: Path) -> None:  # noqa: F811
    bench = candidate.Workbench(job(dense, tmp_path, lambda *_: None))
    trial = bench.run(Plan(engine="torch_gpu", steps=(step("quantize_fp8", {}),)))
    assert trial.status == "ok", trial.reason
    assert trial.variant.steps == (Step(method="quantize_fp8", version=1, knobs={}),)
    assert trial.drop_points is not None
    assert abs(trial.drop_points) < 10


def test_times_are_those_of_the_sessions_own_stopwatch() -> None:
    class Fixed(Stopwatch):
        def __enter__(self) -> Stopwatch:
            return self

        def __exit__(self, *_: object) -> None:
            self.ms = 7.0

    class Session(torch_eager.TorchSession):
        def stopwatch(self) -> Stopwatch:
            return Fixed()

    program = networks.ffnn()
    race = measure.race({"one": Session(program, 1)}, program.example, seconds=0)
    assert set(race.times_ms["one"]) == set(race.cpu_ms["one"]) == {7.0}


def test_it_takes_a_gpu_from_a_cluster_that_has_one(monkeypatch: pytest.MonkeyPatch) -> None:
    assert search.gpus(["openvino", "onnxruntime"]) == 0
    there = {"CPU": 4.0}
    monkeypatch.setattr(search.ray, "cluster_resources", lambda: there)
    assert search.gpus(["openvino", "torch_gpu"]) == 0  # who asked for one would wait for ever
    there["GPU"] = 1.0
    assert search.gpus(["openvino", "torch_gpu"]) == 1
    assert app.options(Serve(gpus=0.5), {}, "torch_gpu")["ray_actor_options"]["num_gpus"] == 0.5
    assert "num_gpus" not in app.options(Serve(), {}, "openvino")["ray_actor_options"]


def test_without_a_gpu_it_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert "no CUDA device" in (torch_gpu.ENGINE.available() or "")
    assert "no CUDA device" in (quantize_fp8.METHOD.available() or "")
    torch_gpu.ENGINE.export(networks.ffnn(), tmp_path)
    with pytest.raises(MissingPackage, match="no CUDA device"):
        torch_gpu.ENGINE.load(tmp_path, program=networks.ffnn)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: (8, 6))
    assert "capability 8.6" in (quantize_fp8.METHOD.available() or "")
    assert "torch_gpu" in (quantize_fp8.METHOD.suits(networks.task(), "openvino") or "")


@pytest.mark.usefixtures("on_cpu")
def test_the_pattern_is_stored_and_recognised(tmp_path: Path) -> None:
    program = exported(networks.bert, tmp_path, "prune_2_4")
    session, inside = loaded(tmp_path, networks.bert)
    chosen = [name for name, one in inside.network.named_modules() if _masks.is_2_4(one)]
    assert chosen == [f"bert.encoder.layer.{number}.output.dense" for number in (0, 1)]
    truth = networks.answer(program, program.example)["logits"]
    np.testing.assert_allclose(session.run(program.example)["logits"], truth, atol=0.05 * np.abs(truth).max())


@GPU
@pytest.mark.parametrize("method", ["bfloat16", "quantize_fp8", "prune_2_4"])
def test_on_a_gpu(method: str, tmp_path: Path) -> None:
    if reason := plugins.load("bigray.compress.methods", method).METHOD.available():
        pytest.skip(reason)
    program = exported(networks.bert, tmp_path, method)
    session, inside = loaded(tmp_path, networks.bert)
    found = session.run(program.example)["logits"]
    truth = networks.answer(program, program.example)["logits"] if method != "quantize_fp8" else None
    if truth is not None:
        np.testing.assert_allclose(found, truth, atol=0.1 * np.abs(truth).max())
    assert np.isfinite(found).all()
    assert next(inside.network.parameters()).is_cuda
    race = measure.race({"one": session}, program.example, seconds=0.1)
    assert race.latency["one"].p50_ms > 0
    if method == "prune_2_4":
        fitting = [one for one in inside.network.modules() if _masks.fits_2_4(one)]
        assert fitting
        assert all(isinstance(one.weight.data, torch.sparse.SparseSemiStructuredTensor) for one in fitting)
