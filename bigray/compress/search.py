"""The search: Ray Tune runs candidates in parallel, Optuna proposes them, every outcome is kept on disk.

Three objectives at once: drop of the metric, speed-up over the dense model, bytes. Actors are reused between trials,
so the dense model is loaded once per actor. A search that was killed goes on when it is started again, where it stopped:
what was tried is not tried again, and what comes next is what would have come (`bigray.compress.proposer`). A search
whose trials are all there starts nothing, so another budget over the same space costs one verification.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import optuna
import ray
from ray import tune

from bigray import measure
from bigray.artifact import Step, write_atomically
from bigray.compress import candidate, objective, runoff, sensitivity
from bigray.compress.candidate import Job, Workbench, finished
from bigray.compress.objective import Limits
from bigray.compress.plan import Plan
from bigray.compress.proposer import Proposer
from bigray.compress.space import Space
from bigray.engines.base import on_gpu
from bigray.errors import SearchFailed
from bigray.polling import polling
from bigray.recipe import Recipe
from bigray.results import LayerCost, Trial, Verdict, Verified
from bigray.schemas import CONTRACTS
from bigray.tasks.base import Row

Listen = Callable[[dict[str, Any]], None]

OBJECTIVES = {"drop_points": "min", "speedup": "max", "size_bytes": "min"}
CORES_PER_TRIAL = 2
"""One for the candidate at work, one so that measuring finds a quiet core."""
FAILED = {"drop_points": 100.0, "speedup": 0.0, "size_bytes": 1e12}


class CandidateTrial(tune.Trainable):  # type: ignore[misc]
    """One candidate in a reused actor."""

    def setup(self, config: dict[str, Any], job: Job, space: Space) -> None:
        """Load the dense model."""
        import torch

        self._space = space
        torch.set_num_threads(max(1, job.recipe.compress.threads))
        self._bench = Workbench(job)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Take the next candidate."""
        self.config = new_config
        return True

    def save_checkpoint(self, checkpoint_dir: str) -> dict[str, Any]:
        """Keep nothing: outcomes are on disk by the time a trial ends."""
        return {}

    def load_checkpoint(self, checkpoint: dict[str, Any] | None) -> None:
        """Nothing was kept."""

    def step(self) -> dict[str, Any]:
        """Run the candidate and end."""
        plan = self._space.plan(self.config)
        trial = self._bench.run(plan)
        costs = FAILED
        if trial.status != "failed":  # one that was not worth training still teaches what is slow
            costs = {
                "drop_points": _drop(trial),
                "speedup": trial.variant.speedup,
                "size_bytes": float(trial.variant.size_bytes),
            }
        return {**costs, "plan": plan.key, "done": True}


def _drop(trial: Trial) -> float:
    """Return the points lost in the end, else in the middle of training, else as many as if it had failed."""
    if trial.drop_points is not None:
        return trial.drop_points
    return FAILED["drop_points"] if trial.early is None else trial.early.drop_points


class _Follow:
    """Calls a listener for each file that appears in a folder, once, with how many there are by then."""

    def __init__(self, directory: Path, pattern: str, listen: Callable[[int, str], None]) -> None:
        self._directory, self._pattern, self._listen = directory, pattern, listen
        self._seen: set[Path] = set()

    def __call__(self) -> None:
        for path in sorted(set(self._directory.glob(self._pattern)) - self._seen):
            self._seen.add(path)
            self._listen(len(self._seen), path.read_text(encoding="utf-8"))


def _silent(state: dict[str, Any]) -> None:
    pass


def search(job: Job, space: Space, listen: Listen = _silent) -> list[Trial]:
    """Run the recipe's number of trials on the running Ray cluster; return one outcome per different plan, in order.

    Raises:
        SearchFailed: Not one trial finished.
    """
    settings = job.recipe.compress
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    job.directory.mkdir(parents=True, exist_ok=True)
    first = space.first()[: settings.trials]
    proposer = Proposer(space, OBJECTIVES, first, settings.trials, job.recipe.seed, job.directory / "ledger.jsonl")
    if proposer.left > 0:
        _run(job, space, proposer, listen)
    known = [trial for trial in finished(job.directory) if _allowed(space, trial)]
    trials = [trial.model_copy(update={"number": number}) for number, trial in enumerate(known)]
    if not any(trial.status == "ok" for trial in trials):
        raise SearchFailed(objective.explain_none(trials, Limits.of(settings, job.dense_metric)))
    return trials


