"""Answers that are files: written beside the results, part of the report, and kept by `bigray predict --output`."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from bigray import artifact, listening, plugins, report
from bigray.cli import main
from bigray.models.base import build
from bigray.predictor import open_artifact, program
from bigray.recipe import Data, Model
from bigray.results import Results
from bigray.tasks import _sound
from bigray.tasks.text_to_speech import TASK

RATE = 16_000


def rows() -> list[dict[str, Any]]:
    tone = (0.2 * np.sin(np.arange(RATE // 2) * 0.2)).astype(np.float32)
    return [{"text": f"a <word> {number}", "audio": _sound.write(tone, RATE, "flac")} for number in range(7)]


@pytest.fixture(scope="module")
def voice(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The artifact of an untrained voice."""
    folder = tmp_path_factory.mktemp("voice") / "artifact"
    model = Model(options={"width": 16, "encoder_depth": 1, "decoder_depth": 1}, input={"vocoder_rounds": 1})
    task = TASK.prepare(Data(train="rows"), model, rows())
    architecture = task.architecture(model)
    network = build(architecture, pretrained=False).eval()
    with artifact.create(folder) as draft:
        task.save(draft.task_dir)
        plugins.load("bigray.engines", "torch_eager").ENGINE.export(program(task, network), draft.model_dir)
        draft.commit(
            artifact.Manifest(
                name="voice",
                created=artifact.now(),
                task=task.name,
                architecture=architecture,
                engine="torch_eager",
                recipe={},
            )
        )
    return folder


def test_samples_are_part_of_the_report(voice: Path, tmp_path: Path) -> None:
    found = listening.write(voice, rows(), tmp_path)
    assert len(found) == listening.COUNT
    for sample in found:
        heard, rate = soundfile.read(tmp_path / sample.file)
        assert rate == RATE
        assert len(heard) > 0
        assert len(soundfile.read(tmp_path / sample.truth)[0]) == pytest.approx(RATE // 2, abs=2500)
    results = Results(
        name="voice",
        task="text_to_speech",
        metric="mcd",
        higher_is_better=False,
        max_drop=10,
        started="now",
        samples=found,
    )
    report.write(results, tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert page.count("<audio controls") == 2 * listening.COUNT
    assert page.count("data:audio/mpeg;base64,") == 2 * listening.COUNT
    assert "a &lt;word&gt; 0" in page
    results.save(tmp_path / "results.json")
    assert Results.open(tmp_path / "results.json") == results


def test_predict_writes_files_where_it_is_told_to(
    voice: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def run(*arguments: str) -> int:
        monkeypatch.setattr("sys.argv", ["bigray", "predict", str(voice), *arguments])
        with pytest.raises(SystemExit) as end:
            main.run()
        return int(end.value.code or 0)

    assert run("a word", "word", "--output", str(tmp_path / "out")) == 0
    told = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [Path(one["audio"]).name for one in told] == ["1.wav", "2.wav"]
    assert told[0]["sampling_rate"] == RATE
    here = open_artifact(voice).predict([{"text": "a word"}])[0]
    assert (tmp_path / "out" / "1.wav").read_bytes() == here.audio
    assert soundfile.read(io.BytesIO(here.audio))[1] == RATE
    (tmp_path / "file").write_text("")
    assert run("a word", "--output", str(tmp_path / "file")) == 2
    assert "Cannot write" in capsys.readouterr().err
    assert run("a word") == 0
    assert len(json.loads(capsys.readouterr().out)["audio"]) > 100  # base64
