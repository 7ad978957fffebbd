"""Dates, times and units: a sentence is repeated with each of them in one fixed form.

"Send 2.5 kg by March 3rd, 2021." becomes "Send 2500 g by 2021-03-03."
"""

from __future__ import annotations

import datetime
import random
from decimal import Decimal

from . import words
from .task import Example, Part, part_of

KINDS = (None,)
CHECK = "text"
INSTRUCTION = (
    "Repeat the sentence with every date as YYYY-MM-DD, every time of day as 24-hour HH:MM, and every quantity in m, g, ml or min, "
    "as in 2500 g for 2.5 kg. Change nothing else."
)

MONTHS = "January February March April May June July August September October November December".split()
FIRST_DAY, DAYS = datetime.date(1990, 1, 1), 365 * 50

# Per kind of quantity: the unit as written, the factor to the fixed unit, and the values that are written with it.
UNITS = {
    "length": [
        (("km", "kilometers", "kilometres"), "1000", [Decimal(n) / 10 for n in range(2, 200)]),
        (("cm", "centimeters", "centimetres"), "0.01", [Decimal(n) for n in range(2, 400)]),
    ],
    "mass": [
        (("kg", "kilograms", "kilos"), "1000", [Decimal(n) / 10 for n in range(2, 200)]),
        (("mg", "milligrams"), "0.001", [Decimal(n * 10) for n in range(2, 400)]),
    ],
    "volume": [
        (("l", "liters", "litres"), "1000", [Decimal(n) / 10 for n in range(2, 150)]),
        (("cl", "centiliters"), "10", [Decimal(n) for n in range(2, 200)]),
    ],
    "duration": [(("h", "hours"), "60", [Decimal(n) / 2 for n in range(3, 40)])],
}
FIXED_UNIT = {"length": "m", "mass": "g", "volume": "ml", "duration": "min"}

SENTENCES: dict[Part, list[str]] = {
    "train": [
        "The meeting with {name} is on {date}.",
        "{name} was born on {date} in {city}.",
        "The contract ends on {date} and not before.",
        "We leave {city} on {date} at {time}.",
        "The {thing} was delivered on {date}.",
        "The {thing} weighs about {mass}.",
        "{name} ordered {mass} of it on {date}.",
        "It is {length} from here to {city}.",
        "Add {volume} and wait for {duration}.",
        "The train to {city} leaves at {time} and takes {duration}.",
        "{volume} of paint are left for the {thing}.",
        "A rope of {length} weighs {mass}.",
        "Call {name} at {time} on {date}.",
        "From {date} to {date} the shop in {city} is closed.",
        "The invoice of {date} has not been paid.",
        "Take {mass} of flour and {volume} of milk.",
        "{name} starts work at {time}.",
        "The {thing} needs {length} of space.",
        "Between {time} and {time} nobody was in {city}.",
        "{name} ran {length} in {duration}.",
        "Tickets for {date} cost more.",
        "The doors open at {time}, says {name}.",
        "My flight from {city} lands at {time} on {date}.",
        "After {duration} the {thing} was ready.",
        "On {date} {name} moved to {city}.",
        "Each {thing} holds {volume}.",
    ],
    "dev": [
        "The course starts on {date} and lasts {duration}.",
        "{name} bought a {thing} of {mass}.",
        "Be at the station in {city} at {time}.",
        "The {thing} broke on {date}.",
        "Mix {volume} with {mass} of sugar.",
        "The wall is {length} long.",
    ],
    "heldout": [
        "{name} visited {city} on {date}.",
        "The {thing} is {length} away.",
        "On {date} the office opens at {time}.",
        "We walked {length} and then rested for {duration}.",
        "{name} returned the {thing} on {date}.",
        "Pour {volume} of water over the {thing}.",
        "The bus from {city} arrives at {time}.",
        "The lease runs until {date}.",
        "{name} carried {mass} for {length}.",
    ],
}
REQUESTS: dict[Part, list[str]] = {
    "train": ["Normalise: ", "Normalise dates and units: ", "Use standard forms: ", "Write in standard form: "],
    "dev": ["Normalise this: "],
    "heldout": ["Normalise the sentence: ", "Standard form, please: "],
}


def example(part: Part, rng: random.Random, _kind: None = None) -> Example:
    written = plain = rng.choice(SENTENCES[part])
    while "{" in written:
        slot = written[written.index("{") + 1 : written.index("}")]
        before, after = value(slot, part, rng)
        written, plain = (text.replace("{" + slot + "}", by, 1) for text, by in ((written, before), (plain, after)))
    return Example(rng.choice(REQUESTS[part]) + written, plain)


def value(slot: str, part: Part, rng: random.Random) -> tuple[str, str]:
    """A value as people write it, and in its fixed form."""
    if slot in UNITS:
        return quantity(slot, part, rng)
    if slot in ("date", "time"):
        return {"date": date, "time": time}[slot](part, rng)
    word = {"name": words.person, "city": words.city, "thing": words.thing}[slot](part, rng)
    return word, word


def date(part: Part, rng: random.Random) -> tuple[str, str]:
    day = FIRST_DAY + datetime.timedelta(rng.randrange(DAYS))
    if part_of("date", day) != part:
        return date(part, rng)
    month = MONTHS[day.month - 1]
    forms = [
        f"{day.day} {month} {day.year}",
        f"{month} {day.day}, {day.year}",
        f"{month} {ordinal(day.day)}, {day.year}",
        f"the {ordinal(day.day)} of {month} {day.year}",
        f"{month[:3]} {day.day}, {day.year}",
        f"{day.day}.{day.month}.{day.year}",
    ]
    return rng.choice(forms), day.isoformat()


def ordinal(number: int) -> str:
    ending = "th" if 11 <= number <= 13 else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}{ending}"


def time(part: Part, rng: random.Random) -> tuple[str, str]:
    hour, minute = rng.randrange(24), 5 * rng.randrange(12)
    if part_of("time", (hour, minute)) != part:
        return time(part, rng)
    clock = f"{(hour - 1) % 12 + 1}" + (f":{minute:02d}" if minute or rng.random() < 0.3 else "")
    blank = rng.choice([" ", ""])
    return f"{clock}{blank}{'am' if hour < 12 else 'pm'}", f"{hour:02d}:{minute:02d}"


def quantity(kind: str, part: Part, rng: random.Random) -> tuple[str, str]:
    names, factor, values = rng.choice(UNITS[kind])
    number = rng.choice([v for v in values if part_of(names[0], v) == part])
    name = rng.choice(names)
    blank = "" if len(name) <= 2 and rng.random() < 0.3 else " "
    return f"{number.normalize():f}{blank}{name}", f"{(number * Decimal(factor)).normalize():f} {FIXED_UNIT[kind]}"
