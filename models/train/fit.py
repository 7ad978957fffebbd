"""Trains the adapter of a task, or of a file of examples.

    python -m models.train.fit --model MODEL.gguf (--task NAME | --data FILE.jsonl) --out RUN [--resume]

SIGINT and SIGTERM end it after the step that runs, with a checkpoint.

All examples share the default system turn, so it runs once per step, as one row, and is the prefix of every other row:
this is exact, since attention is causal. Logits are computed only where the answer is predicted.
"""

from __future__ import annotations

import argparse
import json
import math
import random
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from .adapter import Adapter, Attached
from .base import Gguf, Llama
from .chat import Chat
from .curve import loss_curve
from .smore import Tree
from .tasks import TASKS, mixed, source_of
from .tasks.file import FileTask
from .tasks.task import Example, Source

TREE = Tree(
    num_experts=(4, 4),
    num_active=(2, 2),
    expert_dims=(2, 1),
    gate_dims=(8, 8),
    dim_downproj_x=8,
    gate_type="switch",
    gate_act_fn="relu",
    expert_act_fn="tanh",
    activation_position="all",
    lora_alpha=(2.0, 1.0),
)
BASE = "HuggingFaceTB/SmolLM2-135M-Instruct"
ROWS = 16
POOL = 8  # batches drawn together and sorted by length, so that rows of a batch need little padding
MAX_TOKENS = 512  # of one example, its shared prefix too
LEARNING_RATE = 3e-3
WARMUP = 20
BALANCE_WEIGHT = 0.02
LARGEST_GRADIENT = 1.0  # norm over all parameters
CHECKPOINT_EVERY = 50


@dataclass
class Batch:
    ids: Tensor  # int64 [N, T], padded on the right
    valid: Tensor  # bool [N, T]
    answer: Tensor  # bool [N, T], true where ids is to be predicted


class Batches:
    """An endless stream of batches of `size` rows, with no state but the seed."""

    def __init__(self, chat: Chat, task: Source, seed: int, size: int = ROWS) -> None:
        self._chat, self._task, self._rng, self._ready = chat, task, random.Random(seed), []
        self._size = size
        first, second = (chat.prompt([{"role": "user", "content": text}]) for text in ("a", "B"))
        shared = next(i for i, (x, y) in enumerate(zip(first, second)) if x != y)
        self.prefix = first[:shared]

    def next(self) -> Batch:
        if not self._ready:
            size = self._size
            rows = sorted((self._row() for _ in range(size * POOL)), key=lambda row: len(row[0]))
            self._ready = [rows[i : i + size] for i in range(0, len(rows), size)]
            self._rng.shuffle(self._ready)
        return collate(self._ready.pop())

    def _row(self) -> tuple[list[int], int]:
        """Token ids after the prefix, and how many of them are the answer."""
        example = self._task.example("train", self._rng)
        prompt, answer = tokens_of(self._chat, example)
        if len(prompt) + len(answer) > MAX_TOKENS:
            raise ValueError(f"an example has more than {MAX_TOKENS} tokens: {example.prompt[:60]} ...")
        return prompt[len(self.prefix) :] + answer, len(answer)


def tokens_of(chat: Chat, example: Example) -> tuple[list[int], list[int]]:
    """Of the prompt as the template frames it, and of the answer with its end."""
    return chat.prompt(example.messages), [*chat.encode(example.answer), chat.end_id]


def too_long(task: FileTask, chat: Chat) -> str | None:
    """Names the first line that does not fit."""
    for number, example in enumerate(task.lines, start=1):
        if (length := sum(map(len, tokens_of(chat, example)))) > MAX_TOKENS:
            return f"{task.path}, line {number}: {length} tokens with the frame of the chat; {MAX_TOKENS} fit"
    return None


def collate(rows: list[tuple[list[int], int]]) -> Batch:
    width = max(len(ids) for ids, _ in rows)
    ids = torch.zeros(len(rows), width, dtype=torch.long)
    valid, answer = torch.zeros_like(ids, dtype=torch.bool), torch.zeros_like(ids, dtype=torch.bool)
    for i, (tokens, answered) in enumerate(rows):
        ids[i, : len(tokens)] = torch.tensor(tokens)
        valid[i, : len(tokens)] = True
        answer[i, len(tokens) - answered : len(tokens)] = True
    return Batch(ids, valid, answer)


def loss_of(model: Llama, adapter: Attached, prefix: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
    """Mean negative log likelihood of the answers' tokens, and the mean balance loss of all routers."""
    everywhere = torch.ones_like(prefix, dtype=torch.bool)
    adapter.routing.begin(everywhere)
    _, cache = model(prefix, everywhere)
    adapter.routing.begin(batch.valid)
    hidden, _ = model(batch.ids, batch.valid, cache)
    before = batch.answer[:, 1:]  # position t predicts token t + 1
    logits = model.logits(hidden[:, :-1][before])
    return F.cross_entropy(logits, batch.ids[:, 1:][before]), adapter.routing.balance_loss()


def learning_rate(step: int, steps: int) -> float:
    if step < WARMUP:
        return LEARNING_RATE * (step + 1) / WARMUP
    return LEARNING_RATE * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * (step - WARMUP) / (steps - WARMUP))))


def optimizer_of(adapter: Attached) -> torch.optim.Optimizer:
    return torch.optim.AdamW(adapter.parameters(), lr=LEARNING_RATE, weight_decay=0.0, betas=(0.9, 0.98))


