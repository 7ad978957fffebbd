"""Question to SQL: one table, whose columns are given, and a question that one SELECT answers.

The table is called after the word that the question uses. Names of tables and columns, and text values, are dealt out to
the three parts, so a held-out schema has nothing in common with a training schema: names must be read from the prompt.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

from models.eval.check import same_rows

from .task import Example, Part, deal, invented, part_of

CHECK = "rows"
INSTRUCTION = "Answer with one SQLite SELECT statement only, as in SELECT name FROM cats WHERE age > 3. The first line is the table with its columns."

TABLES = deal(
    "table",
    "books,films,songs,albums,flights,trains,ships,hotels,rooms,recipes,dishes,orders,invoices,customers,employees,teachers,"
    "students,courses,exams,players,teams,matches,stadiums,museums,paintings,statues,parks,trees,birds,fish,horses,dogs,"
    "cars,trucks,buses,bridges,tunnels,rivers,lakes,mountains,islands,cities,villages,farms,fields,crops,wines,cheeses,"
    "laptops,phones,printers,cables,sensors,robots,machines,tools,shelves,boxes,parcels,letters,doctors,nurses,patients,"
    "clinics,banks,loans,tickets,concerts,festivals,stalls,shops,stamps,coins,lenses,satellites,planets,stars".split(
        ","
    ),
)
TEXT_COLUMNS = deal(
    "text column",
    "name,title,author,owner,maker,brand,model,colour,shape,city,country,region,street,language,genre,status,category,"
    "material,origin,driver,captain,coach,director,sponsor,supplier,agency,department,district,label,grade,style,flavour,"
    "surface,format,county,editor,breed,pattern,faculty,climate".split(","),
)
NUMBER_COLUMNS = deal(
    "number column",
    "price,weight,height,length,width,depth,age,year,rating,score,points,salary,budget,cost,distance,duration,capacity,"
    "stock,quantity,speed,power,area,volume,population,seats,pages,floors,votes,visits,rank,discount,temperature,fee,tax,"
    "debt,income,range,mileage,voltage,altitude".split(","),
)
WORDS = deal(
    "cell",
    "red green blue black white silver golden purple orange yellow north south east west spring summer autumn winter paris "
    "london berlin madrid rome vienna tokyo sydney chicago boston oslo lima cairo delhi seoul dublin prague athens lisbon "
    "zurich milan kyoto oak pine birch maple steel copper glass paper cotton wool linen leather jazz rock opera folk blues "
    "drama comedy horror fantasy french german spanish italian polish dutch greek turkish open closed new old used broken "
    "large small round square oval flat sweet sour salty bitter smith jones miller brown wilson taylor clark lewis walker".split(),
)
NUMBERS = {part: [n for n in range(2, 1000) if part_of("cell", n) == part] for part in TABLES}
ROWS = 8


@dataclass(frozen=True)
class Query:
    """Slots: t table; a, b text columns; n number column; v text value; x number; k a small number."""

    sql: str
    questions: dict[Part, list[str]]


def query(sql: str, train: list[str], dev: str, heldout: list[str]) -> Query:
    return Query(sql, {"train": train, "dev": [dev], "heldout": heldout})


def aggregate(function: str, train: list[str], dev: str, heldout: list[str]) -> list[Query]:
    """Over all rows, and over those that a condition leaves."""
    condition = {
        "train": [" with {a} {v}", " whose {a} is {v}", " where the {a} is {v}", " that have {a} {v}"],
        "dev": [" with the {a} {v}"],
        "heldout": [" having {a} {v}", " of which the {a} is {v}"],
    }
    all_rows = query(
        f"SELECT {function} FROM {{t}}", *([q + "?" for q in train], dev + "?", [q + "?" for q in heldout])
    )
    questions = {"train": train, "dev": [dev], "heldout": heldout}
    some = {part: [q + c + "?" for q in questions[part] for c in condition[part]] for part in questions}
    return [all_rows, Query(f"SELECT {function} FROM {{t}} WHERE {{a}} = '{{v}}'", some)]


QUERIES = [
    *aggregate(
        "COUNT(*)",
        ["How many {t} are there", "What is the number of {t}", "How many {t} do we have", "Can you count the {t}"],
        "What is the count of {t}",
        ["How many {t} exist", "What is the total number of {t}"],
    ),
    *aggregate(
        "MAX({n})",
        [
            "What is the highest {n} of the {t}",
            "What is the maximum {n} among {t}",
            "What is the largest {n} of all {t}",
        ],
        "What is the greatest {n} among the {t}",
        ["What is the biggest {n} of the {t}", "Which is the highest {n} among {t}"],
    ),
    *aggregate(
        "MIN({n})",
        [
            "What is the lowest {n} of the {t}",
            "What is the minimum {n} among {t}",
            "What is the smallest {n} of all {t}",
        ],
        "What is the lowest {n} among the {t}",
        ["What is the least {n} of the {t}", "Which is the smallest {n} among {t}"],
    ),
    *aggregate(
        "AVG({n})",
        ["What is the average {n} of the {t}", "What is the mean {n} among {t}", "What {n} do the {t} have on average"],
        "What is the average {n} among the {t}",
        ["What is the mean {n} of the {t}", "Which average {n} have the {t}"],
    ),
    *aggregate(
        "SUM({n})",
        [
            "What is the total {n} of the {t}",
            "What is the sum of the {n} of {t}",
            "What is the combined {n} of all {t}",
        ],
        "What is the summed {n} of the {t}",
        ["What is the sum of {n} over the {t}", "What is the total {n} among {t}"],
    ),
    query(
        "SELECT {a} FROM {t} WHERE {b} = '{v}'",
        [
            "Show the {a} of the {t} with {b} {v}.",
            "What is the {a} of the {t} whose {b} is {v}?",
            "List the {a} of all {t} where the {b} is {v}.",
            "Which {a} do {t} with {b} {v} have?",
            "For {t} with {b} {v}, give the {a}.",
        ],
        "Give me the {a} of {t} with {b} {v}.",
        ["Find the {a} of the {t} that have {b} {v}.", "Tell me the {a} of all {t} whose {b} is {v}."],
    ),
    *(
        query(
            f"SELECT {{a}} FROM {{t}} WHERE {{n}} {sign} {{x}}",
            [
                f"Show the {{a}} of the {{t}} with {{n}} {words[0]} {{x}}.",
                f"List the {{a}} of all {{t}} whose {{n}} is {words[1]} {{x}}.",
                f"Which {{a}} do {{t}} with a {{n}} {words[0]} {{x}} have?",
                f"What is the {{a}} of the {{t}} with {{n}} {words[1]} {{x}}?",
            ],
            f"Give me the {{a}} of {{t}} with {{n}} {words[1]} {{x}}.",
            [
                f"Find the {{a}} of the {{t}} with {{n}} {words[0]} {{x}}.",
                f"Tell me the {{a}} of all {{t}} where the {{n}} is {words[1]} {{x}}.",
            ],
        )
        for sign, words in ((">", ("above", "more than")), ("<", ("below", "less than")))
    ),
    *(
        query(
            f"SELECT COUNT(*) FROM {{t}} WHERE {{n}} {sign} {{x}}",
            [
                f"How many {{t}} have a {{n}} {words[0]} {{x}}?",
                f"Count the {{t}} whose {{n}} is {words[1]} {{x}}.",
                f"What is the number of {{t}} with {{n}} {words[1]} {{x}}?",
            ],
            f"How many {{t}} are there with {{n}} {words[0]} {{x}}?",
            [
                f"Of how many {{t}} is the {{n}} {words[1]} {{x}}?",
                f"How many of the {{t}} have {{n}} {words[0]} {{x}}?",
            ],
        )
        for sign, words in ((">", ("above", "more than")), ("<", ("below", "less than")))
    ),
    query(
        "SELECT DISTINCT {a} FROM {t}",
        ["Which different {a} do the {t} have?", "List every {a} of the {t} once.", "Show the distinct {a} of {t}."],
        "What are the different {a} of the {t}?",
        ["Name the distinct {a} among the {t}.", "Show each different {a} of the {t}."],
    ),
    *(
        query(
            f"SELECT {{a}} FROM {{t}} ORDER BY {{n}} {order} LIMIT {{k}}",
            [
                f"Show the {{a}} of the {{k}} {{t}} with the {word} {{n}}.",
                f"List the {{a}} of the {{k}} {{t}} of {word} {{n}}.",
                f"Which {{a}} have the {{k}} {{t}} with the {word} {{n}}?",
            ],
            f"Give me the {{a}} of the {{k}} {{t}} with {word} {{n}}.",
            [
                f"Find the {{a}} of the {{k}} {{t}} that have the {word} {{n}}.",
                f"The {{k}} {{t}} of {word} {{n}}: what is their {{a}}?",
            ],
        )
        for order, word in (("DESC", "highest"), ("ASC", "lowest"))
    ),
    query(
        "SELECT {a}, COUNT(*) FROM {t} GROUP BY {a}",
        ["How many {t} are there for each {a}?", "Count the {t} per {a}.", "Show the number of {t} by {a}."],
        "How many {t} does each {a} have?",
        ["Give the number of {t} for every {a}.", "Count the {t} of each {a}."],
    ),
    query(
        "SELECT {a}, AVG({n}) FROM {t} GROUP BY {a}",
        [
            "What is the average {n} of the {t} for each {a}?",
            "Show the mean {n} of {t} per {a}.",
            "Average {n} of {t} by {a}?",
        ],
        "What is the average {n} of {t} by {a}?",
        ["Give the average {n} of the {t} for every {a}.", "What is the mean {n} of {t} for each {a}?"],
    ),
]


KINDS = QUERIES


def example(part: Part, rng: random.Random, kind: Query | None = None) -> Example:
    table = word(TABLES[part], part, rng)
    texts, numbers = rng.sample(TEXT_COLUMNS[part], 2), rng.sample(NUMBER_COLUMNS[part], rng.randint(1, 2))
    columns = [*texts, *numbers]
    rng.shuffle(columns)
    rows = table_rows(columns, texts, part, rng)
    chosen = kind or rng.choice(QUERIES)
    row = rng.choice(rows)
    first, second = rng.sample(texts, 2)
    conditioned = "{a} = " in chosen.sql
    number = rng.choice(numbers)
    slots = {
        "t": table,
        "a": first,
        "b": second,
        "n": number,
        "v": row[columns.index(first if conditioned else second)],
        "x": middle(rows, columns.index(number)),
        "k": rng.randint(2, 5),
    }
    prompt = f"{table}({', '.join(columns)})\n{rng.choice(chosen.questions[part]).format(**slots)}"
    facts = {"table": {"name": table, "columns": columns, "rows": rows}}
    drawn = Example(prompt, chosen.sql.format(**slots), facts)
    return drawn if condition_counts(drawn) else example(part, rng, kind)


def condition_counts(drawn: Example) -> bool:
    """Whether the rows tell the statement from one that forgets its condition."""
    careless = drawn.answer.split(" WHERE ")[0]
    return careless == drawn.answer or not same_rows(drawn.case, careless)


def table_rows(columns: list[str], texts: list[str], part: Part, rng: random.Random) -> list[list[str | int]]:
    """Few words for many rows, so that conditions and groups leave several rows; numbers all differ, so that orders are one."""
    words = {column: [word(WORDS[part], part, rng) for _ in range(3)] for column in texts}
    numbers = {column: rng.sample(NUMBERS[part], ROWS) for column in columns if column not in texts}
    return [
        [rng.choice(words[column]) if column in words else numbers[column][index] for column in columns]
        for index in range(ROWS)
    ]


def middle(rows: list[list[str | int]], column: int) -> int:
    """A number that parts the rows in about two halves."""
    return sorted(int(row[column]) for row in rows)[ROWS // 2]


def word(words: list[str], part: Part, rng: random.Random) -> str:
    """Two syllables or more: one alone may be a keyword, such as `to`."""
    return invented(rng, rng.randint(2, 3)) if part == "train" and rng.random() < 0.35 else rng.choice(words)
