"""Examples of the function-call task, and the held-out file.

python -m models.train.data          writes models/eval/function-calls.jsonl
"""

from __future__ import annotations

import json
import random
import string
import zlib
from dataclasses import dataclass
from pathlib import Path

from .templates import CLOSERS, OPENERS, TEMPLATES, WORDS

HELDOUT_FILE = Path(__file__).parents[1] / "eval" / "function-calls.jsonl"
HELDOUT_CASES = 240
HELDOUT_SEED = 135
NUMBERS = {
    "minutes": range(2, 100),
    "people": range(2, 16),
    "brightness": range(1, 101),
    "quantity": range(2, 25),
    "amount": range(3, 2000),
}
INVENTED_SHARE = 0.35
ONSETS = "b br c ch d dr f fl g gr h j k l m n p pl qu r s sh sl st t th tr v w y z".split()
VOWELS = "a e i o u ai ea ee ie oa ou".split()
CODAS = ["", "", "", "l", "n", "r", "s", "t", "ck", "nd", "rm", "st", "x"]


SIGNATURES = {
    "set_alarm": ["time"],
    "set_timer": ["minutes"],
    "send_message": ["to", "text"],
    "get_weather": ["city", "day"],
    "play_music": ["title", "artist"],
    "add_event": ["title", "day", "time"],
    "convert_currency": ["amount", "from", "to"],
    "book_table": ["restaurant", "people", "time"],
    "set_light": ["room", "brightness"],
    "add_item": ["item", "quantity"],
}


@dataclass(frozen=True)
class Example:
    sentence: str
    call: str  # the JSON text expected

    @property
    def messages(self) -> list[dict[str, str]]:
        return [{"role": "user", "content": self.sentence}]


def is_heldout(slot: str, value: int) -> bool:
    """One value in five of every number and time belongs to the held-out half."""
    return zlib.crc32(f"{slot} {value}".encode()) % 5 == 0


class Values:
    """Draws slot values of one half: the words of the sentence, and the argument that they stand for."""

    def __init__(self, half: str, rng: random.Random) -> None:
        self._words, self._heldout, self._rng = WORDS[half], half == "heldout", rng

    def draw(self, function: str, slot: str) -> tuple[str, str | int]:
        if slot in NUMBERS:
            value = self._number(slot)
            return str(value), value
        if slot == "time":
            return self._time()
        # Invented words in training teach copying where fixed lists would be learnt by heart.
        invent = not self._heldout and slot != "day" and function != "convert_currency"
        text = self._invented(slot) if invent and self._rng.random() < INVENTED_SHARE else self._text(function, slot)
        return text, text

    def _invented(self, slot: str) -> str:
        pick = self._rng.choice
        words = [
            "".join(pick(ONSETS) + pick(VOWELS) + pick(CODAS) for _ in range(self._rng.randint(1, 2)))
            for _ in range(self._rng.randint(1, 2))
        ]
        lower = slot in ("text", "room", "item") or (slot == "title" and self._rng.random() < 0.5)
        return " ".join(words if lower else [word.capitalize() for word in words])

    def _number(self, slot: str) -> int:
        return self._rng.choice([v for v in NUMBERS[slot] if is_heldout(slot, v) == self._heldout])

    def _time(self) -> tuple[str, str]:
        choices = [m for m in range(0, 24 * 60, 5) if is_heldout("time", m) == self._heldout]
        hour, minute = divmod(self._rng.choice(choices), 60)
        argument = f"{hour:02d}:{minute:02d}"
        if self._rng.random() < 0.3:
            return argument, argument
        clock = f"{(hour - 1) % 12 + 1}" + (f":{minute:02d}" if minute else "")
        return f"{clock} {'am' if hour < 12 else 'pm'}", argument

    def _invented_code(self) -> str:
        code = "".join(self._rng.choices(string.ascii_uppercase, k=3))
        return self._invented_code() if code in WORDS["heldout"]["currency"] else code

    def _text(self, function: str, slot: str) -> str:
        word = lambda kind: self._rng.choice(self._words[kind])  # noqa: E731
        half = self._rng.random() < 0.5
        match function, slot:
            case "send_message", "to":
                return word("name")
            case "send_message", "text":
                return word("text") if half else f"{word('subject')} {word('predicate')}"
            case "play_music", "title":
                return f"{word('adjective')} {word('noun')}"
            case "play_music", "artist":
                return word("band")
            case "add_event", "title":
                return word("event")
            case "convert_currency", _:
                return word("currency") if half or self._heldout else self._invented_code()
            case "book_table", "restaurant":
                return word("place") if half else f"The {word('place_adjective')} {word('place_noun')}"
        return word(slot)


def example(half: str, rng: random.Random, function: str | None = None) -> Example:
    function = function or rng.choice(list(TEMPLATES))
    values = Values(half, rng)
    sentence = rng.choice(TEMPLATES[function][half])
    imperative = sentence[0].islower()
    arguments: dict[str, str | int] = {}
    for slot in SIGNATURES[function]:
        words, arguments[slot] = values.draw(function, slot)
        while slot == "to" and arguments.get("from") == arguments[slot]:
            words, arguments[slot] = values.draw(function, slot)
        sentence = sentence.replace("{" + slot + "}", words)
    if imperative:
        sentence = rng.choice(OPENERS[half]) + sentence
    # A message text takes no closer: "... that I am late for me" could be read in two ways.
    if imperative and function != "send_message":
        sentence += rng.choice(CLOSERS[half])
    elif sentence[-1] not in "?.!":
        sentence += rng.choice(["", "."])
    if rng.random() < 0.7:
        sentence = sentence[0].upper() + sentence[1:]
    return Example(sentence, json.dumps({"name": function, "arguments": arguments}))


def heldout() -> list[Example]:
    rng = random.Random(HELDOUT_SEED)
    functions = list(TEMPLATES)
    seen: dict[str, Example] = {}
    while len(seen) < HELDOUT_CASES:
        case = example("heldout", rng, functions[len(seen) % len(functions)])
        seen[case.sentence] = case
    return list(seen.values())


def main() -> None:
    HELDOUT_FILE.parent.mkdir(parents=True, exist_ok=True)
    with HELDOUT_FILE.open("w") as file:
        for case in heldout():
            file.write(json.dumps({"messages": case.messages, "expected": case.call}) + "\n")


if __name__ == "__main__":
    main()