def update(
    model: Llama, adapter: Attached, optimizer: torch.optim.Optimizer, prefix: Tensor, batch: Batch
) -> tuple[float, float]:
    """One step of training. Returns the two losses before it."""
    answer_loss, balance = loss_of(model, adapter, prefix, batch)
    optimizer.zero_grad()
    (answer_loss + BALANCE_WEIGHT * balance).backward()
    torch.nn.utils.clip_grad_norm_(adapter.parameters(), LARGEST_GRADIENT)
    optimizer.step()
    return answer_loss.item(), balance.item()


Log = list[dict[str, float]]


def fit(
    model: Llama,
    adapter: Attached,
    batches: Batches,
    steps: int,
    checkpoint: Path,
    keep: Callable[[Log], None] = lambda log: None,
) -> Log:
    """Trains up to `steps`, on from `checkpoint` where it exists. `keep` is called with every checkpoint that is written.

    A signal to stop ends the process after the step that runs.
    """
    optimizer = optimizer_of(adapter)
    prefix = torch.tensor([batches.prefix])
    log: Log = []
    if checkpoint.exists():
        log = resumed(adapter, optimizer, batches, checkpoint)
    tell = progress(len(log), steps)
    model.train()
    with stop_signals() as stopped:
        for step in range(len(log), steps):
            for group in optimizer.param_groups:
                group["lr"] = learning_rate(step, steps)
            batch, cpu_before = batches.next(), time.process_time()
            with torch.autocast("cpu", dtype=torch.bfloat16):
                answer_loss, balance = update(model, adapter, optimizer, prefix, batch)
            log.append(
                {
                    "loss": round(answer_loss, 5),
                    "balance": round(balance, 4),
                    "tokens": int(batch.valid.sum()),
                    "cpu_seconds": round(time.process_time() - cpu_before, 2),
                }
            )
            tell(log)
            if (step + 1) % CHECKPOINT_EVERY == 0 or step + 1 == steps or stopped:
                torch.save({"tensors": adapter.tensors(), "optimizer": optimizer.state_dict(), "log": log}, checkpoint)
                keep(log)
            if stopped:
                print(f"stopped after step {step + 1}", flush=True)
                sys.exit(128 + stopped[0])
    return log


def resumed(adapter: Attached, optimizer: torch.optim.Optimizer, batches: Batches, checkpoint: Path) -> Log:
    """Brings all to where the checkpoint was written. Returns the log up to there."""
    state = torch.load(checkpoint)
    adapter.copy_from(state["tensors"])
    optimizer.load_state_dict(state["optimizer"])
    log: Log = state["log"]
    for _ in log:
        batches.next()
    print(f"resumed after step {len(log)}", flush=True)
    return log


def progress(first: int, steps: int) -> Callable[[Log], None]:
    """Prints a line for each step; speed and time left count from `first`."""
    began = time.monotonic()

    def tell(log: Log) -> None:
        last, elapsed = log[-1], time.monotonic() - began
        left = elapsed / (len(log) - first) * (steps - len(log))
        speed = sum(step["tokens"] for step in log[first:]) / elapsed
        print(
            f"step {len(log)}/{steps} loss {last['loss']:.4f} balance {last['balance']:.3f} "
            f"{speed:.0f} tokens/s, {left / 60:.1f} min left",
            flush=True,
        )

    return tell


def train(args: argparse.Namespace) -> None:
    torch.manual_seed(args.seed)
    source = Gguf(args.model)
    chat = Chat(source)
    try:
        task = source_of(args)
    except ValueError as fault:
        sys.exit(f"smore: {fault}")
    if isinstance(task, FileTask) and (fault := too_long(task, chat)):
        sys.exit(f"smore: {fault}")
    model = Llama(source, torch.bfloat16)
    adapter = Adapter(model, TREE, list(range(args.first_layer, model.config.layers)))
    count = sum(p.numel() for p in adapter.parameters())
    print(f"{count:,} parameters in {len(adapter.modules)} trees", flush=True)
    checkpoint = args.out / "checkpoint.pt"
    args.out.mkdir(parents=True, exist_ok=True)
    if not args.resume:
        checkpoint.unlink(missing_ok=True)
    elif not checkpoint.exists():
        sys.exit(f"smore: there is no {checkpoint} to go on from")

    def keep(log: Log) -> None:
        adapter.save(args.out / "adapter", BASE)
        (args.out / "log.json").write_text(json.dumps(log))
        curve = loss_curve([entry["loss"] for entry in log], f"{args.task or args.data.stem}: loss of the answers")
        (args.out / "loss.svg").write_text(curve)

    fit(model, adapter, Batches(chat, task, args.seed), args.steps, checkpoint, keep)


@contextmanager
def stop_signals() -> Iterator[list[int]]:
    """A list that will hold the signals that ask to stop while the context is open."""
    seen: list[int] = []
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = [signal.signal(number, lambda received, _frame: seen.append(received)) for number in numbers]
    try:
        yield seen
    finally:
        for number, handler in zip(numbers, before):
            signal.signal(number, handler)


def main() -> None:
    parser = argparse.ArgumentParser(description="Trains the adapter of a task.")
    parser.add_argument("--model", type=Path, required=True, help="GGUF file that the server runs")
    examples = parser.add_mutually_exclusive_group(required=True)
    examples.add_argument("--task", choices=[*TASKS, mixed.NAME])
    examples.add_argument("--data", type=Path, help="JSONL with prompt and completion in every line")
    parser.add_argument("--out", type=Path, required=True, help="folder for checkpoint, log, loss curve and adapter")
    parser.add_argument("--steps", type=int, default=720)
    parser.add_argument("--first-layer", type=int, default=12, help="layers from here up have trees (default: 12)")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--resume", action="store_true")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    train(args)


if __name__ == "__main__":
    main()
