"""The tasks, by the names of their adapters."""

import argparse

from . import arithmetic, extract, function_calls, normalise, redact, sql
from .file import FileTask
from .task import Task

TASKS: dict[str, Task] = {
    "arithmetic": arithmetic,
    "extract": extract,
    "function-calls": function_calls,
    "normalise": normalise,
    "redact": redact,
    "sql": sql,
}


def task_of(args: argparse.Namespace) -> Task:
    """The task that `--task` names or `--data` holds."""
    return FileTask(args.data) if args.data else TASKS[args.task]
