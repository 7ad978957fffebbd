"""Writes the card of an adapter: README.md with front matter as on the Hugging Face hub.

    python3 -m models.train.card --task NAME --adapter models/adapters/NAME

Scores through the server are those that `npm run eval -- --json models/eval/scores.json` wrote; how the adapter was trained, its routing and
its score in Python are in models/train/records/NAME.json, which `score --part heldout --without-base --log --json` wrote; a `remark` may be
added there.
"""

from __future__ import annotations

import argparse
import inspect
import json
from pathlib import Path
from typing import Any

from .cases import EVAL
from .tasks import TASKS
from .tasks.task import cases

CATALOG = Path(__file__).parents[1] / "catalog.json"
RECORDS = Path(__file__).parent / "records"
SCORES = EVAL / "scores.json"
BASE_NAME = "smollm2-135m-instruct"
SHOWN = 3
EXAMPLES = 30  # by which a server finds the adapter for a request
EXAMPLES_SEED = 11
METRICS = {
    "base": "base model",
    "base, told": "base model, told what to do in a system message",
    "adapter": "this adapter",
    "one sub-tree": "this adapter, every node's routing forced to its first experts",
}


def front_matter(name: str, scores: dict[str, Any], config: dict[str, Any]) -> str:
    entry = json.loads(CATALOG.read_text())[BASE_NAME]
    metrics = "".join(
        f"        - type: exact_match\n          name: {label}\n          value: {scores[key]:.4f}\n"
        for key, label in METRICS.items()
    )
    drawn = cases(TASKS[name], "train", EXAMPLES, EXAMPLES_SEED)
    widget = "".join(f"  - messages: [{{role: user, content: {json.dumps(case.prompt)}}}]\n" for case in drawn)
    return f"""---
license: apache-2.0
base_model: {config["base_model_name_or_path"]}
base_model_file: {entry["source"].split("/")[-1]}
base_model_sha256: {entry["sha256"]}
library_name: smore
pipeline_tag: text-generation
language: en
tags: [smore, mixture-of-experts]
task: {json.dumps(sentences(name)[0])}
model-index:
  - name: {name}
    results:
      - task:
          type: text-generation
        dataset:
          name: {scores["cases"]} held-out cases
          type: models/eval/{name}.jsonl
        metrics:
{metrics}widget:
{widget}---
"""


def sentences(name: str) -> tuple[str, str]:
    """The first paragraph of the task's docstring, and the rest."""
    paragraphs = [" ".join(part.split()) for part in (inspect.getdoc(TASKS[name]) or "").split("\n\n")]
    return paragraphs[0], "\n\n".join(paragraphs[1:])


def examples(name: str) -> list[tuple[str, str]]:
    lines = (EVAL / f"{name}.jsonl").read_text().splitlines()
    # Cases take turns over kinds: the offset makes the shown ones differ.
    cases = [json.loads(lines[i * (len(lines) // SHOWN) + i]) for i in range(SHOWN)]
    return [(case["messages"][0]["content"], case["expected"]) for case in cases]


def card(name: str, scores: dict[str, Any], record: dict[str, Any], config: dict[str, Any], size: int) -> str:
    summary, rest = sentences(name)
    turns = [turn for prompt, answer in examples(name) for turn in (("user", prompt), ("assistant", answer), ("", ""))]
    shown = "\n".join(
        f"    {who if number == 0 else '':<9}  {line}".rstrip()
        for who, text in turns[:-1]
        for number, line in enumerate(text.split("\n"))
    )
    prompt = json.dumps(examples(name)[0][0]).replace("'", "'\\''")
    rows = "\n".join(f"| {label} | {100 * scores[key]:.1f} % |" for key, label in METRICS.items())
    shares = "; ".join(
        f"{'leaves' if level == 0 else 'root' if level == len(record['expert_shares']) - 1 else f'level {level}'} "
        + ", ".join(f"{100 * share:.1f}" for share in level_shares)
        for level, level_shares in enumerate(record["expert_shares"])
    )
    busy = " and ".join(map(str, record["fewest_busy_experts_in_a_tree"]))
    training, layers = record["training"], config["layers_to_transform"]
    return f"""{front_matter(name, scores, config)}
# {name}

{summary}

{rest}

{shown}

Give it one user message and no system message; temperature 0 is best.

    curl http://127.0.0.1:8080/v1/chat/completions -H 'content-type: application/json' -d '{{
      "model": "{name}", "temperature": 0,
      "messages": [{{"role": "user", "content": {prompt}}}]}}'

## Scores

Through the server with its default options (`npm run eval`), temperature 0, on {scores["cases"]} held-out cases; neither their patterns nor their words and values occur in training
([how](../../train/README.md#how-held-out-cases-are-held-out)):

| | right answers |
|---|---|
{rows}

In Python, float32, on the first {record["cases"]} of them: {100 * record["adapter"]:.1f} %. Shares of the routed choices over all trees, in percent: {shares}. In the tree where they are fewest, {busy} of {" and ".join(map(str, config["num_experts"]))} experts get 5 % or
more, from leaves to root. {record.get("remark", "")}

## What it is

A S'MoRE residual tree on gate_proj, up_proj and down_proj of layers {layers[0]} to {layers[-1]}: levels of {" and ".join(map(str, config["num_experts"]))} experts of
rank {" and ".join(map(str, config["expert_dims"]))} from leaves to root, {" and ".join(map(str, config["num_active"]))} chosen at a node, {config["gate_type"]} router, {config["expert_act_fn"]}; {size / 1e6:.1f} MB in bfloat16, in the
official file format. Trained for {training["steps"]} steps of 16 examples ({training["tokens"]:,} tokens) on two CPU threads: `models/train/README.md`;
losses and scores: `models/train/records/{name}.json`.
"""


def written(name: str, adapter: Path) -> str:
    """The card of the adapter in this folder, from its files and what is recorded of it."""
    config = json.loads((adapter / "adapter_config.json").read_text())
    size = (adapter / "adapter_model.safetensors").stat().st_size
    record = json.loads((RECORDS / f"{name}.json").read_text())
    return card(name, json.loads(SCORES.read_text())[name], record, config, size)


def main() -> None:
    parser = argparse.ArgumentParser(description="Writes the card of an adapter.")
    parser.add_argument("--task", choices=TASKS, required=True)
    parser.add_argument("--adapter", type=Path, required=True)
    args = parser.parse_args()
    (args.adapter / "README.md").write_text(written(args.task, args.adapter))


if __name__ == "__main__":
    main()
