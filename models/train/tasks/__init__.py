"""The tasks, by the names of their adapters."""

from . import arithmetic, extract, function_calls, normalise, redact, sql
from .task import Task

TASKS: dict[str, Task] = {
    "arithmetic": arithmetic,
    "extract": extract,
    "function-calls": function_calls,
    "normalise": normalise,
    "redact": redact,
    "sql": sql,
}
