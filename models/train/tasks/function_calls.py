"""Function calls: a sentence to one of ten calls as JSON.

The oldest of the tasks, with two halves of its own, `train` and `heldout`, and no dev part: its held-out half has been looked at while
it was made, as the adapter's card tells.
"""

from __future__ import annotations

import json
import random
import string
import zlib

from .function_call_templates import CLOSERS, OPENERS, TEMPLATES, WORDS
from .task import Example, Part, invented

CHECK = "json"
NUMBERS = {
    "minutes": range(2, 100),
    "people": range(2, 16),
    "brightness": range(1, 101),
    "quantity": range(2, 25),
    "amount": range(3, 2000),
}
INVENTED_SHARE = 0.35

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

KINDS = list(TEMPLATES)
INSTRUCTION = (
    'Answer with one JSON function call only, as in {"name": "set_volume", "arguments": {"device": "radio", "level": 3}}. '
    "Times are 24-hour HH:MM. Functions: "
    + ", ".join(f"{name}({', '.join(arguments)})" for name, arguments in SIGNATURES.items())
    + "."
)


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
        words = [invented(self._rng, self._rng.randint(1, 2)) for _ in range(self._rng.randint(1, 2))]
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


def example(part: Part, rng: random.Random, kind: str | None = None) -> Example:
    if part == "dev":
        raise ValueError("function-calls has no dev part")
    function = kind or rng.choice(KINDS)
    values = Values(part, rng)
    sentence = rng.choice(TEMPLATES[function][part])
    imperative = sentence[0].islower()
    arguments: dict[str, str | int] = {}
    for slot in SIGNATURES[function]:
        words, arguments[slot] = values.draw(function, slot)
        while slot == "to" and arguments.get("from") == arguments[slot]:
            words, arguments[slot] = values.draw(function, slot)
        sentence = sentence.replace("{" + slot + "}", words)
    if imperative:
        sentence = rng.choice(OPENERS[part]) + sentence
    # A message text takes no closer: "... that I am late for me" could be read in two ways.
    if imperative and function != "send_message":
        sentence += rng.choice(CLOSERS[part])
    elif sentence[-1] not in "?.!":
        sentence += rng.choice(["", "."])
    if rng.random() < 0.7:
        sentence = sentence[0].upper() + sentence[1:]
    return Example(sentence, json.dumps({"name": function, "arguments": arguments}))
