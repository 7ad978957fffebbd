"""Prompts about anything, as the base model imagines its users: it goes on after the beginning of a user's turn.

    npm start &
    python3 -m models.train.router.sample --url http://127.0.0.1:8080 > models/train/router/sampled.jsonl

A line for each prompt. What comes out is no good English throughout, and need not be: it is what the router learns to leave alone.
"""

from __future__ import annotations

import argparse
import json
import urllib.request
from concurrent.futures import ThreadPoolExecutor

BASE = "smollm2-135m-instruct"
SYSTEM = "You are a helpful AI assistant named SmolLM, trained by Hugging Face"
TURN = f"<|im_start|>system\n{SYSTEM}<|im_end|>\n<|im_start|>user\n"
MOST_TOKENS = {32: 64, 64: 20}  # by how many are drawn for each opening; those that are not ended by then are dropped

# Left to itself, the model begins most turns with "Can you" and "I'm".
OPENINGS = (
    "",
    *("What", "Why", "Who", "When", "Where", "Which", "How", "How many", "How do I", "Is", "Does", "Are", "Could"),
    *(
        "Write",
        "Write a",
        "Explain",
        "Describe",
        "Tell me",
        "Give me",
        "List",
        "Name",
        "Find",
        "Show",
        "Compare",
        "Suggest",
    ),
    *(
        "Summarize",
        "Rewrite",
        "Translate",
        "Convert",
        "Classify",
        "Correct",
        "Complete the sentence",
        "Answer",
        "Identify",
    ),
    *(
        "The",
        "A",
        "In",
        "Hi",
        "Hello",
        "Please",
        "My",
        "I",
        "I have",
        "We",
        "Let's",
        "If",
        "Here is",
        "Read",
        "Imagine",
    ),
    *(
        "Set",
        "Make",
        "Add",
        "Book",
        "Play",
        "Send",
        "Calculate",
        "Solve",
        "Create",
        "Design",
        "Plan",
        "Help",
        "Fix this code",
    ),
)


def ask(url: str, count: int, number: int, opening: str) -> list[str]:
    body = {
        **{
            "model": BASE,
            "prompt": TURN + opening,
            "n": count,
            "max_tokens": MOST_TOKENS[count],
            "seed": number * count,
        },
        **{"temperature": 1.0, "top_p": 0.98, "stop": ["<|im_end|>"]},
    }
    request = urllib.request.Request(
        f"{url}/v1/completions", json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request) as response:
        choices = json.load(response)["choices"]
    return [(opening + choice["text"]).strip() for choice in choices if choice["finish_reason"] == "stop"]


def main() -> None:
    parser = argparse.ArgumentParser(description="Samples prompts about anything from the base model.")
    parser.add_argument("--url", required=True)
    url = parser.parse_args().url
    with ThreadPoolExecutor(2) as pool:
        orders = ((count, *entry) for count in MOST_TOKENS for entry in enumerate(OPENINGS))
        drawn = pool.map(lambda order: ask(url, *order), orders)
        for prompt in dict.fromkeys(prompt for prompts in drawn for prompt in prompts if prompt):
            print(json.dumps(prompt))


if __name__ == "__main__":
    main()
