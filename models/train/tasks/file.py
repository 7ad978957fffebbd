"""Examples from a file: JSONL with `prompt` and `completion` in every line.

One line in five, by a hash of its prompt, is kept for the score.
"""

from __future__ import annotations

import json
import random
from pathlib import Path

from .task import Example, Part, part_of


class FileTask:
    INSTRUCTION = ""
    KINDS = (None,)

    def __init__(self, path: Path) -> None:
        self.path = path
        lines = [json.loads(line) for line in path.read_text().split("\n") if line.strip()]
        self.lines = [Example(line["prompt"], line["completion"]) for line in lines]
        self._examples: dict[bool, list[Example]] = {False: [], True: []}  # by whether they are kept for the score
        for example in self.lines:
            self._examples[part_of("prompt", example.prompt) == "heldout"].append(example)
        if not all(self._examples.values()):
            raise ValueError(f"{path} has too few different prompts: some must be left for the score")
        self.CHECK = "json" if all(is_json(example.answer) for example in self.lines) else "text"

    def example(self, part: Part, rng: random.Random, _kind: None = None) -> Example:
        return rng.choice(self._examples[part == "heldout"])

    @property
    def heldout(self) -> list[Example]:
        return self._examples[True]


def is_json(text: str) -> bool:
    """Objects and lists only: a bare number or word is text."""
    try:
        return isinstance(json.loads(text), dict | list)
    except ValueError:
        return False
