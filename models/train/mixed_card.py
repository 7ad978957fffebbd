"""Writes the card of the adapter for all tasks.

    python3 -m models.train.mixed_card --adapter models/adapters/mixed

Its sources are those of `card`: models/eval/scores.json and models/train/records/mixed.json, which
`score --task mixed` wrote.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from .card import BASE_NAME, CATALOG, RECORDS, SCORES, examples, sentences
from .tasks import mixed

Scores = dict[str, dict[str, Any]]
TASK = "Whatever the adapters for single tasks do, in one adapter: it tells from what is asked which task is meant."
COLUMNS = {"adapter": "the task's own adapter", "mixed": "this adapter", "mixed, one sub-tree": "this, one sub-tree"}


def front_matter(scores: Scores, config: dict[str, Any]) -> str:
    entry = json.loads(CATALOG.read_text())[BASE_NAME]
    results = "".join(
        f"""      - task:
          type: text-generation
        dataset:
          name: {scores[name]["cases"]} held-out cases of {name}
          type: models/eval/{name}.jsonl
        metrics:
        - type: exact_match
          name: this adapter
          value: {scores[name]["mixed"]:.4f}
"""
        for name in mixed.TASKS
    )
    widget = "".join(
        f"  - messages: [{{role: user, content: {json.dumps(examples(name)[0][0])}}}]\n" for name in mixed.TASKS
    )
    return f"""---
license: apache-2.0
base_model: {config["base_model_name_or_path"]}
base_model_file: {entry["source"].split("/")[-1]}
base_model_sha256: {entry["sha256"]}
library_name: smore
pipeline_tag: text-generation
language: en
tags: [smore, mixture-of-experts]
task: {json.dumps(TASK)}
auto: false
model-index:
  - name: {mixed.NAME}
    results:
{results}widget:
{widget}---
"""


def card(scores: Scores, record: dict[str, Any], config: dict[str, Any], size: int) -> str:
    rows = "\n".join(
        f"| `{name}` | {scores[name]['cases']} | "
        + " | ".join(f"{100 * scores[name][label]:.1f} %" for label in COLUMNS)
        + f" | {mixed.SHARES[name]} % |"
        for name in mixed.TASKS
    )
    tasks = "\n".join(f"- `{name}`: {sentences(name)[0]}" for name in mixed.TASKS)
    shares = "; ".join(
        f"{level} " + ", ".join(f"{100 * share:.1f}" for share in level_shares)
        for level, level_shares in zip(("leaves", "root"), record["expert_shares"])
    )
    busy = " and ".join(map(str, record["fewest_busy_experts_in_a_tree"]))
    python = ", ".join(f"{name} {100 * share:.0f} %" for name, share in record["adapter"].items())
    training, layers = record["training"], config["layers_to_transform"]
    experts, ranks = (" and ".join(map(str, config[key])) for key in ("num_experts", "expert_dims"))
    remark = f" {record['remark']}" if "remark" in record else ""
    return f"""{front_matter(scores, config)}
# {mixed.NAME}

{TASK}

{tasks}

Give it one user message and no system message; temperature 0 is best. `model: "auto"` does not choose it: the adapter of the task is as near.

## Scores

Right answers through the server with its default options (`npm run eval`), temperature 0, on held-out cases; neither their patterns nor their words and values occur in the training of their own task
([how](../../train/README.md#how-held-out-cases-are-held-out)), but names and cities of some do in that of `function-calls`. "One sub-tree" is with every node's routing forced to its first experts.

| task | cases | {" | ".join(COLUMNS.values())} | share of its training |
|---|---|---|---|---|---|
{rows}

In Python, float32, on the first {record["cases"][next(iter(mixed.TASKS))]} of each: {python}. Shares of the routed choices over all trees, in percent: {shares}. In the tree where they are fewest, {busy} of {experts} experts
get 5 % or more, from leaves to root.{remark}

## What it is

A S'MoRE residual tree on gate_proj, up_proj and down_proj of layers {layers[0]} to {layers[-1]}: levels of {experts} experts of
rank {ranks} from leaves to root, {" and ".join(map(str, config["num_active"]))} chosen at a node, {config["gate_type"]} router, {config["expert_act_fn"]}; {size / 1e6:.1f} MB in bfloat16, in the
official file format. Trained for {training["steps"]} steps of 16 examples ({training["tokens"]:,} tokens) on one CPU thread: `models/train/README.md`;
losses and scores: `models/train/records/{mixed.NAME}.json`.
"""


def written(adapter: Path) -> str:
    """The card of the adapter in this folder, from its files and what is recorded of it."""
    config = json.loads((adapter / "adapter_config.json").read_text())
    size = (adapter / "adapter_model.safetensors").stat().st_size
    record = json.loads((RECORDS / f"{mixed.NAME}.json").read_text())
    return card(json.loads(SCORES.read_text()), record, config, size)


def main() -> None:
    parser = argparse.ArgumentParser(description="Writes the card of the adapter for all tasks.")
    parser.add_argument("--adapter", type=Path, required=True)
    args = parser.parse_args()
    (args.adapter / "README.md").write_text(written(args.adapter))


if __name__ == "__main__":
    main()
