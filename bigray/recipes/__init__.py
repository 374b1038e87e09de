"""Shipped recipes: ``<task>.tiny.yaml`` runs on a CPU in seconds without a network, ``<task>.yaml`` is the real thing.

A starter recipe for a user is the real one of the task, comments and all, with the user's own data in it.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

from bigray import plugins
from bigray.errors import UserError

_OWN_DATA = """\
data:
  train: {train}
  # validation: 0.1              # a fraction of train, or a source of its own
  # test: 0.1
  # columns: {{...}}               # field of the task -> column; the fields are: {fields}

"""


def starter(task: str, data: str | None = None) -> str:
    """Return a commented recipe for a task.

    Args:
        task: File name in bigray/tasks.
        data: Training rows; relative paths are relative to where the recipe will lie.

    Raises:
        UnknownPlugin: No such task.
    """
    text = (Path(__file__).parent / f"{plugins.check('bigray.tasks', task)}.yaml").read_text(encoding="utf-8")
    text = re.sub(r"^name: .*$", f"name: my-{task.replace('_', '-')}", text, count=1, flags=re.MULTILINE)
    if data is None:
        return text
    fields = ", ".join(plugins.load("bigray.tasks", task).TASK.fields)
    section = _OWN_DATA.format(train=json.dumps(data, ensure_ascii=False), fields=fields)
    # the sample's own columns and splits do not fit other data, so the whole section goes
    return re.sub(r"^data:\n(?:(?: .*)?\n)*", lambda _: section, text, count=1, flags=re.MULTILINE)


def write_new(path: Path, text: str, *, force: bool = False) -> None:
    """Write a file that does not exist yet; ``force`` lets an existing one be replaced."""
    if path.exists() and not force:
        raise UserError(f"{str(path)!r} exists already. Give another name with --output, or --force to replace it.")
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise UserError(f"Cannot write {str(path)!r}: {error.strerror}.") from None
