#!/usr/bin/env python3
"""Says whether answers are right: one JSON line in, `true` or `false` out. Python's standard library is enough.

A line is {"check": NAME, "case": CASE, "answer": TEXT}; CASE is a line of the files beside this one.
"""

from __future__ import annotations

import json
import re
import sqlite3
import sys
from collections import Counter
from typing import Any

Case = dict[str, Any]

READING = {sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ, sqlite3.SQLITE_FUNCTION}
INSTRUCTIONS_BETWEEN_LOOKS, MOST_LOOKS = 1000, 100


def same_json(case: Case, answer: str) -> bool:
    """Equal as JSON values: blanks and the order of keys do not count."""
    try:
        return typed(json.loads(answer)) == typed(json.loads(case["expected"]))
    except ValueError:
        return False


def typed(value: object) -> object:
    """Python takes true for 1 and 1.0 for 1; JSON's types are told apart here, but whole numbers are numbers however written."""
    if isinstance(value, dict):
        return {key: typed(item) for key, item in value.items()}
    if isinstance(value, list):
        return [typed(item) for item in value]
    return (isinstance(value, bool), value)


def same_text(case: Case, answer: str) -> bool:
    return answer.strip() == case["expected"]


def same_last_number(case: Case, answer: str) -> bool:
    numbers = [re.findall(r"-?\d+(?:\.\d+)?", text) for text in (answer, case["expected"])]
    return bool(numbers[0]) and float(numbers[0][-1]) == float(numbers[1][-1])


def same_rows(case: Case, answer: str) -> bool:
    """Runs both statements on the case's table. The order of rows counts where the expected statement fixes it."""
    database = table_of(case)
    got, wanted = (rows_of(database, sql) for sql in (answer, case["expected"]))
    if wanted is None:
        raise ValueError(f"the expected statement does not run: {case['expected']}")
    if got is None:
        return False
    ordered = "ORDER BY" in case["expected"]
    return got == wanted if ordered else Counter(got) == Counter(wanted)


def table_of(case: Case) -> sqlite3.Connection:
    table = case["table"]
    database = sqlite3.connect(":memory:")
    columns = ", ".join(f'"{name}"' for name in table["columns"])
    database.execute(f'CREATE TABLE "{table["name"]}" ({columns})')
    places = ", ".join("?" * len(table["columns"]))
    database.executemany(f'INSERT INTO "{table["name"]}" VALUES ({places})', table["rows"])
    # A model wrote the statement: it may read this table and nothing else, and not for ever.
    database.set_authorizer(lambda action, *_: sqlite3.SQLITE_OK if action in READING else sqlite3.SQLITE_DENY)
    looks = 0

    def too_long() -> bool:
        nonlocal looks
        looks += 1
        return looks > MOST_LOOKS

    database.set_progress_handler(too_long, INSTRUCTIONS_BETWEEN_LOOKS)
    return database


def rows_of(database: sqlite3.Connection, sql: str) -> list[tuple[object, ...]] | None:
    """None when the statement does not run."""
    try:
        return database.execute(sql).fetchall()
    except (sqlite3.Error, sqlite3.Warning, ValueError):
        return None


CHECKS = {"json": same_json, "text": same_text, "last-number": same_last_number, "rows": same_rows}


def main() -> None:
    for line in sys.stdin:
        asked = json.loads(line)
        print(json.dumps(CHECKS[asked["check"]](asked["case"], asked["answer"])), flush=True)


if __name__ == "__main__":
    main()
