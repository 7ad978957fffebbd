"""Exact-match scores on the held-out cases, in float32, of the base and of an adapter.

python -m models.train.score --model MODEL.gguf --adapter DIR [--log RUN/log.json] [--json FILE]
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import torch

from .adapter import Adapter, load
from .base import Gguf, Llama
from .chat import Chat
from .data import HELDOUT_FILE
from .decode import greedy

FUNCTIONS_FILE = HELDOUT_FILE.with_name("functions.txt")
LIMIT = 64  # tokens; the longest call has 40


class Scorer:
    def __init__(self, model: Llama, chat: Chat) -> None:
        self._model, self._chat = model, chat
        self.cases = [json.loads(line) for line in HELDOUT_FILE.read_text().splitlines()]

    def exact(self, adapter: Adapter | None = None, system: str | None = None) -> float:
        opening = [{"role": "system", "content": system}] if system else []
        prompts = [self._chat.prompt(opening + case["messages"]) for case in self.cases]
        answers = greedy(self._model, prompts, self._chat.end_id, LIMIT, adapter)
        hits = 0
        for case, answer in zip(self.cases, answers):
            text = self._chat.decode(answer.ids)
            if same_call(text, case["expected"]):
                hits += 1
            elif adapter and not adapter.routing.frozen:
                print(f"missed: {case['messages'][0]['content']}\n  {text}")
        return hits / len(self.cases)


def same_call(text: str, expected: str) -> bool:
    """Equal as JSON values: blanks and the order of keys do not count."""
    try:
        return json.loads(text) == json.loads(expected)
    except json.JSONDecodeError:
        return False


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


def main() -> None:
    parser = argparse.ArgumentParser(description="Scores base and adapter on the held-out cases.")
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--adapter", type=Path, required=True)
    parser.add_argument("--log", type=Path, help="training log to summarise beside the scores")
    parser.add_argument("--json", type=Path, help="also write the result here")
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    source = Gguf(args.model)
    model = Llama(source).eval()
    scorer = Scorer(model, Chat(source))
    result: dict[str, object] = {"training": summary(json.loads(args.log.read_text()))} if args.log else {}
    result["cases"] = len(scorer.cases)
    result["base"] = scorer.exact()
    result["base_told_the_functions"] = scorer.exact(system=FUNCTIONS_FILE.read_text().strip())
    adapter = load(model, args.adapter)
    model.eval()
    result["adapter"] = scorer.exact(adapter)
    result["expert_shares"], result["fewest_busy_experts_in_a_tree"] = load_shares(adapter), fewest_busy(adapter)
    adapter.routing.frozen = True
    result["adapter_frozen_to_one_subtree"] = scorer.exact(adapter)
    text = json.dumps(result, indent=2)
    print(text)
    if args.json:
        args.json.write_text(text + "\n")


if __name__ == "__main__":
    main()