def _allowed(space: Space, trial: Trial) -> bool:
    # one of a folder that an engine or a method served which is not to be had any more cannot be handed out
    return space.allows(trial.variant.engine, [one.method for one in trial.variant.steps])


def _run(job: Job, space: Space, proposer: Proposer, listen: Listen) -> None:
    settings = job.recipe.compress

    def told(done: int, text: str) -> None:
        listen({"done": done, "total": settings.trials, "trial": Trial.model_validate_json(text)})

    trainable = tune.with_parameters(CandidateTrial, job=job, space=space)
    tuner = tune.Tuner(
        tune.with_resources(trainable, {"CPU": 1, "GPU": gpus(space.graph)}),
        tune_config=tune.TuneConfig(
            search_alg=proposer,
            num_samples=proposer.left,
            max_concurrent_trials=at_once(job.recipe),
            reuse_actors=True,
            time_budget_s=settings.max_minutes * 60 if settings.max_minutes else None,
            trial_dirname_creator=lambda trial: f"trial_{trial.trial_id}",
        ),
        run_config=tune.RunConfig(name="ray_tune", storage_path=str(job.directory), verbose=0),
    )
    with polling(_Follow(job.directory, "*/trial.json", told)):
        tuner.fit()


def suited(job: Job, space: Space) -> Space:
    """Return the space without methods that find nothing to do in this network, at either end of what is searched.

    Tried once, in a process of its own, before candidates are spent on it.
    """
    ends = space.ends()
    if not ends:
        return space
    kept = job.directory / "unsuited.json"
    if not kept.is_file():
        job.directory.mkdir(parents=True, exist_ok=True)
        write_atomically(kept, json.dumps(ray.get(_alone(_unsuited, []).remote(job, ends))))
    return space.without(json.loads(kept.read_text(encoding="utf-8")))


def _unsuited(job: Job, ends: Mapping[str, Sequence[Step]]) -> dict[str, str]:
    """Return method -> why none of its steps does anything."""
    bench, found = Workbench(job), {}
    for name, steps in ends.items():
        for one in steps:
            if (reason := bench.objection(one)) is None:
                break
        else:
            found[name] = reason or ""
    return found


def sensitivities(job: Job, space: Space, listen: Listen = _silent) -> list[LayerCost]:
    """Measure what each group of layers costs, in parallel; kept beside the search, so that it is done once.

    Returns nothing where the space does not prune channels, or the recipe does without.
    """
    if "prune_structured" not in space.network or not job.recipe.compress.sensitivity_rows:
        return []
    engine = next(iter(space.graph))
    folder = job.directory.parent / f"sensitivity-{sensitivity.key(job, engine)}"
    remote = ray.remote(num_cpus=1, num_gpus=gpus([engine]), max_calls=1)
    if not (folder / "layers.json").is_file():
        folder.mkdir(parents=True, exist_ok=True)
        write_atomically(folder / "layers.json", json.dumps(ray.get(remote(_layers).remote(job))))
    layers: list[str] = json.loads((folder / "layers.json").read_text(encoding="utf-8"))
    paths = [sensitivity.outcome(folder, number) for number in range(len(layers))]
    left = [layer for layer, path in zip(layers, paths, strict=True) if not path.is_file()]

    def told(done: int, text: str) -> None:
        listen({"done": done, "total": len(layers), "cost": json.loads(text)})

    if left:
        shares = [left[start :: at_once(job.recipe)] for start in range(at_once(job.recipe))]
        with polling(_Follow(folder, sensitivity.outcome(folder, "*").name, told)):
            ray.get([remote(_probe).remote(job, engine, share, layers, folder) for share in shares if share])
    found = [json.loads(path.read_text(encoding="utf-8")) for path in paths]
    return [LayerCost.model_validate(line) for line in found if line is not None]


def _layers(job: Job) -> list[str]:
    return sensitivity.layers(Workbench(job))


def _probe(job: Job, engine: str, chosen: list[str], every: list[str], folder: Path) -> None:
    sensitivity.probe(Workbench(job), engine, chosen, every, folder)


