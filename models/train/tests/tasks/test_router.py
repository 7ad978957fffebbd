import json
import random
import unittest
from pathlib import Path

from models.train.cases import EVAL
from models.train.router.chatter import PATTERNS, SLOTS, chatter
from models.train.router.families import FAMILIES
from models.train.tasks import TASKS
from models.train.tasks.task import cases

SAMPLED = Path(__file__).parents[2] / "router" / "sampled.jsonl"


def bare(text):
    return text.lower().rstrip(".?! ")


def unrelated():
    lines = (EVAL / "unrelated.jsonl").read_text().splitlines()
    return [json.loads(line)["messages"][-1]["content"] for line in lines]


class RouterTest(unittest.TestCase):
    def test_no_prompt_that_is_scored_is_learnt_from(self):
        asked = {bare(prompt) for prompt in unrelated()}
        self.assertGreaterEqual(len(asked), 400)
        sampled = [json.loads(line) for line in SAMPLED.read_text().splitlines()]
        self.assertGreaterEqual(len(sampled), 2000)
        self.assertFalse(asked & {bare(prompt) for prompt in sampled})
        rng = random.Random(1)
        self.assertFalse(asked & {bare(chatter(rng)) for _ in range(200_000)})

    def test_chatter_fills_all_slots(self):
        rng = random.Random(2)
        self.assertFalse([text for text in (chatter(rng) for _ in range(5000)) if "{" in text or "}" in text])
        used = {part.split("}")[0] for pattern in PATTERNS for part in pattern.split("{")[1:]}
        self.assertEqual(used, SLOTS.keys() | {"number"})

    def test_families_ask_in_several_ways_about_different_things(self):
        self.assertEqual(len(FAMILIES), len({family.name for family in FAMILIES}))
        sentences = ["This is a sentence.", "Here is another."]
        for family in FAMILIES:
            rng = random.Random(3)
            prompts = {family.prompt(rng, sentences) for _ in range(60)}
            self.assertGreaterEqual(len(family.asks), 3, family.name)
            self.assertGreaterEqual(len(prompts), 6, family.name)
            self.assertFalse([prompt for prompt in prompts if "{}" in prompt], family.name)

    def test_the_examples_of_an_unseen_task_are_training_prompts(self):
        examples = json.loads((EVAL / "arithmetic-examples.json").read_text())
        self.assertEqual(examples, [case.prompt for case in cases(TASKS["arithmetic"], "train", len(examples), 11)])


if __name__ == "__main__":
    unittest.main()
