"""Exact-match scores of the base and of an adapter on a task, in float32.

    python -m models.train.score --model MODEL.gguf (--task NAME | --data FILE.jsonl) --adapter DIR [--part heldout] [--json FILE]

The dev part is what settings and data are judged by; the held-out part is scored once, for the card.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path

import torch

from models.eval.check import CHECKS, Case

from .adapter import Adapter, load
from .base import Gguf, Llama
from .cases import EVAL
from .chat import Chat
from .decode import greedy
from .tasks import TASKS, mixed, tasks_of
from .tasks.file import FileTask
from .tasks.task import Task, cases

ROWS = 50  # prompts decoded at a time
DEV_CASES, DEV_SEED = 100, 7
MOST_OF_A_FILE = 200


class Scorer:
    def __init__(self, model: Llama, chat: Chat, check: str, cases: list[Case], quiet: bool = False) -> None:
        self._quiet = quiet
        self._model, self._chat, self._check, self.cases = model, chat, CHECKS[check], cases
        # With its end token; an answer that goes on is wrong already, or says the same thing again.
        self._limit = 1 + max(len(chat.encode(case["expected"])) for case in cases)

    def exact(self, adapter: Adapter | None = None, system: str | None = None) -> float:
        """The share of right answers. What an adapter with its own routing misses is printed."""
        opening = [{"role": "system", "content": system}] if system else []
        hits = 0
        for case, text in zip(self.cases, self._answers(opening, adapter)):
            if self._check(case, text):
                hits += 1
            elif adapter and not self._quiet:
                print(
                    f"missed: {case['messages'][0]['content']}\n  got    {text}\n  wanted {case['expected']}",
                    flush=True,
                )
        return hits / len(self.cases)

    def _answers(self, opening: list[dict[str, str]], adapter: Adapter | None) -> Iterator[str]:
        prompts = [self._chat.prompt(opening + case["messages"]) for case in self.cases]
        for start in range(0, len(prompts), ROWS):
            for answer in greedy(self._model, prompts[start : start + ROWS], self._chat.end_id, self._limit, adapter):
                yield self._chat.decode(answer.ids)


def load_shares(adapter: Adapter) -> list[list[float]]:
    """Per level, the share of choices of each expert index, over all trees."""
    shares = []
    for level in range(adapter.tree.levels):
        total = sum(load for (_, at), load in adapter.routing.loads.items() if at == level)
        shares.append([round(value, 4) for value in (total / total.sum()).tolist()])
    return shares


def fewest_busy(adapter: Adapter, share: float = 0.05) -> list[int]:
    """Per level, the number of experts with at least `share` of the choices, in the tree where it is smallest."""
    loads = adapter.routing.loads.items()
    return [
        min(int((load / load.sum() >= share).sum()) for (_, at), load in loads if at == level)
        for level in range(adapter.tree.levels)
    ]


def summary(log: list[dict[str, float]], stride: int = 50) -> dict[str, object]:
    """Length of a training run, and its losses as means over `stride` steps."""
    parts = [log[i : i + stride] for i in range(0, len(log), stride)]
    means = {
        key: [round(sum(step[key] for step in part) / len(part), 4) for part in parts] for key in ("loss", "balance")
    }
    return {"steps": len(log), "tokens": sum(step["tokens"] for step in log), "mean_over_steps": stride, **means}


def cases_of(name: str, task: Task, args: argparse.Namespace) -> list[Case]:
    if isinstance(task, FileTask):
        return [example.case for example in task.heldout[:MOST_OF_A_FILE]]
    if args.part == "heldout":
        return [json.loads(line) for line in (EVAL / f"{name}.jsonl").read_text().splitlines()]
    return [case.case for case in cases(task, "dev", DEV_CASES, DEV_SEED)]


def one_or_all(by_task: dict[str, float]) -> float | dict[str, float]:
    """By task only where there are several."""
    return by_task if len(by_task) > 1 else next(iter(by_task.values()))


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Scores base and adapter on the cases of a task.")
    parser.add_argument("--model", type=Path, required=True)
    examples = parser.add_mutually_exclusive_group(required=True)
    examples.add_argument("--task", choices=[*TASKS, mixed.NAME])
    examples.add_argument(
        "--data", type=Path, help="the file that was trained on; its lines that are kept for the score"
    )
    parser.add_argument("--adapter", type=Path, required=True)
    parser.add_argument("--part", choices=("dev", "heldout"), default="dev")
    parser.add_argument("--first", type=int, help="only so many cases of a task")
    parser.add_argument("--without-base", action="store_true", help="score the adapter alone")
    parser.add_argument("--log", type=Path, help="training log to summarise beside the scores")
    parser.add_argument("--json", type=Path, help="also write the result here")
    parser.add_argument("--quiet", action="store_true", help="print neither what is missed nor the result")
    parser.add_argument("--threads", type=int, default=2)
    return parser.parse_args()


def main() -> None:
    args = parse()
    torch.set_num_threads(args.threads)
    source = Gguf(args.model)
    model, chat = Llama(source).eval(), Chat(source)
    tasks = tasks_of(args)
    scorers = {
        name: Scorer(model, chat, task.CHECK, cases_of(name, task, args)[: args.first], args.quiet)
        for name, task in tasks.items()
    }
    result: dict[str, object] = {"training": summary(json.loads(args.log.read_text()))} if args.log else {}
    counts = {name: len(scorer.cases) for name, scorer in scorers.items()}
    result |= {"part": "heldout" if args.data else args.part, "cases": one_or_all(counts)}
    if not args.without_base:
        result["base"] = one_or_all({name: scorer.exact() for name, scorer in scorers.items()})
    if not args.data and not args.without_base:
        told = {name: scorer.exact(system=tasks[name].INSTRUCTION) for name, scorer in scorers.items()}
        result["base_told"] = one_or_all(told)
    adapter = load(model, args.adapter)
    model.eval()
    result["adapter"] = one_or_all({name: scorer.exact(adapter) for name, scorer in scorers.items()})
    result["expert_shares"], result["fewest_busy_experts_in_a_tree"] = load_shares(adapter), fewest_busy(adapter)
    text = json.dumps(result, indent=2)
    if not args.quiet:
        print(text)
    if args.json:
        args.json.write_text(text + "\n")


if __name__ == "__main__":
    main()
