"""Writes the held-out cases of all tasks, and how they are asked and checked.

python3 -m models.train.cases        writes models/eval/*.jsonl and models/eval/tasks.json
"""

from __future__ import annotations

import json
from pathlib import Path

from .tasks import TASKS
from .tasks.task import cases

EVAL = Path(__file__).parents[1] / "eval"
COUNT = {"function-calls": 240}
COUNT_OTHERS = 200
SEED = 135


def heldout(name: str) -> str:
    """The text of models/eval/NAME.jsonl."""
    drawn = cases(TASKS[name], "heldout", COUNT.get(name, COUNT_OTHERS), SEED)
    return "".join(json.dumps(case.case) + "\n" for case in drawn)


def index() -> str:
    """The text of models/eval/tasks.json."""
    return json.dumps({n: {"check": t.CHECK, "instruction": t.INSTRUCTION} for n, t in TASKS.items()}, indent=2) + "\n"


def main() -> None:
    for name in TASKS:
        (EVAL / f"{name}.jsonl").write_text(heldout(name))
    (EVAL / "tasks.json").write_text(index())


if __name__ == "__main__":
    main()
