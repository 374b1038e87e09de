"""Summaries of scientific abstracts (SciTLDR), against taking the first sentence of each."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

from benchmarks.form import Bar, at_least, at_most
from benchmarks.measures.training import compression_bars, run_recipe, training_minutes
from bigray import metrics


def run(data: Path, work: Path) -> list[Bar]:
    folder = work / "data" / "scitldr"
    folder.mkdir(parents=True, exist_ok=True)
    first, truth = [], []
    for split in ("train", "dev"):
        with gzip.open(data / "summarization" / "scitldr" / f"{split}.jsonl.gz", "rt", encoding="utf-8") as file:
            records = [json.loads(line) for line in file]
        rows = [{"text": " ".join(one["source"]), "summary": one["target"][0]} for one in records]
        text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        (folder / f"{split}.jsonl").write_text(text, encoding="utf-8")
        if split == "dev":
            first, truth = [one["source"][0] for one in records], [row["summary"] for row in rows]
    lead = metrics.summarization(first, truth)["rouge_1"]
    overrides = [f"data.train={folder / 'train.jsonl'}", f"data.test={folder / 'dev.jsonl'}"]
    _, results = run_recipe("scitldr", work, overrides)
    assert results.dense is not None
    dense = results.dense.metrics["rouge_1"].value
    return [
        at_least(f"scitldr dev: dense ROUGE-1 (lead sentence {lead:.3f})", dense, lead, ""),
        at_most("scitldr: minutes of training", training_minutes(results), 20, "min"),
        *compression_bars("scitldr", results, speedup=1.5),
    ]
