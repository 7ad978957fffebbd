"""What the comparison leaves behind: a line of JSON for each finished run. Python's standard library is enough."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path

RESULTS = Path(__file__).parent / "results.jsonl"


@dataclass(frozen=True)
class Settings:
    """What all runs have in common. Runs of other settings are not comparable, so a file holds those of one."""

    steps: int = 80
    rows: int = 16  # examples of a step
    first_layer: int = 14
    cases: int = 30  # held-out cases of each task, the first of its file


@dataclass(frozen=True)
class Record:
    kind: str
    title: str
    shape: str
    seed: int
    settings: Settings
    parameters: int
    tokens: int
    cpu_seconds: float  # of the steps
    loss: float  # mean over the last tenth of the steps
    scores: dict[str, float]  # share of right answers, by task

    @property
    def mix(self) -> float:
        """Every task has as many cases: the mean is the share of all."""
        return sum(self.scores.values()) / len(self.scores)


def read(path: Path, settings: Settings) -> list[Record]:
    """The finished runs. ValueError names a line that is none, or whose settings are others."""
    if not path.exists():
        return []
    records = []
    for number, line in enumerate(path.read_text().splitlines(), start=1):
        try:
            fields = json.loads(line)
            record = Record(**{**fields, "settings": Settings(**fields["settings"])})
        except (ValueError, TypeError, KeyError) as fault:
            raise ValueError(f"{path}, line {number}: is no finished run ({fault!r})") from fault
        if record.settings != settings:
            raise ValueError(f"{path}, line {number}: was run with {record.settings}, not with {settings}")
        records.append(record)
    return records


def append(path: Path, record: Record) -> None:
    with path.open("a") as file:
        file.write(json.dumps(dataclasses.asdict(record)) + "\n")


def missing(records: list[Record], kinds: list[str], seeds: int) -> list[tuple[str, int]]:
    """The runs that are still to be done: all kinds of one seed before the next seed."""
    done = {(record.kind, record.seed) for record in records}
    return [(kind, seed) for seed in range(1, seeds + 1) for kind in kinds if (kind, seed) not in done]
