"""Rewriting by a rule: personal data are replaced by their kind, everything else is repeated as it is.

"Write to Ann Lee at ann@lee.org" becomes "Write to [NAME] at [EMAIL]".
"""

from __future__ import annotations

import random

from . import words
from .task import Example, Part, invented, part_of

KINDS = (None,)
CHECK = "text"
INSTRUCTION = (
    "Repeat the text with each person's name replaced by [NAME], each e-mail address by [EMAIL], each telephone number by [PHONE] "
    "and each account number by [ACCOUNT], as in: Call [NAME] at [PHONE]. Change nothing else."
)

SENTENCES: dict[Part, list[str]] = {
    "train": [
        "Please call {name} at {phone}.",
        "{name} can be reached under {phone} or {email}.",
        "Send the {thing} to {name} in {city}.",
        "Write to {email} and ask for {name}.",
        "The refund goes to account {account}.",
        "{name} paid {amount} dollars from {account}.",
        "I met {name} and {name} in {city} last week.",
        "My number is {phone}, my mail is {email}.",
        "The {thing} in room {amount} belongs to {name}.",
        "Contact {name} <{email}> for the {thing}.",
        "Transfer {amount} euros to {account}, says {name}.",
        "{city} is where {name} bought the {thing}.",
        "Nobody picks up at {phone}.",
        "{name} lost the {thing} on the way to {city}.",
        "Ask {name} or {name} about the {amount} {thing}s.",
        "For the {thing}, mail {email}.",
        "The account of {name} is {account}.",
        "Dear {name}, your {thing} is ready in {city}.",
        "Is {phone} still the number of {name}?",
        "The {thing} costs {amount} dollars in {city}.",
        "{email} wrote that {name} is ill.",
        "Tell {name} that {amount} guests come to {city}.",
        "We wired {amount} dollars to {account}.",
        "{name}, {phone}, {email}: please keep these.",
        "Ask {email} for the {thing}.",
        "{email} and {phone} are those of {name}.",
        "Use {account} for the {amount} dollars.",
        "Either call {phone} or ask {email} in {city}.",
    ],
    "dev": [
        "Reach {name} by phone: {phone}.",
        "{name} sold {amount} {thing}s in {city}.",
        "Use account {account} or ask {email}.",
        "{name} and {name} share one {thing}.",
    ],
    "heldout": [
        "You can call {name} on {phone} in {city}.",
        "{name} sent the {thing} back to {name}.",
        "Pay {amount} dollars to {account} today.",
        "Mail {email} if {name} is late.",
        "In {city}, {name} found {amount} {thing}s.",
        "{phone} belongs to {name}, not to me.",
        "Questions go to {email} or {phone}.",
        "{name} opened the account {account} in {city}.",
    ],
}
REQUESTS: dict[Part, list[str]] = {
    "train": ["Redact: ", "Redact personal data: ", "Anonymise: ", "Remove personal data: "],
    "dev": ["Redact this: "],
    "heldout": ["Redact the text: ", "Anonymise this text: "],
}
MARKS = {"name": "[NAME]", "email": "[EMAIL]", "phone": "[PHONE]", "account": "[ACCOUNT]"}
DOMAINS = ["com", "org", "net", "io", "eu"]
COUNTRIES = ["DE", "FR", "NL", "ES", "IT", "AT"]


def example(part: Part, rng: random.Random, _kind: None = None) -> Example:
    count = 1 if rng.random() < 0.5 else 2
    written = plain = " ".join(rng.sample(SENTENCES[part], count))
    while "{" in written:
        slot = written[written.index("{") + 1 : written.index("}")]
        text = value(slot, part, rng)
        written = written.replace("{" + slot + "}", text, 1)
        plain = plain.replace("{" + slot + "}", MARKS.get(slot, text), 1)
    return Example(rng.choice(REQUESTS[part]) + written, plain)


def value(slot: str, part: Part, rng: random.Random) -> str:
    match slot:
        case "name":
            return words.person(part, rng) + (f" {words.surname(part, rng)}" if rng.random() < 0.5 else "")
        case "email":
            return email(part, rng)
        case "phone":
            return digits(rng.choice(["+## ### #######", "0## ### ####", "###-###-####", "(###) ### ####"]), part, rng)
        case "account":
            return rng.choice(COUNTRIES) + digits("## #### #### ####", part, rng)
        case "amount":
            return digits(rng.choice(["#", "##", "###"]), part, rng)
        case "city":
            return words.city(part, rng)
        case _:
            return words.thing(part, rng)


def email(part: Part, rng: random.Random) -> str:
    first, last = words.person(part, rng).lower(), words.surname(part, rng).lower()
    user = rng.choice([first, f"{first}.{last}", f"{first[0]}.{last}", f"{last}{rng.randint(1, 99)}"])
    return f"{user}@{invented(rng, 2)}.{rng.choice(DOMAINS)}"


def digits(pattern: str, part: Part, rng: random.Random) -> str:
    """Each # of the pattern becomes a digit; no number of one part is a number of another."""
    text = "".join(str(rng.randint(1, 9)) if mark == "#" else mark for mark in pattern)
    return text if part_of("digits", text) == part else digits(pattern, part, rng)
