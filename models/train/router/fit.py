"""Trains the router's encoder: prompts of one task near each other, prompts of two tasks and of none apart.

    python3 -m models.train.router.fit --out models/router

It learns from training prompts of the tasks, from made-up tasks and from sampled prompts, each of which is a task of its own. `--without TASK`
leaves a task out, to see how well a task is told apart that the encoder has never seen; arithmetic, which has no adapter, is always left out.
"""

from __future__ import annotations

import argparse
import json
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from tokenizers import Tokenizer

from ..tasks import TASKS
from ..tasks.task import Part, part_of
from .chatter import chatter
from .encoder import Encoder, encode, train_tokenizer
from .export import write
from .families import FAMILIES
from .loss import contrast

SAMPLED = Path(__file__).parent / "sampled.jsonl"
UNSEEN = "arithmetic"
STEPS = 1500
RATE = 2e-3
TEMPERATURE = 0.1
SEED = 7
EACH_TASK = 14  # prompts of a step
FAMILIES_USED, EACH_FAMILY = 12, 3
SAMPLED_USED, CHATTER_USED = 48, 48

Draw = Callable[[], str]


@dataclass
class Sources:
    """Where prompts come from: those of a task, of a family, and those of nothing in particular."""

    tasks: dict[str, Draw]
    families: list[Draw]
    singles: list[str]


def sampled(*parts: Part) -> list[str]:
    """What is in `dev` and `heldout` is not learnt from: thresholds are judged by it."""
    prompts = (json.loads(line) for line in SAMPLED.read_text().splitlines())
    return [prompt for prompt in prompts if part_of("sampled", prompt) in parts]


def sources(left_out: list[str], rng: random.Random) -> Sources:
    singles = sampled("train")
    sentences = [prompt for prompt in singles if len(prompt) < 120]
    names = [name for name in TASKS if name not in left_out]
    return Sources(
        {name: lambda task=TASKS[name]: task.example("train", rng).prompt for name in names},
        [lambda family=family: family.prompt(rng, sentences) for family in FAMILIES],
        singles,
    )


def batch(from_: Sources, rng: random.Random) -> tuple[list[str], list[int]]:
    """Texts, and a number for each that is the same where they belong together."""
    groups = [[draw() for _ in range(EACH_TASK)] for draw in from_.tasks.values()]
    groups += [[draw() for _ in range(EACH_FAMILY)] for draw in rng.sample(from_.families, FAMILIES_USED)]
    singles = {*rng.sample(from_.singles, SAMPLED_USED), *(chatter(rng) for _ in range(CHATTER_USED))}
    groups += [[text, text] for text in sorted(singles)]
    return [text for group in groups for text in group], [i for i, group in enumerate(groups) for _ in group]


def fit(left_out: list[str], steps: int) -> tuple[Encoder, Tokenizer]:
    torch.manual_seed(SEED)
    rng = random.Random(SEED)
    from_ = sources(left_out, rng)
    drawn = [draw() for draw in (*from_.tasks.values(), *from_.families) for _ in range(200)]
    drawn += [chatter(rng) for _ in range(5000)]
    tokenizer = train_tokenizer([*drawn, *from_.singles])
    model = Encoder(tokenizer.get_vocab_size())
    optimizer = torch.optim.AdamW(model.parameters(), lr=RATE, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, total_steps=steps, pct_start=0.1)
    began = time.monotonic()
    for step in range(1, steps + 1):
        texts, groups = batch(from_, rng)
        loss = contrast(encode(model, tokenizer, texts, blur=True), torch.tensor(groups), TEMPERATURE)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        if step % 50 == 0:
            left = (time.monotonic() - began) / step * (steps - step)
            print(f"step {step}/{steps}  loss {loss.item():.3f}  {left:.0f} s left", flush=True)
    return model.eval(), tokenizer


def main() -> None:
    parser = argparse.ArgumentParser(description="Trains the router's encoder.")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--without", choices=TASKS, action="append", default=[UNSEEN])
    parser.add_argument("--steps", type=int, default=STEPS)
    args = parser.parse_args()
    model, tokenizer = fit(args.without, args.steps)
    write(model, tokenizer, args.out)


if __name__ == "__main__":
    main()
