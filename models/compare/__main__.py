"""Compares kinds of adapter at equal trainable parameters and equal steps: `npm run compare`.

    python -m models.compare --model MODEL.gguf --work FOLDER [--seeds N] [--kind NAME ...]

Each run is a short training on the mix of all tasks; all kinds see the same examples in the same order. A finished run is a line
of results.jsonl, from which table and chart are written; a run that was stopped goes on from its checkpoint in FOLDER.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from pathlib import Path

import torch

from models.eval.check import Case
from models.train.adapter import Attached
from models.train.base import Gguf, Llama
from models.train.cases import EVAL
from models.train.chat import Chat
from models.train.fit import Batches, Log, fit
from models.train.score import Scorer
from models.train.tasks import mixed

from . import report
from .kinds import Kind, parameters_per_layer, solved_kinds
from .records import RESULTS, Record, Settings, append, missing, read

SETTINGS = Settings()


def first_cases(task: str, count: int) -> list[Case]:
    return [json.loads(line) for line in (EVAL / f"{task}.jsonl").read_text().splitlines()[:count]]


def scores_of(model: Llama, chat: Chat, adapter: Attached, cases: int) -> dict[str, float]:
    """Greedy answers with the weights as they were trained, bfloat16 in the base."""
    model.eval()
    return {
        name: Scorer(model, chat, task.CHECK, first_cases(name, cases), quiet=True).exact(adapter)
        for name, task in mixed.TASKS.items()
    }


def checkpoint_of(work: Path, kind: Kind, seed: int) -> Path:
    """Other settings or another shape have another checkpoint."""
    what = hashlib.sha256(repr((SETTINGS, kind.shape)).encode()).hexdigest()[:8]
    return work / f"{kind.name}-{seed}-{what}.pt"


def run(source: Gguf, kind: Kind, seed: int, work: Path) -> Record:
    torch.manual_seed(seed)
    chat, model = Chat(source), Llama(source, torch.bfloat16)
    adapter = Attached(model, list(range(SETTINGS.first_layer, model.config.layers)), kind.wrap)
    checkpoint = checkpoint_of(work, kind, seed)
    log: Log = fit(model, adapter, Batches(chat, mixed, seed, SETTINGS.rows), SETTINGS.steps, checkpoint)
    scores = scores_of(model, chat, adapter, SETTINGS.cases)
    last = log[-max(1, SETTINGS.steps // 10) :]
    return Record(
        kind=kind.name,
        title=kind.title,
        shape=kind.shape,
        seed=seed,
        settings=SETTINGS,
        parameters=sum(p.numel() for p in adapter.parameters()),
        tokens=sum(step["tokens"] for step in log),
        cpu_seconds=round(sum(step["cpu_seconds"] for step in log), 1),
        loss=round(sum(step["loss"] for step in last) / len(last), 5),
        scores=scores,
    )


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="npm run compare --", description="Compares kinds of adapter.")
    parser.add_argument("--model", type=Path, required=True, help="GGUF file that the server runs")
    parser.add_argument("--work", type=Path, required=True, help="folder for checkpoints")
    parser.add_argument("--seeds", type=int, default=2, help="runs of each kind (default: 2)")
    parser.add_argument("--kind", action="append", help="only this kind; repeatable")
    parser.add_argument("--threads", type=int, default=2, help="threads of the training (default: 2)")
    return parser.parse_args()


def main() -> None:
    args = parse()
    torch.set_num_threads(args.threads)
    source = Gguf(args.model)
    config = source.config()
    kinds = solved_kinds(config)
    if unknown := set(args.kind or ()) - kinds.keys():
        sys.exit(f"compare: there is no kind {', '.join(sorted(unknown))}; kinds are {', '.join(kinds)}")
    layers = config.layers - SETTINGS.first_layer
    for kind in kinds.values():
        print(f"{kind.name}: {layers * parameters_per_layer(kind.wrap, config):,} parameters, {kind.shape}", flush=True)
    args.work.mkdir(parents=True, exist_ok=True)
    try:
        for name, seed in missing(read(RESULTS, SETTINGS), args.kind or list(kinds), args.seeds):
            print(f"{name}, seed {seed}", flush=True)
            append(RESULTS, run(source, kinds[name], seed, args.work))
            checkpoint_of(args.work, kinds[name], seed).unlink()
        records = report.in_order(read(RESULTS, SETTINGS))
    except ValueError as fault:
        sys.exit(f"compare: {fault}")
    report.write(records)
    print(report.table(records))


if __name__ == "__main__":
    main()
