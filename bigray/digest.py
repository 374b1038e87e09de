"""What the result of a stage depends on, as a short digest: equal digests, equal results, nothing to do again."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any, Literal

from bigray.recipe import Recipe

BUDGET = (
    "max_drop", "max_drop_unit", "p95_ms", "size_mb", "memory_mb", "force", "trials", "concurrency", "max_minutes",
)  # fmt: skip
"""Settings that say which candidate is wanted, or how long to look: with others, the same search goes on."""


def digest(recipe: Recipe, stage: Literal["train", "search"]) -> str:
    """Return a digest of the recipe's settings that count for a stage, and of the files that it names."""
    parts = ["task", "seed", "data", "model", "train"] + (["compress"] if stage == "search" else [])
    content = recipe.model_dump(mode="json", include=set(parts))
    content["train"].pop("max_failures", None)
    for key in BUDGET:
        content.get("compress", {}).pop(key, None)
    content["files"] = [_stamp(source) for source in (recipe.data.train, recipe.data.validation, recipe.data.test)]
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:10]


def _stamp(source: Any) -> Any:
    # a changed file is another data set; a folder is taken by its own time stamp
    if isinstance(source, list):
        return [_stamp(item) for item in source]
    path = Path(source) if isinstance(source, str) else None
    if path is None or not path.exists():
        return source
    stat = path.stat()
    return [str(path), stat.st_size, stat.st_mtime_ns]