def at_once(recipe: Recipe) -> int:
    """Return how many candidates are worked on at once; each holds one of Ray's CPUs, besides those of its recovery."""
    settings = recipe.train
    training = math.ceil(settings.workers * settings.cpus_per_worker) if settings.workers > 1 else 1
    return recipe.compress.concurrency or max(1, cores() // max(CORES_PER_TRIAL, training))


class Judge:
    """Judges candidates on unseen rows, each in a fresh process that has the machine to itself.

    The dense model answers the rows once for all of them. What was measured is kept in the candidates' folders, and what was
    answered beside them, so a finished run that is started again ends at once, and a candidate that wins under another budget
    is not measured twice. On another processor, or with other versions of the libraries, it is.
    """

    def __init__(self, recipe: Recipe, dense: Path, rows: Sequence[Row], metric: str) -> None:
        self._recipe, self._dense, self._rows, self._metric = recipe, dense, rows, metric
        self._shared: tuple[Any, Any] | None = None
        """The rows and the dense model's answers, in Ray's object store."""

    def __call__(self, folder: Path, plan: Plan) -> tuple[Verdict, Verified]:
        """Judge the candidate of a folder."""
        found = self._measured(folder, plan)
        limits = Limits.of(self._recipe.compress, found.dense.metrics[self._metric].value)
        return objective.verdict(found.dropped, found.chosen, limits, found.rows), found

    def _measured(self, folder: Path, plan: Plan) -> Verified:
        kept = folder / f"verified-{_machine()}.json"
        if kept.is_file():
            return Verified.model_validate_json(kept.read_text(encoding="utf-8"))
        if self._shared is None:
            rows = ray.put(list(self._rows))
            self._shared = rows, self._answers(folder.parent, rows)
        measuring = _alone(candidate.verify, [plan.engine]).remote(
            self._recipe, self._dense, folder / "model", plan, *self._shared
        )
        outcome: Verified = ray.get(measuring)
        write_atomically(kept, outcome.model_dump_json(indent=2))
        return outcome

    def _answers(self, folder: Path, rows: Any) -> Any:
        """Return the dense model's answers, in Ray's object store; those that are no files are kept in a search's folder."""
        contract, kept = CONTRACTS[self._recipe.task], folder / f"answers-{_machine()}.jsonl"
        if kept.is_file():
            lines = kept.read_text(encoding="utf-8").split("\n")[:-1]  # and not at every end of line that Unicode knows
            return ray.put([contract.output.validate_json(line) for line in lines])
        found = _alone(candidate.dense_answers, []).remote(self._recipe, self._dense, rows)
        if contract.file is None:
            lines = [contract.output.dump_json(one).decode() for one in ray.get(found)]
            write_atomically(kept, "".join(f"{line}\n" for line in lines))
        return found


def _machine() -> str:
    """Return a digest of what speed depends on: a verdict is no better than the machine that it was made on."""
    here = measure.hardware()
    parts = [here.get(name) for name in ("cpu", "architecture", "cores", "flags", "gpus")]
    return hashlib.sha256(json.dumps([parts, measure.versions()]).encode()).hexdigest()[:10]


def gpus(engines: Iterable[str]) -> int:
    """Return how many GPUs a process takes that runs models on these engines.

    None where the cluster has none: who asks for what is not there waits for ever.
    """
    return int(any(on_gpu(name) for name in engines) and ray.cluster_resources().get("GPU", 0) >= 1)


def _alone(function: Callable[..., Any], engines: Iterable[str]) -> Any:
    """Return a remote function that runs in a fresh process, once."""
    return ray.remote(num_cpus=1, num_gpus=gpus(engines), max_calls=1, max_retries=0)(function)


def last_race(
    recipe: Recipe, dense: Path, folder: Path, ranking: Sequence[Trial], rows: Sequence[Row]
) -> dict[int, float]:
    """Return trial -> speed-up of those that might be the fastest, side by side; empty where none has a rival.

    As `Judge`: in a fresh process, and kept in the search's folder.
    """
    few = objective.finalists(ranking)
    if len(few) < 2:
        return {}
    plans = {trial.number: Plan(engine=trial.variant.engine, steps=trial.variant.steps) for trial in few}
    keys = {number: plan.key for number, plan in plans.items()}
    kept = folder / f"race-{hashlib.sha256(' '.join(sorted(keys.values())).encode()).hexdigest()[:10]}.json"
    if not kept.is_file():
        models = {number: (plan, folder / plan.key / "model") for number, plan in plans.items()}
        found = ray.get(
            _alone(runoff.turns, [plan.engine for plan in plans.values()]).remote(
                recipe, dense, models, ray.put(list(rows))
            )
        )
        write_atomically(kept, json.dumps({keys[number]: speedup for number, speedup in found.items()}))
    speedups = json.loads(kept.read_text(encoding="utf-8"))
    return {number: speedups[key] for number, key in keys.items()}


def cores() -> int:
    """Return the cores there are, not the slots Ray was told of: a private cluster is given more slots than cores."""
    return sum(1 for node in ray.nodes() if node["Alive"]) * (os.cpu_count() or 1)
