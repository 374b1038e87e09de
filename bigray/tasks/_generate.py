"""Writing a sequence token by token with exported graphs: greedy, or beam search. Numpy only.

Beam search keeps the ``beams`` likeliest beginnings of every row. A finished sequence Y competes by

    score(Y) = log P(Y) / ((5 + |Y|) / 6) ** length_penalty        (Wu et al. 2016, arXiv 1609.08144)

A row is done when it has as many finished sequences as beams, and then leaves the batch. One beam is greedy search.

Sizes: N rows, B beams, C vocabulary, L length of the longest answer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from bigray.tasks.base import Batch, Run

PAST, SOURCE = ("keys", "values"), ("cross_keys", "cross_values")
NEW = {"keys": "new_keys", "values": "new_values"}
"""Caches of what was written and of what is read: (layers, rows, heads, steps, width). Rows are axis 1. A step returns its
past, one longer, under a new name: in an exported graph no output may have an input's name."""


@dataclass(frozen=True)
class Search:
    """How to write."""

    longest: int
    """Tokens of the longest answer, its end included."""
    start: int
    end: int
    banned: tuple[int, ...]
    """Tokens that are never written: padding, the unknown, the start."""
    banned_first: tuple[int, ...] = ()
    """Tokens that no answer begins with."""
    beams: int = 1
    length_penalty: float = 1.0
    no_repeat: int = 0
    """Runs of so many tokens occur once; 0: no limit."""


def generate(run: Run, batch: Batch, search: Search) -> Batch:
    """Return ``tokens`` (N, L) int64, padded with ``end``, for a batch; steps get its ``attention_mask``, if there is one."""
    outputs = run(batch)
    count, beams = len(outputs["logits"]), search.beams
    done: list[list[tuple[float, list[int]]]] = [[] for _ in range(count)]
    scores = _log_probs(outputs["logits"], search)
    scores[:, list(search.banned_first)] = -np.inf
    alive = np.arange(count)
    order = np.argsort(-scores, axis=1, kind="stable")[:, :beams]
    totals = np.take_along_axis(scores, order, 1)
    written = order[:, :, None]
    caches = {name: np.repeat(outputs[name], beams, axis=1) for name in (*PAST, *SOURCE)}
    masks = {name: np.repeat(batch[name], beams, axis=0) for name in ("attention_mask",) if name in batch}
    while True:
        totals = _finish(alive, written, totals, done, search)
        going = np.array([len(done[row]) < beams for row in alive]) & np.isfinite(totals).any(1)
        if written.shape[2] >= search.longest or not going.any():
            break
        if not going.all():
            alive, written, totals = alive[going], written[going], totals[going]
            kept = np.repeat(going, beams)
            caches = {name: value[:, kept] for name, value in caches.items()}
            masks = {name: value[kept] for name, value in masks.items()}
        feed = {"token": written[:, :, -1].reshape(-1, 1), **masks, **caches}
        feed["position"] = np.full_like(feed["token"], written.shape[2])
        outputs = run(feed, "step")
        scores = _log_probs(outputs["logits"], search).reshape(len(alive), beams, -1)
        _forbid(scores, written, search.no_repeat)
        sums = (totals[:, :, None] + scores).reshape(len(alive), -1)
        best = np.argpartition(-sums, beams - 1, axis=1)[:, :beams]
        best = np.take_along_axis(best, np.argsort(-np.take_along_axis(sums, best, 1), axis=1, kind="stable"), 1)
        parents, tokens = best // scores.shape[2], best % scores.shape[2]
        totals = np.take_along_axis(sums, best, 1)
        written = np.concatenate([np.take_along_axis(written, parents[:, :, None], 1), tokens[:, :, None]], axis=2)
        places = (np.arange(len(alive))[:, None] * beams + parents).ravel()
        moved = beams > 1 and not np.array_equal(places, np.arange(len(places)))
        for name, new in NEW.items():
            caches[name] = outputs[new][:, places] if moved else outputs[new]
    for row, lines, sums in zip(alive, written, totals, strict=True):
        if not done[row]:  # cut at the longest length
            best_beam = int(np.argmax(sums))
            done[row].append((float(sums[best_beam]), lines[best_beam].tolist()))
    chosen = [max(found, key=lambda one: one[0])[1] for found in done]
    width = max(len(line) for line in chosen)
    tokens = np.full((count, width), search.end, dtype=np.int64)
    for place, line in enumerate(chosen):
        tokens[place, : len(line)] = line
    return {"tokens": tokens}


def _finish(
    alive: np.ndarray,
    written: np.ndarray,
    totals: np.ndarray,
    done: Sequence[list[tuple[float, list[int]]]],
    search: Search,
) -> np.ndarray:
    """Move the sequences that ended to ``done``; return the totals with those at minus infinity."""
    totals = totals.copy()
    for row, beam in np.argwhere((written[:, :, -1] == search.end) & np.isfinite(totals)):
        line = written[row, beam].tolist()
        score = totals[row, beam] / ((5 + len(line)) / 6) ** search.length_penalty
        done[alive[row]].append((float(score), line))
        totals[row, beam] = -np.inf
    return totals


def _log_probs(logits: np.ndarray, search: Search) -> np.ndarray:
    """Return log-probabilities (rows, C) float32; banned tokens have none."""
    shifted = logits - logits.max(-1, keepdims=True)
    scores = shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))
    scores[:, list(search.banned)] = -np.inf
    return np.asarray(scores, dtype=np.float32)


def _forbid(scores: np.ndarray, written: np.ndarray, size: int) -> None:
    """Take every token that would end a run of ``size`` tokens for the second time; ``scores`` (N, B, C) in place."""
    if size < 1 or written.shape[2] < size:
        return
    for row, beams in enumerate(written.tolist()):
        for beam, line in enumerate(beams):
            last = line[len(line) - size + 1 :]
            for place in range(len(line) - size + 1):
                if line[place : place + size - 1] == last:
                    scores[row, beam, line[place + size - 1]] = -np.inf
