"""What a replica's process does without."""

from __future__ import annotations

import importlib
import subprocess
import sys

import pytest

from bigray.serve import lean

SERVE_WITHOUT_PANDAS = """
import sys
from bigray.serve import lean
lean.leave_out()
from ray import serve
assert sys.modules["pandas"] is None
assert sys.modules["pyarrow"] is None
lean.allow()
import pandas
import pyarrow
print(pandas.DataFrame({"a": [1]}).shape)
"""


def test_serve_does_without_tables_and_later_imports_find_it() -> None:
    done = subprocess.run([sys.executable, "-c", SERVE_WITHOUT_PANDAS], capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "(1, 1)", done.stderr


def test_pandas_that_is_there_already_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    there = importlib.import_module("pandas")
    monkeypatch.setitem(sys.modules, "pandas", there)
    lean.leave_out()
    lean.allow()
    assert sys.modules["pandas"] is there


def test_the_hook_goes_with_what_the_caller_gave_its_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    class Context:
        runtime_env = {"working_dir": "here", "env_vars": {"A": "1"}}

    monkeypatch.setattr(lean.ray, "is_initialized", lambda: True)
    monkeypatch.setattr(lean.ray, "get_runtime_context", Context)
    given = lean.environment()
    assert given["working_dir"] == "here"
    assert given["env_vars"].pop("A") == "1"
    assert list(given["env_vars"].values()) == ["bigray.serve.lean.leave_out"]
    assert Context.runtime_env["env_vars"] == {"A": "1"}
