"""Records what base + adapter answer, as a fixture for the engine's tests.

    python -m models.train.record --model MODEL.gguf --adapter DIR --out test/fixtures/trained/golden.json

Float32 on dequantised weights, one prompt at a time. Besides prompts of the task, one that is not: the adapter changes it too.
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

PROMPTS = [
    "Wake me up at 6:45 pm.",
    "Could you let Mei know that the tickets are sold out",
    "What is 120 CHF in NOK?",
    "Book a table for 7 at The Copper Windmill at 20:30",
    "What is the capital of France? Answer in one sentence.",
]
LIMIT = 48


def main() -> None:
    parser = argparse.ArgumentParser(description="Records answers of base + adapter.")
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--adapter", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    torch.set_num_threads(2)
    source = Gguf(args.model)
    model, chat = Llama(source), Chat(source)
    adapter = load(model, args.adapter)
    model.eval()
    cases = []
    for text in PROMPTS:
        prompt = chat.prompt([{"role": "user", "content": text}])
        [answer] = greedy(model, [prompt], chat.end_id, LIMIT, adapter)
        cases.append(
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
    fixture = {"model": args.model.name, "adapter": args.adapter.name, "cases": cases}
    args.out.write_text(json.dumps(fixture, indent=1) + "\n")


if __name__ == "__main__":
    main()
