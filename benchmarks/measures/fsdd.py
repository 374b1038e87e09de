"""Spoken digits (FSDD): new takes of four trained speakers, and a fifth speaker never heard in training."""

from __future__ import annotations

from pathlib import Path

from benchmarks.form import Bar, at_least, at_most
from benchmarks.measures.training import run_recipe, training_minutes, unpack
from bigray.cluster import cluster
from bigray.data import sources
from bigray.digest import digest
from bigray.evaluate import evaluate
from bigray.predictor import open_artifact
from bigray.recipe import Recipe

HELD_OUT = "lucas"


def files(data: Path, work: Path, held_out: str) -> tuple[list[str], list[str], list[str]]:
    """Return globs of the training files, of unseen takes of the trained speakers, and of the held-out speaker's files."""
    folder = unpack(next((data / "speech_recognition" / "fsdd").glob("*.tar.xz")), work) / "recordings"
    trained = [name for name in speakers(folder) if name != held_out]
    # the data set's own test takes are numbers 0 to 4
    train = [str(folder / f"*_{name}_{take}.wav") for name in trained for take in ("[5-9]", "[1-4][0-9]")]
    return train, [str(folder / f"*_{name}_[0-4].wav") for name in trained], [str(folder / f"*_{held_out}_*.wav")]


def speakers(folder: Path) -> list[str]:
    """Return the names in the file names, e.g. ``7_jackson_32.wav``."""
    return sorted({path.stem.split("_")[1] for path in folder.glob("*.wav")})


def run(data: Path, work: Path) -> list[Bar]:
    train, takes, unheard = files(data, work, HELD_OUT)
    recipe, results = run_recipe("fsdd", work, [f"data.train={train}", f"data.test={unheard}"])
    assert results.dense is not None
    chosen = results.chosen or results.dense
    return [
        at_least(
            f"fsdd: word accuracy, speaker {HELD_OUT} never trained on",
            1 - results.dense.metrics["wer"].value,
            0.80,
            "",
        ),
        at_least("fsdd: word accuracy, unseen takes of trained speakers", 1 - _wer(recipe, takes, work), 0.95, ""),
        at_least("fsdd: word accuracy of the chosen model, new speaker", 1 - chosen.metrics["wer"].value, 0.79, ""),
        at_most("fsdd: minutes of training", training_minutes(results), 20, "min"),
    ]


def _wer(recipe: Recipe, takes: list[str], work: Path) -> float:
    dense = work / recipe.name / f"train-{digest(recipe, 'train')}" / "dense"
    predictor = open_artifact(dense)
    with cluster():
        seen = recipe.data.model_copy(update={"test": takes})
        rows = sources.take(sources.load(seen, type(predictor.task), recipe.seed).test, 1000)
    return evaluate(predictor, rows)["wer"].value
