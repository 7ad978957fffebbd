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
# Training sentences without sense, of these words: nothing but the rule tells how they go on.
LOOSE_SHARE = 0.4
LOOSE = (
    "after again all and around because before every far from gave her here his if into keep knows last later left like "
    "long made many me near never new next no not now of off old on once one only open or our out over said says seems small "
    "some soon still takes than that their them then there they this three to today too two under until us very was we went "
    "what when where while who whose with without would yes you your"
).split()
SLOTS = ["name", "name", "email", "phone", "account", "amount", "city", "thing"]
MARKS = {"name": "[NAME]", "email": "[EMAIL]", "phone": "[PHONE]", "account": "[ACCOUNT]"}
DOMAINS = ["com", "org", "net", "io", "eu"]
COUNTRIES = ["DE", "FR", "NL", "ES", "IT", "AT"]


def example(part: Part, rng: random.Random, _kind: None = None) -> Example:
    count = 1 if rng.random() < 0.5 else 2
    sentences = rng.sample(SENTENCES[part], count)
    if part == "train":
        sentences = [loose(rng) if rng.random() < LOOSE_SHARE else sentence for sentence in sentences]
    written = plain = " ".join(sentences)
    while "{" in written:
        slot = written[written.index("{") + 1 : written.index("}")]
        text = value(slot, part, rng)
        written = written.replace("{" + slot + "}", text, 1)
        plain = plain.replace("{" + slot + "}", MARKS.get(slot, text), 1)
    return Example(rng.choice(REQUESTS[part]) + written, plain)


def loose(rng: random.Random) -> str:
    """Three to eight words in any order, and up to three slots among them, no two side by side."""
    pieces = [rng.choice(LOOSE) if rng.random() < 0.85 else invented(rng) for _ in range(rng.randint(3, 8))]
    pieces[0] = rng.choice(LOOSE)  # an invented one with a capital would be a name
    for place in sorted(rng.sample(range(len(pieces) + 1), rng.randint(1, 3)), reverse=True):
        pieces.insert(place, "{" + rng.choice(SLOTS) + "}")
    text = " ".join(pieces) + rng.choice([".", ".", "?", "!"])
    return text[0].upper() + text[1:]


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
