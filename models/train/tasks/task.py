"""What a task is, and how its words, values and sentences are kept apart.

Every task has three parts, `train`, `dev` and `heldout`. Sentence patterns are listed per part. Words and values are dealt out
by a hash: seven in ten to `train`, one to `dev`, two to `heldout`, so that nothing which fills a held-out case fills
a training example. `dev` is what settings and data are judged by; `heldout` is for the score that is reported.
"""

from __future__ import annotations

import random
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, TypeVar

Part = Literal["train", "dev", "heldout"]
PARTS: tuple[Part, ...] = ("train", "dev", "heldout")
T = TypeVar("T")

ONSETS = "b br c ch d dr f fl g gr h j k l m n p pl qu r s sh sl st t th tr v w y z".split()
VOWELS = "a e i o u ai ea ee ie oa ou".split()
CODAS = ["", "", "", "l", "n", "r", "s", "t", "ck", "nd", "rm", "st", "x"]


@dataclass(frozen=True)
class Example:
    prompt: str
    answer: str
    facts: dict[str, Any] = field(default_factory=dict)  # what the checker needs beside the answer

    @property
    def messages(self) -> list[dict[str, str]]:
        return [{"role": "user", "content": self.prompt}]

    @property
    def case(self) -> dict[str, Any]:
        """A line of the files in models/eval."""
        return {"messages": self.messages, "expected": self.answer, **self.facts}


class Source(Protocol):
    """What a training draws its examples from."""

    def example(self, part: Part, rng: random.Random, kind: Any = None) -> Example:
        """`kind` is one of a task's KINDS, or None for any."""


class Task(Source, Protocol):
    """A module of this package."""

    CHECK: str  # how answers are compared: a name of models/eval/check.py
    INSTRUCTION: str  # what the base model is told when it is scored with help
    KINDS: Sequence[Any]  # held-out cases take turns over them


def part_of(kind: str, value: object) -> Part:
    place = zlib.crc32(f"{kind} {value}".encode()) % 10
    return "train" if place < 7 else "dev" if place == 7 else "heldout"


def deal(kind: str, values: Iterable[T]) -> dict[Part, list[T]]:
    """The values of each part. A part that would be empty is an error: the list is too short."""
    dealt: dict[Part, list[T]] = {part: [] for part in PARTS}
    for value in values:
        dealt[part_of(kind, value)].append(value)
    if not all(dealt.values()):
        raise ValueError(f"too few values of {kind} for three parts")
    return dealt


def invented(rng: random.Random, syllables: int | None = None) -> str:
    """A word that is in no list: teaches copying where fixed lists would be learnt by heart."""
    count = syllables or rng.randint(1, 3)
    return "".join(rng.choice(ONSETS) + rng.choice(VOWELS) + rng.choice(CODAS) for _ in range(count))


def cases(task: Task, part: Part, count: int, seed: int) -> list[Example]:
    """`count` examples with different prompts, the same for the same seed."""
    rng = random.Random(seed)
    seen: dict[str, Example] = {}
    while len(seen) < count:
        case = task.example(part, rng, task.KINDS[len(seen) % len(task.KINDS)])
        seen[case.prompt] = case
    return list(seen.values())
