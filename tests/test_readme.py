"""The README is true: its commands parse, its recipes load, its names exist, its map knows every file."""

from __future__ import annotations

import ast
import importlib
import re
import shlex
import subprocess
from pathlib import Path

import pytest

from bigray import plugins
from bigray import recipe as recipes
from bigray.cli import main

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", README, flags=re.MULTILINE | re.DOTALL)


COMMANDS = [line for block in blocks("bash") for line in block.splitlines() if line.strip()]


@pytest.mark.parametrize("line", [line for line in COMMANDS if line.startswith("bigray ")])
def test_bigray_commands_parse(line: str) -> None:
    verb, *words = shlex.split(line)[1:]
    command = main._load(verb)
    context = command.make_context(f"bigray {verb}", words)
    if hasattr(command, "commands"):  # a verb of verbs
        name, inner, rest = command.resolve_command(context, words)
        inner.make_context(name, rest)


@pytest.mark.parametrize("line", [line for line in COMMANDS if line.startswith("make ")])
def test_make_targets_exist(line: str) -> None:
    answer = subprocess.run(["make", "--dry-run", *shlex.split(line)[1:]], cwd=ROOT, capture_output=True, text=True)
    assert answer.returncode == 0, answer.stderr


def test_every_command_is_one_of_ours() -> None:
    assert COMMANDS
    assert [line for line in COMMANDS if not line.startswith(("bigray ", "make "))] == []


def test_recipes_load() -> None:
    assert blocks("yaml")
    for text in blocks("yaml"):
        recipe = recipes.parse(text)
        for engine in recipe.compress.engines:
            plugins.check("bigray.engines", engine)
        for method in recipe.compress.methods:
            plugins.check("bigray.compress.methods", method.name)


@pytest.mark.parametrize("code", blocks("python"))
def test_python_names_exist(code: str) -> None:
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.ImportFrom):
            module = importlib.import_module(node.module or "")
            for alias in node.names:
                assert hasattr(module, alias.name)


def test_inline_commands_exist() -> None:
    verbs = set(re.findall(r"`bigray ([a-z]+)", README))
    assert verbs == set(main.VERBS)
    for name in re.findall(r"`bigray run ([a-z_]+\.tiny)`", README):
        assert name in recipes.shipped()


def test_the_map_knows_every_file() -> None:
    drawn = README.split("## Map")[1].split("```")[1]
    words = set(re.findall(r"[\w.]+", drawn))
    for path in sorted((ROOT / "bigray").rglob("*.py")):
        folder = path.parent.relative_to(ROOT / "bigray").parts
        if path.stem.startswith("_") or folder[:1] == ("cli",):
            continue
        assert path.name in words or path.stem in words or (folder and path.stem == "base"), (
            f"{path.name} is not in the map"
        )
    for line in drawn.splitlines():
        name = line.split()[0] if line.strip() else ""
        if name.endswith((".py", ".jinja")):
            assert list((ROOT / "bigray").rglob(name)), f"{name} is in the map and does not exist"


def test_links_lead_somewhere() -> None:
    for target in re.findall(r"\]\((?!https?://|#)([^)]+)\)", README):
        assert (ROOT / target).exists()
