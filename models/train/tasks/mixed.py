"""The tasks that have an adapter of their own, mixed: what the adapter for all of them is trained on.

Nothing says which task is meant but what is asked.
"""

from __future__ import annotations

import random

from . import extract, function_calls, normalise, redact, sql
from .task import Example, Part, Task

NAME = "mixed"
TASKS: dict[str, Task] = {
    "extract": extract,
    "function-calls": function_calls,
    "normalise": normalise,
    "redact": redact,
    "sql": sql,
}
# Rows of each in a hundred: more of those that take more examples to be learned alone.
SHARES = {"extract": 23, "function-calls": 25, "normalise": 20, "redact": 19, "sql": 13}


def example(part: Part, rng: random.Random, _kind: None = None) -> Example:
    [name] = rng.choices(list(TASKS), [SHARES[name] for name in TASKS])
    return TASKS[name].example(part, rng)
