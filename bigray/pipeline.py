"""The story of a run: data -> train -> search -> verify -> artifact -> report.

Each stage leaves its result in a folder named by a digest of all that went into it, so a run that was interrupted goes
on where it stopped, and a run with another budget does not train again::

    runs/NAME/
      train-<digest>/     checkpoints; dense/ is the dense model as an artifact
      search-<digest>/    one folder per candidate
      artifact/           the model handed out (only after it was verified)
      samples/            answers to unseen rows, where they are files
      results.json, report.html, recipe.yaml, progress.json
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bigray import plugins, runs
from bigray import recipe as recipes
from bigray.artifact import MANIFEST, Artifact, Manifest, create, now, write_atomically
from bigray.digest import digest
from bigray.errors import NothingQualified, RecipeError
from bigray.recipe import Recipe
from bigray.results import Estimate, Results, Sample, Trial, Variant, Verdict
from bigray.schemas import CONTRACTS
from bigray.tasks.base import Row, Task

if TYPE_CHECKING:
    from bigray.compress.objective import Limits

Event = dict[str, Any]
Listen = Callable[[Event], None]
"""Gets ``{"stage": name, ...}``: stage start and end, training progress, finished trials."""

TEST_ROWS = 10_000
MEDIA_SAMPLE = 32
"""Rows whose media a task may look at to choose sizes; the labels of many more are given without media."""
RECOVERY_ROWS = 50_000
VERIFY_ATTEMPTS = 3
"""Candidates verified at most; each further look at the unseen rows makes them a little less unseen."""


def check(recipe: Recipe) -> None:
    """Check all of a recipe that can be checked on this machine, before a cluster is touched.

    Raises:
        RecipeError, UnknownPlugin, DataError, ModelNotFound: With the field at fault.
    """
    from bigray.compress import space
    from bigray.data import augment, sources

    sources.check(recipe.data, task_class(recipe))
    augment.check(recipe.compress.augment, recipe.task, "compress")
    for engine in recipe.compress.engines:
        plugins.check("bigray.engines", engine)
    for wanted in recipe.compress.methods:
        space.knob_ranges(wanted)
    if recipe.train.workers > recipe.train.batch_size:
        raise RecipeError(
            f"train.batch_size: {recipe.train.batch_size} is less than train.workers {recipe.train.workers}; "
            "every worker needs at least one row per step.",
            pointer="train.batch_size",
        )
    if recipe.model.source != "bigray":
        from bigray.models import pretrained

        if recipe.model.source == "transformers" and recipe.model.name != "auto":
            pretrained.locate(recipe.model.name)
    elif recipe.model.name != "auto":
        plugins.check("bigray.models", recipe.model.name)


def task_class(recipe: Recipe) -> type[Task]:
    """Return the class of the recipe's task."""
    found: type[Task] = plugins.load("bigray.tasks", recipe.task).TASK
    return found


