"""Records what base + adapter answer, as a fixture for tests of the engine.

    python -m models.train.record --model MODEL.gguf --task NAME --adapter DIR --out test/fixtures/trained/NAME.json

Float32 on dequantised weights, one prompt at a time. Besides prompts of the task's dev part (of function-calls: held-out ones),
one that asks for something else: the adapter changes its answer too.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import torch

from .adapter import load
from .base import Gguf, Llama
from .chat import Chat
from .decode import greedy
from .tasks import TASKS, mixed
from .tasks.task import cases

OF_THE_TASK, SEED = 4, 21
OFF_TASK = "What is the capital of France? Answer in one sentence."
LIMIT = 48


def prompts_of(name: str) -> list[str]:
    if name == mixed.NAME:
        return [prompts_of(task)[0] for task in mixed.TASKS]
    part = "heldout" if name == "function-calls" else "dev"
    return [case.prompt for case in cases(TASKS[name], part, OF_THE_TASK, SEED)]


def main() -> None:
    parser = argparse.ArgumentParser(description="Records answers of base + adapter.")
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--task", choices=[*TASKS, mixed.NAME], required=True)
    parser.add_argument("--adapter", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    torch.set_num_threads(2)
    source = Gguf(args.model)
    model, chat = Llama(source), Chat(source)
    adapter = load(model, args.adapter)
    model.eval()
    recorded = []
    for text in [*prompts_of(args.task), OFF_TASK]:
        prompt = chat.prompt([{"role": "user", "content": text}])
        [answer] = greedy(model, [prompt], chat.end_id, LIMIT, adapter)
        recorded.append(
            {
                "kind": "chat",
                "text": text,
                "prompt_ids": prompt,
                "first_top10_logprobs": [[token, round(value, 5)] for token, value in answer.first_top10],
                "greedy_ids": answer.ids,
                "greedy_gap": [round(gap, 4) for gap in answer.gaps],
                "greedy_text": chat.decode(answer.ids),
            }
        )
    args.out.parent.mkdir(parents=True, exist_ok=True)
    fixture = {"model": args.model.name, "adapter": args.task, "cases": recorded}
    args.out.write_text(json.dumps(fixture, indent=1) + "\n")


if __name__ == "__main__":
    main()
