"""Who proposes the next candidate: Optuna's tree-structured Parzen estimator, with a memory on disk.

Each proposal and each outcome is a line of a file. A search that was killed reads the file back: what was proposed and
not finished is proposed again, and what comes next is what would have come had nothing happened, because the sampler is
seeded anew for each proposal, by its number. No plan is proposed twice. Plans that the space no longer allows (an engine
was uninstalled since) are left aside.

Bergstra et al. 2011, "Algorithms for Hyper-Parameter Optimization"; Ozaki et al. 2022, "Multiobjective Tree-Structured
Parzen Estimator" (JAIR 73), as Optuna has them.
"""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import optuna
from optuna.trial import FixedTrial, TrialState, create_trial
from ray.tune.search import Searcher

from bigray.artifact import write_atomically
from bigray.compress.space import NONE, Space

REPEATS = 32
"""Proposals of known plans after which the sampler, who keeps coming back to the best ones, is no longer asked."""
DRAWS = 256
"""Random plans that are known, after which the space counts as used up."""

Params = dict[str, Any]


class Proposer(Searcher):  # type: ignore[misc]
    """Proposes candidates to Ray Tune, at most ``total`` of them over all the search's lives.

    Args:
        space: What may be proposed.
        objectives: Name of a result -> ``min`` or ``max``, in order.
        first: Parameters proposed before the sampler is asked.
        total: Different plans proposed in all.
        seed: Of the sampler.
        ledger: The file; need not exist.
    """

    def __init__(
        self,
        space: Space,
        objectives: Mapping[str, str],
        first: Sequence[Params],
        total: int,
        seed: int,
        ledger: Path,
    ) -> None:
        super().__init__(metric=list(objectives), mode=list(objectives.values()))
        self._space, self._objectives, self._total, self._seed = space, objectives, total, seed
        self._ledger = ledger
        directions = ["minimize" if mode == "min" else "maximize" for mode in objectives.values()]
        self._study = optuna.create_study(directions=directions, sampler=_sampler(seed))
        self._params: list[Params] = []
        """All that was proposed, by number."""
        self._keys: set[str] = set()
        self._running: dict[str, int] = {}
        """Tune's name of a trial -> number of the proposal."""
        self._again: list[int] = []
        self._barred: set[int] = set()
        """Numbers of proposals that the space does not allow any more."""
        self._recall()
        self._first = [params for params in first if space.plan(params).key not in self._keys]

    @property
    def left(self) -> int:
        """Trials still to be run."""
        return self._total - self._proposed + len(self._again)

    def suggest(self, trial_id: str) -> Params | str:
        """Return the next parameters, or `Searcher.FINISHED`."""
        if self._again:
            number = self._again.pop(0)
        else:
            params = self._next() if self._proposed < self._total else None
            if params is None:
                return str(Searcher.FINISHED)
            number = len(self._params)
            self._keep({"proposal": number, "params": params})
            self._note(params)
        self._running[trial_id] = number
        return dict(self._params[number])

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """Learn from an outcome; a trial that died is proposed again when the search is started again."""
        number = self._running.pop(trial_id, None)
        if number is None or error or not result:
            return
        values = [float(result[name]) for name in self._objectives]
        self._keep({"outcome": number, "values": values})
        self._learn(number, values)

    def save(self, checkpoint_path: str) -> None:
        """Keep nothing of Tune's: the ledger holds it all."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing was kept."""

    @property
    def _proposed(self) -> int:
        return len(self._params) - len(self._barred)

    def _next(self) -> Params | None:
        while self._first:
            params = self._first.pop(0)
            if self._space.plan(params).key not in self._keys:
                return params
        for attempt in range(REPEATS + DRAWS):
            seed = hash((self._seed, len(self._params), attempt)) % 2**32
            self._study.sampler = _sampler(seed) if attempt < REPEATS else optuna.samplers.RandomSampler(seed)
            trial = self._study.ask()
            self._space.sample(trial)
            # outcomes are told under numbers of our own; to the study this question was never asked
            self._study.tell(trial, state=TrialState.FAIL)
            if self._space.plan(trial.params).key not in self._keys:
                return dict(trial.params)
        return None

    def _note(self, params: Params) -> None:
        if self._allows(params):
            self._keys.add(self._space.plan(params).key)
        else:
            self._barred.add(len(self._params))
        self._params.append(params)

    def _allows(self, params: Params) -> bool:
        if not self._space.allows(params["engine"], _methods(params)):
            return False
        try:
            self._space.sample(FixedTrial(params))
        except ValueError:  # a knob has other choices now
            return False
        return True

    def _learn(self, number: int, values: list[float]) -> None:
        fixed = FixedTrial(self._params[number])
        self._space.sample(fixed)
        known = {name: value for name, value in self._params[number].items() if name in fixed.distributions}
        self._study.add_trial(create_trial(params=known, distributions=fixed.distributions, values=values))

    def _recall(self) -> None:
        if not self._ledger.is_file():
            return
        outcomes: list[tuple[int, list[float]]] = []
        whole = self._ledger.read_text(encoding="utf-8").rpartition("\n")[0]  # a last line without end was cut off
        for line in whole.splitlines():
            entry = json.loads(line)
            if "params" in entry:
                self._note(entry["params"])
            else:
                outcomes.append((entry["outcome"], entry["values"]))
        done = {number for number, _ in outcomes} | self._barred
        self._again = [number for number in range(len(self._params)) if number not in done]
        for number, values in outcomes:
            if number not in self._barred:
                self._learn(number, values)
        write_atomically(self._ledger, whole + "\n" if whole else "")

    def _keep(self, entry: dict[str, Any]) -> None:
        self._ledger.parent.mkdir(parents=True, exist_ok=True)
        with self._ledger.open("a", encoding="utf-8") as file:
            file.write(json.dumps(entry) + "\n")
            file.flush()
            os.fsync(file.fileno())


def _methods(params: Params) -> list[str]:
    """Return the methods that parameters ask for."""
    used = [name.removeprefix("use.") for name, value in params.items() if name.startswith("use.") and value]
    graph = params.get(f"graph.{params['engine']}", NONE)
    return [*used, *([] if graph == NONE else [graph])]


def _sampler(seed: int) -> optuna.samplers.BaseSampler:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        return optuna.samplers.TPESampler(seed=seed, n_startup_trials=8, multivariate=True, group=True)
