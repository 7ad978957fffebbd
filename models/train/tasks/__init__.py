"""The tasks, by the names of their adapters."""

import argparse

from . import arithmetic, extract, function_calls, mixed, normalise, redact, sql
from .file import FileTask
from .task import Source, Task

TASKS: dict[str, Task] = {
    "arithmetic": arithmetic,
    "extract": extract,
    "function-calls": function_calls,
    "normalise": normalise,
    "redact": redact,
    "sql": sql,
}


def source_of(args: argparse.Namespace) -> Source:
    """What `--task` names or `--data` holds."""
    if args.data:
        return FileTask(args.data)
    return mixed if args.task == mixed.NAME else TASKS[args.task]


def tasks_of(args: argparse.Namespace) -> dict[str, Task]:
    """The tasks that are scored one by one: several only where `--task` names the mix."""
    if args.task == mixed.NAME:
        return mixed.TASKS
    return {args.task: FileTask(args.data) if args.data else TASKS[args.task]}
