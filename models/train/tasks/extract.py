"""Structured extraction: a customer's message to JSON with five fields, null where the message does not tell.

A message is a few sentences in any order, each of which tells one field or nothing.
"""

from __future__ import annotations

import json
import random

from . import words
from .task import Example, Part, part_of

KINDS = (None,)
CHECK = "json"
FIELDS = ("name", "city", "order", "item", "quantity")
INSTRUCTION = (
    'Answer with JSON only, as in {"name": "Ann Lee", "city": null, "order": 10482, "item": "lamp", "quantity": 2}: '
    "the sender's name and city, the order number, the item and the quantity; null for what the message does not tell."
)

# Sentences by the fields that they tell; "" tells nothing. A number in them that is not asked for is a trap.
SENTENCES: dict[Part, dict[str, list[str]]] = {
    "train": {
        "name": [
            "My name is {name}.",
            "This is {name}.",
            "{name} here.",
            "I am {name}.",
            "You have me on file as {name}.",
            "My account is under {name}.",
        ],
        "name city": [
            "My name is {name} and I live in {city}.",
            "This is {name} from {city}.",
            "{name}, {city}.",
            "I am {name}, writing from {city}.",
            "Greetings from {city}, {name} speaking.",
        ],
        "city": [
            "I live in {city}.",
            "I am based in {city}.",
            "Please send it to {city}.",
            "The parcel should have come to {city}.",
            "Your shop in {city} sent me here.",
        ],
        "order": [
            "My order number is {order}.",
            "It is about order {order}.",
            "The order is {order}.",
            "Order: {order}.",
            "See order no. {order}.",
            "I placed order {order} last week.",
        ],
        "item quantity": [
            "I bought {quantity} {item}s.",
            "I ordered {quantity} {item}s.",
            "There should be {quantity} {item}s in the box.",
            "I am still waiting for {quantity} {item}s.",
            "All {quantity} {item}s arrived broken.",
            "I would like to return {quantity} {item}s.",
            "{quantity} {item}s are missing.",
        ],
        "item": [
            "The {item} does not work.",
            "I have a question about the {item}.",
            "The {item} came in the wrong colour.",
            "When will the {item} be shipped?",
            "I want to send the {item} back.",
        ],
        "item order": [
            "The {item} from order {order} never arrived.",
            "In order {order} the {item} was missing.",
        ],
        "": [
            "I have waited for {noise} days now.",
            "Please help.",
            "I am not happy about this.",
            "Can you call me back?",
            "It cost me {noise} dollars.",
            "I called {noise} times already.",
            "Your website is slow.",
            "I hope you can fix this soon.",
            "Nobody answers my mails.",
        ],
    },
    "dev": {
        "name": ["My full name is {name}."],
        "name city": ["{name} from {city} here."],
        "city": ["My home is in {city}."],
        "order": ["The number of my order is {order}."],
        "item quantity": ["I need {quantity} {item}s."],
        "item": ["The {item} is damaged."],
        "item order": ["I asked for the {item} in order {order}."],
        "": ["It has been {noise} weeks.", "I am waiting for an answer."],
    },
    "heldout": {
        "name": ["The name is {name}.", "I am called {name}."],
        "name city": ["I am {name} from {city}.", "{name} from {city} is my name and place."],
        "city": ["I am writing from {city}.", "We are in {city}."],
        "order": ["My order is number {order}.", "This concerns order {order}."],
        "item quantity": ["I paid for {quantity} {item}s.", "I received {quantity} {item}s."],
        "item": ["The {item} stopped working.", "My {item} has a scratch."],
        "item order": ["I miss the {item} of order {order}."],
        "": ["I wrote to you {noise} days ago.", "Please answer quickly.", "That is {noise} dollars lost."],
    },
}
GREETINGS: dict[Part, list[str]] = {
    "train": ["", "", "Hello, ", "Hi. ", "Dear team, ", "Good morning. ", "Hey, "],
    "dev": ["", "Good day. "],
    "heldout": ["", "Hello there. ", "Good evening. "],
}
REQUESTS: dict[Part, list[str]] = {
    "train": ["Extract: ", "Extract the fields: ", "Read this message: ", "Message: "],
    "dev": ["Fields of this message: "],
    "heldout": ["Extract the data: ", "Read the fields: "],
}


def example(part: Part, rng: random.Random, _kind: None = None) -> Example:
    values = {
        "name": words.person(part, rng) + (f" {words.surname(part, rng)}" if rng.random() < 0.6 else ""),
        "city": words.city(part, rng),
        "order": number("order", 1000, 99999, part, rng),
        "item": words.thing(part, rng),
        "quantity": number("quantity", 2, 60, part, rng),
    }
    kinds = told(rng)
    sentences = [rng.choice(SENTENCES[part][kind]) for kind in kinds]
    noise = str(number("noise", 2, 60, part, rng))
    text = rng.choice(GREETINGS[part]) + " ".join(sentences).replace("{noise}", noise)
    known = {field for kind in kinds for field in kind.split()}
    answer = {field: values[field] if field in known else None for field in FIELDS}
    return Example(rng.choice(REQUESTS[part]) + text.format(**values), json.dumps(answer))


def told(rng: random.Random) -> list[str]:
    """Kinds of sentences that tell no field twice, in any order."""
    person = rng.choice([["name"], ["name city"], ["city"], ["name", "city"], []])
    goods = rng.choice(
        [["item quantity"], ["item"], ["item order"], ["item quantity", "order"], ["item", "order"], ["order"]]
    )
    kinds = [*person, *goods, *[""] * rng.randint(0, 1)]
    rng.shuffle(kinds)
    return kinds


def number(kind: str, low: int, high: int, part: Part, rng: random.Random) -> int:
    value = rng.randint(low, high)
    return value if part_of(kind, value) == part else number(kind, low, high, part, rng)