@dataclass
class Run:
    """A run under way."""

    recipe: Recipe
    listen: Listen
    directory: Path = field(init=False)
    seconds: dict[str, float] = field(default_factory=dict)
    started: str = field(default_factory=now)

    def __post_init__(self) -> None:
        self.directory = (Path(self.recipe.output) / self.recipe.name).resolve()

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time a stage and tell the listener."""
        begun = time.monotonic()
        self.listen({"stage": name, "state": "start"})
        yield
        self.seconds[name] = self.seconds.get(name, 0.0) + time.monotonic() - begun
        self.listen({"stage": name, "state": "end", "seconds": self.seconds[name]})


def run(recipe: Recipe, listen: Listen | None = None, *, until: str = "search", dashboard: bool = False) -> Results:
    """Carry out a recipe; ``until="train"`` stops with the dense model.

    Raises:
        UserError: Something in the recipe or data, found before or while reading.
        TrainingFailed, SearchFailed: A stage that could not finish.
        NothingQualified: The search ended without a model that keeps the budget and is faster; results and report
            are written all the same.
    """
    check(recipe)
    this = Run(recipe, listen or (lambda event: None))
    this.directory.mkdir(parents=True, exist_ok=True)
    write_atomically(this.directory / "recipe.yaml", recipes.dump(recipe))
    with runs.recording(this.directory, recipe, task_class(recipe).primary, this.listen) as this.listen:
        results = _on_cluster(this, until, dashboard)
        if results.verdict is not None and not (results.verdict.qualified or results.verdict.forced):
            raise NothingQualified(f"{results.verdict.reason} Report: {this.directory / 'report.html'}.")
    return results


def _on_cluster(this: Run, until: str, dashboard: bool) -> Results:
    from bigray.cluster import cluster

    with this.stage("cluster"):
        context = cluster(dashboard=dashboard)
        address = context.__enter__()
    this.listen({"stage": "cluster", "dashboard": address})
    try:
        return _stages(this, until)
    finally:
        context.__exit__(None, None, None)


def _stages(this: Run, until: str) -> Results:
    from bigray import measure, report
    from bigray.data import sources

    recipe = this.recipe
    with this.stage("data"):
        splits = sources.load(recipe.data, task_class(recipe), recipe.seed)
        dense, history = _dense_done(this)
        sample = [] if dense else [*sources.take(splits.train, MEDIA_SAMPLE, recipe.seed), *splits.sample]
    with this.stage("train"):
        if dense is None:
            dense, history = _train(this, splits, sample)
        this.listen({"stage": "train", "history": history})
    metric = task_class(recipe).primary
    results = Results(
        name=recipe.name,
        task=recipe.task,
        metric=metric.name,
        higher_is_better=metric.higher_is_better,
        max_drop=recipe.compress.max_drop,
        started=this.started,
        rows=splits.counts,
        history=history,
        hardware=measure.hardware(),
        versions=measure.versions(),
        recipe=recipe.model_dump(mode="json"),
    )
    with this.stage("read rows"):
        test = sources.take(splits.test, TEST_ROWS, recipe.seed)
    if until == "train" or not recipe.compress.enabled:
        results = _dense_only(this, results, dense, test)
    else:
        results = _search(this, results, dense, splits, test)
    results = results.model_copy(update={"seconds": this.seconds, "samples": _samples(this, results, test)})
    results.save(this.directory / "results.json")
    report.write(results, this.directory / "report.html")
    return results


def _samples(this: Run, results: Results, test: list[Row]) -> list[Sample]:
    from bigray import listening

    answers_are_files = CONTRACTS[results.task].file is not None
    return (
        listening.write(this.directory / results.artifact, test, this.directory)
        if results.artifact and answers_are_files
        else []
    )


def _train(this: Run, splits: Any, sample: list[Row]) -> tuple[Artifact, list[dict[str, Any]]]:
    from bigray.data import sources
    from bigray.evaluate import answers
    from bigray.models.base import build
    from bigray.predictor import Predictor, load_session, program
    from bigray.train import checkpoint, trainer

    recipe, folder = this.recipe, _train_folder(this)
    task = task_class(recipe).prepare(recipe.data, recipe.model, sample)
    architecture = task.architecture(recipe.model)
    if recipe.train.epochs == 0:
        network, history = build(architecture, pretrained=True), []
    else:
        trained = trainer.fit(
            recipe, task, architecture, splits, folder, lambda state: this.listen({"stage": "train", **state})
        )
        network, history = build(architecture, pretrained=False), trained.history
        checkpoint.load(trained.checkpoint, network)
    network.eval()
    folder.mkdir(parents=True, exist_ok=True)  # without epochs there was no trainer to make it
    (folder / "history.json").write_text(json.dumps(history), encoding="utf-8")
    with create(folder / "dense") as draft:
        plugins.load("bigray.engines", "torch_eager").ENGINE.export(program(task, network), draft.model_dir)
        if task.settles:
            rows = sources.take(splits.validation, recipe.compress.evaluation_rows, recipe.seed)
            session = load_session(task, architecture, "torch_eager", draft.model_dir, recipe.compress.threads)
            task = task.settled(answers(Predictor(task, session), rows), rows)
        task.save(draft.task_dir)
        artifact = draft.commit(_manifest(this, architecture, "torch_eager"))
    return artifact, history


def _search(this: Run, results: Results, dense: Artifact, splits: Any, test: list[Row]) -> Results:
    from bigray import recovery as recoveries
    from bigray.compress import objective, search, sensitivity, space
    from bigray.compress.candidate import Job
    from bigray.compress.plan import Plan
    from bigray.data import sources
    from bigray.evaluate import evaluate
    from bigray.predictor import open_artifact

    recipe, settings = this.recipe, this.recipe.compress
    folder = this.directory / f"search-{digest(recipe, 'search')}"
    with this.stage("read rows"):
        validation = sources.take(splits.validation, settings.evaluation_rows, recipe.seed)
        recovery = sources.take(splits.train, RECOVERY_ROWS, recipe.seed)
    with this.stage("evaluate"):
        predictor = open_artifact(dense.directory, threads=settings.threads)
        scores = evaluate(predictor, validation, seed=recipe.seed)
    way = recoveries.choose(recipe)
    job = Job(
        recipe=recipe,
        dense=dense.directory,
        directory=folder,
        evaluation=validation,
        calibration=recovery[: settings.calibration_rows],
        recovery=recovery,
        dense_metric=scores[results.metric].value,
        recover=way.recover,
        cores=way.cores,
        gpus=way.gpus,
    )
    limits = objective.Limits.of(settings, job.dense_metric)
    results = results.model_copy(update={"max_drop": limits.max_drop})
    with this.stage("look at the network"):
        plans = search.suited(job, space.build(settings, predictor.task))
    for sentence in plans.left_out:
        this.listen({"stage": "search", "left_out": sentence})
    with this.stage("sensitivity"):
        costs = search.sensitivities(job, plans, lambda state: this.listen({"stage": "sensitivity", **state}))
    plans = plans.sparing(sensitivity.dearest(costs))
    results = results.model_copy(update={"sensitivity": costs})
    with this.stage("search"):
        trials = search.search(job, plans, lambda state: this.listen({"stage": "search", **state}))
    judge = search.Judge(recipe, dense.directory, test, results.metric)
    verdict: Verdict | None = None
    winner: Trial | None = None
    with this.stage("verify"):
        ranking = objective.ranked(trials, limits)
        raced = search.last_race(recipe, dense.directory, folder, ranking, validation)
        why_not = {number: f"side by side with the fastest it was {speed:.2f}x" for number, speed in raced.items()}
        for trial in objective.placed(ranking, raced)[:VERIFY_ATTEMPTS]:
            plan = Plan(engine=trial.variant.engine, steps=trial.variant.steps)
            verdict, judged = judge(folder / plan.key, plan)
            this.listen({"stage": "verify", "trial": trial, "verdict": verdict})
            results = results.model_copy(update={"dense": judged.dense})
            if verdict.qualified:
                winner = trial
                why_not.pop(trial.number, None)
                break
            why_not[trial.number] = f"when verified it {verdict.reason}"
        if winner is None and settings.force and (winner := objective.nearest(trials, limits)) is not None:
            plan = Plan(engine=winner.variant.engine, steps=winner.variant.steps)
            verdict, judged = judge(folder / plan.key, plan)
            verdict = verdict.model_copy(update={"forced": not verdict.qualified})
            results = results.model_copy(update={"dense": judged.dense})
    on_front = {trial.number for trial in objective.front(trials)}
    trials = [
        trial.model_copy(
            update={
                "on_front": trial.number in on_front,
                "chosen": winner is not None and trial.number == winner.number,
                "reason": why_not.get(trial.number) or objective.objection(trial, limits),
            }
        )
        for trial in trials
    ]
    results = results.model_copy(update={"trials": trials, "verdict": verdict})
    if winner is None:
        return _nothing(results, trials, verdict, limits)
    with this.stage("artifact"):
        _hand_out(this, dense, folder / plan.key / "model", judged.dense, judged.chosen, results)
    return results.model_copy(update={"chosen": judged.chosen, "artifact": "artifact"})


def _nothing(results: Results, trials: list[Trial], verdict: Verdict | None, limits: Limits) -> Results:
    from bigray.compress import objective

    reason = objective.explain_none(trials, limits)
    if verdict is not None:
        reason = f"The best candidates on validation failed on unseen rows: the last one {verdict.reason}."
    empty = verdict or Verdict(qualified=False, reason=reason, max_drop=results.max_drop)
    return results.model_copy(update={"verdict": empty.model_copy(update={"reason": reason})})


def _dense_only(this: Run, results: Results, dense: Artifact, test: list[Row]) -> Results:
    from bigray.compress.candidate import compare
    from bigray.evaluate import evaluate
    from bigray.predictor import open_artifact

    with this.stage("evaluate"):
        predictor = open_artifact(dense.directory, threads=this.recipe.compress.threads)
        scores = evaluate(predictor, test, seed=this.recipe.seed)
        latency, _ = compare(predictor, predictor, test, this.recipe, seconds=1.0)
    variant = Variant(
        engine="torch_eager", metrics=scores, latency=latency["dense"], size_bytes=dense.manifest.size_bytes
    )
    _hand_out(this, dense, dense.model_dir, variant, variant, results)
    return results.model_copy(update={"dense": variant, "artifact": "artifact"})


def _hand_out(this: Run, dense: Artifact, model: Path, before: Variant, after: Variant, results: Results) -> None:
    import shutil

    from bigray import front
    from bigray.compress.plan import Plan, adapted
    from bigray.predictor import load_task

    task = adapted(Plan(engine=after.engine, steps=after.steps), load_task(this.recipe.task, dense.task_dir))
    manifest = _manifest(this, dense.manifest.architecture, after.engine).model_copy(
        update={
            "steps": after.steps,
            "metrics": {"test": _plain(after.metrics), "test_dense": _plain(before.metrics)},
            "latency": {
                "model": [one.model_dump() for one in after.latency],
                "dense": [one.model_dump() for one in before.latency],
                "speedup": after.speedup,
                "speedups": after.speedups,
            },
            "verdict": results.verdict.model_dump() if results.verdict else {},
        }
    )
    with create(this.directory / "artifact") as draft:
        task.save(draft.task_dir)
        shutil.copytree(model, draft.model_dir, dirs_exist_ok=True)
        front.write(results, draft.directory)
        draft.commit(manifest)


def _manifest(this: Run, architecture: Any, engine: str) -> Manifest:
    from bigray import measure

    return Manifest(
        name=this.recipe.name,
        created=now(),
        task=this.recipe.task,
        architecture=architecture,
        engine=engine,
        recipe=this.recipe.model_dump(mode="json"),
        hardware=measure.hardware(),
        versions=measure.versions(),
    )


def _dense_done(this: Run) -> tuple[Artifact | None, list[dict[str, Any]]]:
    folder = _train_folder(this)
    if not (folder / "dense" / MANIFEST).is_file():
        return None, []
    history = json.loads((folder / "history.json").read_text(encoding="utf-8"))
    return Artifact.open(folder / "dense"), history


def _train_folder(this: Run) -> Path:
    return this.directory / f"train-{digest(this.recipe, 'train')}"


def _plain(metrics: dict[str, Estimate]) -> dict[str, Any]:
    return {name: estimate.model_dump() for name, estimate in metrics.items()}
