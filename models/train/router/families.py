"""Made-up tasks: what the encoder learns from besides the real ones, so that it tells apart tasks that it has never seen.

A family is a way to ask, in several wordings, and what is asked about. Prompts of one family belong together, those of two do not.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ..tasks.task import invented

Maker = Callable[[random.Random, Sequence[str]], str]  # from sentences to what is asked about

NAMES = "Anna Bruno Carla David Elena Frank Greta Hugo Irene Jonas Klara Leon Marta Noah Olga Paul Rosa Simon Tina Victor".split()
CITIES = (
    "Paris Rome Madrid Vienna Dublin Oslo Lima Kyoto Cairo Austin Denver Naples Bergen Geneva Brussels Sydney".split()
)
THINGS = (
    "lamp chair camera basket broom kettle phone book table clock bicycle tent guitar mirror carpet blender".split()
)
ADJECTIVES = "red small heavy old cheap broken modern round wooden quiet bright soft".split()
DAYS = "Monday Tuesday Wednesday Thursday Friday Saturday Sunday".split()
WORDS = "time people year way day thing life world hand part place case week company system question work number night point".split()


@dataclass(frozen=True)
class Family:
    name: str
    asks: tuple[str, ...]  # {} is what is asked about
    content: Maker

    def prompt(self, rng: random.Random, sentences: Sequence[str]) -> str:
        return rng.choice(self.asks).replace("{}", self.content(rng, sentences))


def sentence(rng: random.Random, sentences: Sequence[str]) -> str:
    return rng.choice(sentences)


def several(rng: random.Random, sentences: Sequence[str]) -> str:
    return " ".join(rng.choices(sentences, k=rng.randint(2, 3)))


def words(rng: random.Random, _: Sequence[str]) -> str:
    drawn = [rng.choice([*WORDS, *THINGS, *ADJECTIVES, invented(rng)]) for _ in range(rng.randint(3, 7))]
    return rng.choice([", ", " ", "; "]).join(drawn)


def word(rng: random.Random, _: Sequence[str]) -> str:
    return rng.choice([*WORDS, *THINGS, *ADJECTIVES, invented(rng)])


def numbers(rng: random.Random, _: Sequence[str]) -> str:
    return ", ".join(str(rng.randint(1, 999)) for _ in range(rng.randint(3, 8)))


def equation(rng: random.Random, _: Sequence[str]) -> str:
    a, b, c = (rng.randint(2, 99) for _ in range(3))
    return rng.choice([f"{a}x + {b} = {c}", f"({a} + {b}) * {c}", f"x^2 - {a}x + {b} = 0", f"{a} / {b} + {c}"])


def code(rng: random.Random, _: Sequence[str]) -> str:
    name, value, count = invented(rng, 2), invented(rng, 1), rng.randint(1, 50)
    return rng.choice(
        [
            f"def {name}({value}):\n    return {value} * {count}",
            f"for (let i = 0; i < {count}; i++) {{ {name}(i); }}",
            f"int {name}(int {value}) {{ return {value} + {count}; }}",
            f"if {name} > {count}:\n    print({value})",
        ]
    )


def trace(rng: random.Random, _: Sequence[str]) -> str:
    fault = rng.choice(["TypeError", "KeyError", "NullPointerException", "IndexError", "ConnectionError"])
    return f'File "{invented(rng)}.py", line {rng.randint(1, 400)}\n{fault}: {invented(rng)} {rng.choice(WORDS)}'


def log(rng: random.Random, _: Sequence[str]) -> str:
    level = rng.choice(["INFO", "WARN", "ERROR", "DEBUG"])
    return f"{rng.randint(10, 23)}:{rng.randint(10, 59)}:{rng.randint(10, 59)} {level} {invented(rng)}: {rng.choice(WORDS)} {rng.randint(1, 9999)}"


def record(rng: random.Random, _: Sequence[str]) -> str:
    return f'{{"{invented(rng, 1)}": {rng.randint(1, 99)}, "name": "{rng.choice(NAMES)}", "{rng.choice(WORDS)}": "{rng.choice(CITIES)}"}}'


def row(rng: random.Random, _: Sequence[str]) -> str:
    return f"{rng.choice(NAMES)};{rng.choice(CITIES)};{rng.randint(18, 90)};{rng.choice(THINGS)};{rng.randint(1, 500)}.{rng.randint(10, 99)}"


def review(rng: random.Random, _: Sequence[str]) -> str:
    thing, adjective = (
        rng.choice(THINGS),
        rng.choice(["great", "awful", "fine", "useless", "lovely", "too expensive", "worth it"]),
    )
    more = rng.choice(
        ["I would buy it again.", "Never again.", "Delivery was quick.", "It broke at once.", "My kids love it."]
    )
    return f"The {thing} is {adjective}. {more}"


def product(rng: random.Random, _: Sequence[str]) -> str:
    return f"{rng.choice(ADJECTIVES)} {rng.choice(THINGS)}, {rng.randint(3, 400)} euros, {rng.choice(ADJECTIVES)}"


def address(rng: random.Random, _: Sequence[str]) -> str:
    return f"{rng.choice(NAMES)} {invented(rng).title()}, {rng.randint(1, 200)} {invented(rng).title()} Street, {rng.choice(CITIES)}"


def trip(rng: random.Random, _: Sequence[str]) -> str:
    return f"from {rng.choice(CITIES)} to {rng.choice(CITIES)} on {rng.choice(DAYS)}"


def markup(rng: random.Random, _: Sequence[str]) -> str:
    tag = rng.choice(["p", "div", "h1", "li", "span"])
    return f'<{tag} class="{invented(rng)}">{rng.choice(WORDS)} {rng.choice(WORDS)}</{tag}>'


def topic(rng: random.Random, _: Sequence[str]) -> str:
    return f"{rng.choice(['the', 'a', 'my', 'our'])} {rng.choice(ADJECTIVES)} {rng.choice([*THINGS, *WORDS])}"


def moves(rng: random.Random, _: Sequence[str]) -> str:
    return " ".join(
        rng.choice("NBRQ") + rng.choice("abcdefgh") + str(rng.randint(1, 8)) for _ in range(rng.randint(3, 6))
    )


def table(rng: random.Random, _: Sequence[str]) -> str:
    head = " | ".join(rng.sample([*WORDS, *THINGS], 3))
    return f"{head}\n{rng.randint(1, 99)} | {rng.randint(1, 99)} | {rng.choice(NAMES)}"


def dialogue(rng: random.Random, sentences: Sequence[str]) -> str:
    a, b = rng.sample(NAMES, 2)
    return f"{a}: {rng.choice(sentences)}\n{b}: {rng.choice(sentences)}"


def family(name: str, content: Maker, *asks: str) -> Family:
    return Family(name, tuple(ask if "{}" in ask else f"{ask} {{}}" for ask in asks), content)


FAMILIES: tuple[Family, ...] = (
    family(
        "french",
        sentence,
        "Translate into French:",
        "In French, please:",
        "Say this in French:",
        "French translation of: {}",
    ),
    family(
        "german", sentence, "Translate the sentence into German:", "To German:", "What is this in German? {}", "German:"
    ),
    family(
        "summary",
        several,
        "Summarize the text:",
        "Summarise:",
        "Give a short summary of this message: {}",
        "TL;DR of: {}",
    ),
    family(
        "headline", several, "Write a headline for:", "Title for this text:", "Headline:", "A good title, please: {}"
    ),
    family(
        "keywords",
        several,
        "Keywords of this text:",
        "List the keywords: {}",
        "Which words matter most here? {}",
        "Tags:",
    ),
    family(
        "spelling", sentence, "Correct the spelling:", "Fix the typos in this sentence: {}", "Proofread:", "Correct: {}"
    ),
    family(
        "polite",
        sentence,
        "Say it politely:",
        "Make this sentence more polite: {}",
        "A politer way to say: {}",
        "Politely:",
    ),
    family("formal", sentence, "Make it formal:", "Rewrite in a formal tone: {}", "Formal version of the sentence: {}"),
    family(
        "simple",
        several,
        "Rewrite the text in simple words:",
        "Explain this text to a child: {}",
        "Simplify the text: {}",
    ),
    family("past", sentence, "Put the sentence into the past tense:", "In the past tense: {}", "Past tense of: {}"),
    family("passive", sentence, "Turn the sentence into the passive voice:", "Passive:", "Use the passive: {}"),
    family("question", sentence, "Turn the sentence into a question:", "Make a question of: {}", "As a question: {}"),
    family("upper", sentence, "Write in capital letters:", "Convert the text to upper case: {}", "Capitalise: {}"),
    family("verbs", sentence, "List the verbs in the sentence:", "Which verbs are in: {}", "Extract the verbs: {}"),
    family(
        "entities", several, "Which places does the text name? {}", "Find all places: {}", "Places in this message: {}"
    ),
    family("language", sentence, "Which language is this? {}", "Detect the language: {}", "Language of the text: {}"),
    family(
        "sentiment",
        review,
        "Is this review positive or negative? {}",
        "Sentiment:",
        "Classify the review: {}",
        "How does the customer feel? {}",
    ),
    family("stars", review, "How many stars would this review give? {}", "Rate from 1 to 5: {}", "Stars for: {}"),
    family("reply", review, "Answer this review as the shop:", "Write a reply to the customer: {}", "Reply to: {}"),
    family("spam", several, "Is this mail spam? {}", "Spam or not: {}", "Should this message be filtered? {}"),
    family("urgent", several, "How urgent is this message? {}", "Priority of the ticket: {}", "Triage: {}"),
    family(
        "advert",
        product,
        "Write an advertisement for:",
        "Advertise: {}",
        "Sell this product: {}",
        "Describe for our catalogue: {}",
    ),
    family(
        "category",
        product,
        "Which department sells this? {}",
        "Category of the product: {}",
        "Sort into a category: {}",
    ),
    family("poem", topic, "Write a poem about {}.", "A short poem on {}, please", "Rhyme something about {}"),
    family("story", topic, "Tell a story about {}.", "Once upon a time: a story of {}", "Write a short tale about {}"),
    family("facts", topic, "What should I know about {}?", "Tell me three facts about {}", "Explain {} to me"),
    family("rhyme", word, "What rhymes with {}?", "Find a rhyme for {}", "Rhymes of {}"),
    family("synonym", word, "A synonym of {}?", "Another word for {}", "Give me synonyms for {}"),
    family("define", word, "Define {}.", "What does {} mean?", "Meaning of the word {}"),
    family("plural", word, "What is the plural of {}?", "Plural:", "Put {} into the plural"),
    family("sort", words, "Sort alphabetically:", "Put these words in order: {}", "Alphabetical order of: {}"),
    family("odd", words, "Which word does not belong? {}", "Find the odd one out: {}", "Odd one out: {}"),
    family("maximum", numbers, "What is the largest of {}?", "Find the maximum: {}", "Biggest number: {}"),
    family("mean", numbers, "Average of {}", "What is the mean of these numbers: {}", "Compute the average: {}"),
    family("ascending", numbers, "Sort these numbers:", "From smallest to largest: {}", "In ascending order: {}"),
    family("solve", equation, "Solve {}", "Compute {}", "What is the solution of {}?", "Evaluate: {}"),
    family("review-code", code, "What does this code do?\n{}", "Explain the function:\n{}", "Review this code:\n{}"),
    family("port-code", code, "Rewrite in Rust:\n{}", "Port this to Rust: {}", "The same in Rust, please:\n{}"),
    family("test-code", code, "Write a unit test for\n{}", "Test this function: {}", "Unit tests:\n{}"),
    family(
        "debug", trace, "Why do I get this error?\n{}", "Help me debug: {}", "What went wrong? {}", "Fix the bug: {}"
    ),
    family("log", log, "Which service failed? {}", "Parse the log line: {}", "Log level of: {}"),
    family("yaml", record, "Convert to YAML:", "As YAML: {}", "Turn this JSON into YAML: {}"),
    family("validate", record, "Is this valid JSON? {}", "Check the JSON: {}", "Find the mistake in this object: {}"),
    family("csv", row, "Convert this CSV row to a sentence:", "Put the row into words: {}", "Row to text: {}"),
    family("strip", markup, "Remove the HTML tags:", "Plain text of {}", "Strip the markup: {}"),
    family("markdown", markup, "Convert to Markdown:", "As Markdown: {}", "Markdown for {}"),
    family(
        "zip",
        address,
        "Format the address for Germany:",
        "Write this address on an envelope: {}",
        "Check the address: {}",
    ),
    family("flight", trip, "Cheapest flight {}", "Find me a flight {}", "How do I fly {}?"),
    family("train", trip, "Train connections {}", "When does the train {} leave?", "Next trains {}"),
    family(
        "pack",
        trip,
        "What should I pack for a trip {}?",
        "Packing list for travelling {}",
        "Prepare me for a journey {}",
    ),
    family("chess", moves, "Continue the game: {}", "Who is winning after {}?", "Best move after {}"),
    family("table", table, "Describe the table:\n{}", "What does this table show?\n{}", "Put the table into words: {}"),
    family("minutes", dialogue, "Minutes of this conversation:\n{}", "Who said what?\n{}", "Sum the chat up:\n{}"),
    family(
        "mood",
        dialogue,
        "Are these two friends?\n{}",
        "What is the mood of the conversation?\n{}",
        "How do they feel?\n{}",
    ),
)
