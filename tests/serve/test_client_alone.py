"""The client installed alone, into an environment of its own, asks a running service."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.cluster, pytest.mark.slow]

ROOT = Path(__file__).parent.parent.parent
ASK = """
import asyncio, importlib.util, sys
from bigray import AsyncClient, Client, Gallery, MissingPackage

base, file = sys.argv[1:]
for package in ("ray", "torch", "transformers", "numpy", "openvino", "typer"):
    assert importlib.util.find_spec(package) is None, package
with Client(base) as client:
    labels = client.text_classification("a good film", model="texts")
    assert len(labels) == 3
    many = client.batch("text_classification", ["a good film"] * 5, model="texts", progress=True)
    assert many == [labels] * 5
    text = client.automatic_speech_recognition(file).text  # read while it is sent
    Gallery().enrol("ann", client.speaker_recognition(file))

async def ask():
    async with AsyncClient(base) as client:
        assert await client.text_classification("a good film", model="texts") == labels
        assert (await client.automatic_speech_recognition(file)).text == text
        assert await client.batch("text_classification", ["a good film"] * 5, model="texts") == many

asyncio.run(ask())
try:
    import bigray
    bigray.run
except MissingPackage as error:
    assert "pip install 'bigray[all]'" in str(error)
else:
    raise SystemExit("bigray.run should say what it needs")
print(sorted(sys.modules.keys() & {"ray", "torch", "transformers", "numpy"}))
"""


def test_client_alone(service: str, sound: bytes, tmp_path: Path) -> None:
    folder = tmp_path / "venv"
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    python = folder / "bin" / "python"
    subprocess.run([python, "-m", "pip", "install", "-q", "--disable-pip-version-check", ROOT], check=True, timeout=300)
    (tmp_path / "a.wav").write_bytes(sound)
    command = [python, "-c", ASK, service, str(tmp_path / "a.wav")]
    asked = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, env={"PATH": "/usr/bin"}, check=False)
    assert asked.stdout == "[]\n", asked.stderr
    told = subprocess.run(
        [folder / "bin" / "bigray", "status"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert told.returncode == 2
    assert told.stderr.startswith("error: The command line needs the package typer")
    assert "Traceback" not in told.stderr
