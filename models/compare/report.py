"""Table and chart of the finished runs. Python's standard library is enough."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from models.train.curve import escaped

from .records import Record

DOCUMENT = Path(__file__).parents[2] / "docs" / "adapters.md"
CHART = DOCUMENT.parent / "compare.svg"
BEGIN, END = "<!-- written by npm run compare -->", "<!-- end -->"

MIX = "all tasks"
WIDTH, HEIGHT, LEFT, TOP, BOTTOM = 960, 400, 56, 76, 44
KINDS = ("lora", "dense-gate", "mixture", "smore-2", "smore-3")
COLOURS = ("#9aa5b1", "#c9a227", "#6aa84f", "#1f5fa8", "#8e44ad")


@dataclass(frozen=True)
class Row:
    """All runs of one kind."""

    runs: list[Record]

    @property
    def groups(self) -> dict[str, list[float]]:
        """For the mix and each task the scores of all seeds."""
        tasks = {task: [run.scores[task] for run in self.runs] for task in self.runs[0].scores}
        return {MIX: [run.mix for run in self.runs], **tasks}


def in_order(records: list[Record]) -> list[Record]:
    """By kind, as they are told of, then by seed: whichever run ended first."""
    return sorted(records, key=lambda record: (KINDS.index(record.kind), record.seed))


def rows_of(records: list[Record]) -> list[Row]:
    """In the order in which the kinds occur; see `in_order`."""
    kinds = list(dict.fromkeys(record.kind for record in records))
    return [Row([record for record in records if record.kind == kind]) for kind in kinds]


def mean(values: list[float]) -> float:
    return sum(values) / len(values)


def cell(values: list[float]) -> str:
    """The mean in percent, and from the least to the largest where there are several."""
    text = f"{100 * mean(values):.1f} %"
    spread = f" ({100 * min(values):.1f} to {100 * max(values):.1f})"
    return text + (spread if len(values) > 1 else "")


def table(records: list[Record]) -> str:
    rows = rows_of(records)
    groups = list(rows[0].groups)
    heads = ["kind", "in every linear", "parameters", "seeds", *groups, "loss", "CPU time of a run"]
    lines = [heads, ["---"] * len(heads)]
    for row in rows:
        first = row.runs[0]
        seconds = mean([run.cpu_seconds for run in row.runs])
        lines.append(
            [
                first.title,
                first.shape,
                f"{first.parameters:,}",
                str(len(row.runs)),
                *(cell(row.groups[group]) for group in groups),
                f"{mean([run.loss for run in row.runs]):.3f}",
                f"{seconds / 60:.1f} min",
            ]
        )
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def chart(records: list[Record]) -> str:
    """A group of bars for the mix and for each task: means, with a dot for every seed."""
    rows = rows_of(records)
    groups = list(rows[0].groups)
    group_width = (WIDTH - LEFT) / len(groups)
    bar = 0.8 * group_width / len(rows)

    def y(share: float) -> float:
        return HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * share

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" font-size="12">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
        f'<text x="{LEFT}" y="22" font-size="14">Right answers on held-out cases at equal parameters and equal steps '
        "(bar: mean, dots: seeds)</text>",
    ]
    for number, row in enumerate(rows):
        x = LEFT + number * (WIDTH - LEFT) / len(rows)
        parts.append(f'<rect x="{x:.1f}" y="38" width="12" height="12" fill="{COLOURS[number]}"/>')
        parts.append(f'<text x="{x + 17:.1f}" y="48">{escaped(row.runs[0].title)}</text>')
    for percent in range(0, 101, 20):
        at = y(percent / 100)
        parts.append(f'<line x1="{LEFT}" x2="{WIDTH}" y1="{at:.1f}" y2="{at:.1f}" stroke="#ddd"/>')
        parts.append(f'<text x="{LEFT - 6}" y="{at + 4:.1f}" text-anchor="end">{percent} %</text>')
    for place, group in enumerate(groups):
        start = LEFT + place * group_width
        middle = start + group_width / 2
        parts.append(f'<text x="{middle:.1f}" y="{HEIGHT - 16}" text-anchor="middle">{escaped(group)}</text>')
        for number, row in enumerate(rows):
            values = row.groups[group]
            x, top = start + 0.1 * group_width + number * bar, y(mean(values))
            parts.append(
                f'<rect x="{x:.1f}" y="{top:.1f}" width="{bar - 2:.1f}" height="{y(0) - top:.1f}" fill="{COLOURS[number]}"/>'
            )
            parts += [f'<circle cx="{x + bar / 2 - 1:.1f}" cy="{y(v):.1f}" r="2.5" fill="#222"/>' for v in values]
    return "\n".join([*parts, "</svg>\n"])


def with_table(document: str, records: list[Record]) -> str:
    """The document with the table in its place. ValueError where it has none."""
    before, begin, rest = document.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"the document has no place for the table, from {BEGIN} to {END}")
    return f"{before}{BEGIN}\n\n{table(records)}\n\n{END}{after}"


def write(records: list[Record]) -> None:
    CHART.write_text(chart(records))
    DOCUMENT.write_text(with_table(DOCUMENT.read_text(), records))
