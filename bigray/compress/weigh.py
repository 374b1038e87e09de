"""Memory of a process that serves one model: a fresh interpreter loads it, runs it once, and says how large it grew."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from pathlib import Path

from bigray.artifact import Artifact
from bigray.compress.plan import Plan, adapted
from bigray.predictor import Predictor, load_session, load_task

TIMEOUT_S = 300


def peak_memory(dense: Path, plan: Plan, model: Path, threads: int) -> int:
    """Return the peak resident set in bytes of a process with this model and nothing else.

    Args:
        dense: Artifact of the dense model: its task and architecture.
        plan: What was done to it; says the engine of the files in ``model``.
        model: Folder of engine files.
        threads: Threads of one inference.

    Raises:
        RuntimeError: The process failed; with the end of what it said.
    """
    command = [sys.executable, "-m", __name__, str(dense), plan.model_dump_json(), str(model), str(threads)]
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
    )
    if done.returncode:
        raise RuntimeError(f"The model could not be weighed: {done.stderr.strip()[-300:]}")
    return int(done.stdout.split()[-1])


def main(dense: str, plan: str, model: str, threads: str) -> None:
    """Load, run a row, print bytes."""
    artifact = Artifact.open(dense, verify=False)
    made = Plan.model_validate_json(plan)
    task = adapted(made, load_task(artifact.manifest.task, artifact.task_dir))
    session = load_session(task, artifact.manifest.architecture, made.engine, Path(model), int(threads))
    Predictor(task, session).predict(task.example(1))
    print(_peak())


def _peak() -> int:
    """Return the peak resident set of this process in bytes."""
    # Linux's getrusage also counts what the parent held when it started this process; the status file does not
    status = Path("/proc/self/status")
    if status.is_file():
        lines = dict(line.split(":", 1) for line in status.read_text(encoding="utf-8").splitlines() if ":" in line)
        return int(lines["VmHWM"].split()[0]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # bytes on macOS


if __name__ == "__main__":
    main(*sys.argv[1:])
