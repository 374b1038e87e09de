"""Which row goes into which split. Pure: counts and a seed in, row numbers out."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from bigray.errors import DataError

Indices = np.ndarray
"""Row numbers, int64, in random order."""


def order(count: int, seed: int) -> Indices:
    """Return the numbers 0..count-1 in a random order that depends on nothing but the seed."""
    return np.random.default_rng([seed, count]).permutation(count)


def hold_out(count: int, fractions: Sequence[float], seed: int) -> list[Indices]:
    """Split ``count`` rows into one part per fraction and, last, the rest.

    The parts are disjoint and together hold every row. Each part has at least one row.

    Raises:
        DataError: There are fewer rows than parts.
    """
    if count < len(fractions) + 1:
        raise DataError(
            f"{count} row(s) cannot be split into {len(fractions) + 1} parts. Add rows, or give validation and test "
            "sources of their own."
        )
    shuffled = order(count, seed)
    sizes = [max(1, round(fraction * count)) for fraction in fractions]
    while sum(sizes) >= count:  # few rows: a part must not eat up training
        sizes[int(np.argmax(sizes))] -= 1
    return np.split(shuffled, np.cumsum(sizes))


def hold_out_groups(groups: Sequence[str], fractions: Sequence[float], seed: int, name: str) -> list[Indices]:
    """Split rows like `hold_out`, but never put two rows of one group into different parts.

    Whole groups are dealt out in random order until a part is as near to its fraction as it can get, so parts can be
    larger or smaller than asked when groups are large. ``name`` is the field the groups come from.

    Raises:
        DataError: There are fewer groups than parts.
    """
    names, member = np.unique(np.asarray(groups, dtype=object).astype(str), return_inverse=True)
    if len(names) < len(fractions) + 1:
        raise DataError(
            f"group_by: {name!r} has {len(names)} different value(s), and {len(fractions) + 1} parts need at least one "
            "each. Give validation and test sources of their own, or leave group_by out."
        )
    sizes = np.bincount(member)
    dealt = list(order(len(names), seed))
    part_of_group = np.full(len(names), len(fractions))
    for part, fraction in enumerate(fractions):
        target, filled = fraction * len(groups), 0
        must_remain = len(fractions) - part  # one group for every later part
        while len(dealt) > must_remain:
            nearer = abs(filled + sizes[dealt[0]] - target) < abs(filled - target)
            if filled and not nearer:
                break
            group = dealt.pop(0)
            part_of_group[group] = part
            filled += sizes[group]
    rows = order(len(groups), seed)
    return [rows[part_of_group[member[rows]] == part] for part in range(len(fractions) + 1)]


def shared_groups(first: Sequence[str], second: Sequence[str]) -> list[str]:
    """Return the groups that occur in both, sorted."""
    return sorted(set(first) & set(second))
