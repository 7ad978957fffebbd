"""Word problems of two or three steps, solved one step at a time.

"6 boxes hold 12 pens each. 5 pens are lost. How many are left?" is answered "6 * 12 = 72, 72 - 5 = 67". The last number counts.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

from . import words
from .task import Example, Part, part_of

CHECK = "last-number"
INSTRUCTION = "Solve the problem step by step. Write the steps only, as in: 6 * 12 = 72, 72 - 5 = 67"

Steps = list[tuple[int, str, int]]


@dataclass(frozen=True)
class Problem:
    """Stories about numbers a, b, c (d), and how to solve them. `draw` gives the numbers."""

    draw: Callable[[random.Random], tuple[int, ...]]
    steps: Callable[..., Steps]
    stories: dict[Part, list[str]]


def stories(train: list[str], dev: str, heldout: list[str]) -> dict[Part, list[str]]:
    return {"train": train, "dev": [dev], "heldout": heldout}


PROBLEMS = [
    Problem(  # a + b - c
        lambda r: ((a := r.randint(11, 80)), (b := r.randint(5, 60)), r.randint(3, a + b - 2)),
        lambda a, b, c: [(a, "+", b), (a + b, "-", c)],
        stories(
            [
                "{name} has {a} {thing}s, buys {b} more and gives away {c}. How many {thing}s are left?",
                "A shop has {a} {thing}s. {b} {thing}s come in and {c} are sold. How many does it have now?",
                "There are {a} {thing}s in the store. {name} brings {b} and takes {c}. How many are there now?",
                "{name} owns {a} {thing}s and gets {b} as a gift. Then {c} break. How many {thing}s remain?",
                "{a} people are in the hall, {b} come and {c} leave. How many people are in the hall?",
            ],
            "{name} collects {thing}s: {a} at first, {b} more later. {c} are lost. How many are there?",
            [
                "{name} had {a} {thing}s, found {b} more and lost {c}. How many {thing}s does {name} have?",
                "A bus has {a} passengers. {b} get on and {c} get off. How many are on the bus?",
            ],
        ),
    ),
    Problem(  # a * b + c
        lambda r: (r.randint(2, 9), r.randint(3, 30), r.randint(2, 60)),
        lambda a, b, c: [(a, "*", b), (a * b, "+", c)],
        stories(
            [
                "{a} boxes hold {b} {thing}s each, and {c} {thing}s are loose. How many {thing}s are there?",
                "{name} packs {a} bags of {b} {thing}s and has {c} more. How many {thing}s in all?",
                "Each of {a} shelves has {b} {thing}s. {c} more lie on the floor. How many {thing}s are there?",
                "{name} buys {a} {thing}s at {b} dollars each and pays {c} dollars for shipping. What is the total?",
                "{a} rows of {b} seats and {c} extra seats: how many seats?",
            ],
            "{name} fills {a} crates with {b} {thing}s each and keeps {c}. How many {thing}s are there?",
            [
                "{a} carts carry {b} {thing}s each, and {c} {thing}s are on the ground. How many {thing}s is that?",
                "{name} rents a {thing} for {a} days at {b} dollars a day plus {c} dollars once. What does it cost?",
            ],
        ),
    ),
    Problem(  # a * b - c
        lambda r: ((a := r.randint(2, 9)), (b := r.randint(4, 30)), r.randint(2, a * b - 1)),
        lambda a, b, c: [(a, "*", b), (a * b, "-", c)],
        stories(
            [
                "{a} boxes hold {b} {thing}s each. {c} {thing}s are sold. How many are left?",
                "{name} makes {b} {thing}s a day for {a} days and gives {c} away. How many {thing}s are left?",
                "{name} has {a} bags of {b} {thing}s and loses {c}. How many {thing}s remain?",
                "There are {a} teams of {b} players. {c} players go home. How many stay?",
                "{a} friends bring {b} {thing}s each; {c} of them break. How many are whole?",
            ],
            "{name} gets {a} crates of {b} {thing}s and returns {c}. How many {thing}s are kept?",
            [
                "{a} carts carry {b} {thing}s each, but {c} {thing}s fall off. How many arrive?",
                "{name} builds {b} {thing}s a week for {a} weeks and sells {c}. How many {thing}s are unsold?",
            ],
        ),
    ),
    Problem(  # c - a * b
        lambda r: ((a := r.randint(2, 9)), (b := r.randint(3, 20)), a * b + r.randint(1, 60)),
        lambda a, b, c: [(a, "*", b), (c, "-", a * b)],
        stories(
            [
                "{name} buys {a} {thing}s for {b} dollars each and pays with {c} dollars. How much change is there?",
                "{name} has {c} dollars and spends {b} dollars on each of {a} {thing}s. How much is left?",
                "Of {c} {thing}s, {a} groups get {b} each. How many {thing}s are left over?",
                "A rope of {c} meters is cut {a} times by {b} meters. How long is the rest?",
                "{c} pages are to be read. {name} reads {b} pages on each of {a} days. How many pages are left?",
            ],
            "A tank has {c} liters. {a} buckets of {b} liters are taken. How many liters remain?",
            [
                "{name} starts with {c} {thing}s and gives {b} to each of {a} friends. How many {thing}s are left?",
                "{name} saved {c} dollars and buys {a} {thing}s at {b} dollars. How many dollars remain?",
            ],
        ),
    ),
    Problem(  # (a + b) * c
        lambda r: (r.randint(2, 15), r.randint(2, 15), r.randint(2, 9)),
        lambda a, b, c: [(a, "+", b), (a + b, "*", c)],
        stories(
            [
                "Each of {c} boxes has {a} red and {b} blue {thing}s. How many {thing}s are there?",
                "{name} makes {a} {thing}s in the morning and {b} at night, every day for {c} days. How many in all?",
                "A {thing} costs {a} dollars and its case {b} dollars. What do {c} of them with case cost?",
                "{c} classes have {a} boys and {b} girls each. How many children is that?",
                "{name} walks {a} km out and {b} km back on {c} days. How many km is that?",
            ],
            "{c} bags hold {a} old and {b} new {thing}s each. How many {thing}s are in the bags?",
            [
                "{c} rooms have {a} large and {b} small {thing}s each. How many {thing}s are that?",
                "{name} sells {a} {thing}s before noon and {b} after noon for {c} days. How many {thing}s are sold?",
            ],
        ),
    ),
    Problem(  # a * b + c - d
        lambda r: (
            (a := r.randint(2, 9)),
            (b := r.randint(3, 20)),
            (c := r.randint(2, 40)),
            r.randint(2, a * b + c - 1),
        ),
        lambda a, b, c, d: [(a, "*", b), (a * b, "+", c), (a * b + c, "-", d)],
        stories(
            [
                "{a} boxes hold {b} {thing}s each. {name} adds {c} {thing}s and sells {d}. How many are left?",
                "{name} buys {a} packs of {b} {thing}s, finds {c} more and loses {d}. How many {thing}s remain?",
                "Each of {a} shelves has {b} {thing}s. {c} come in and {d} go out. How many are there now?",
                "{name} earns {b} dollars on each of {a} days, gets {c} dollars as a gift and spends {d}. How much is left?",
            ],
            "{a} crates hold {b} {thing}s each. {c} more come and {d} break. How many are whole?",
            [
                "{a} carts carry {b} {thing}s each. {c} {thing}s are added and {d} fall off. How many {thing}s are on the carts?",
                "{name} fills {a} jars with {b} coins each, adds {c} coins and takes out {d}. How many coins remain?",
            ],
        ),
    ),
]


KINDS = PROBLEMS


def example(part: Part, rng: random.Random, kind: Problem | None = None) -> Example:
    problem = kind or rng.choice(PROBLEMS)
    numbers = problem.draw(rng)
    if part_of("numbers", sorted(numbers)) != part:
        return example(part, rng, kind)
    slots = dict(zip("abcd", numbers)) | {"name": words.person(part, rng), "thing": words.thing(part, rng)}
    story = rng.choice(problem.stories[part]).format(**slots)
    lines = [f"{x} {sign} {y} = {result(x, sign, y)}" for x, sign, y in problem.steps(*numbers)]
    return Example(story, ", ".join(lines))


def result(x: int, sign: str, y: int) -> int:
    return {"+": x + y, "-": x - y, "*": x * y}[sign]
