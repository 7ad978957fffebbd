import json
import random
import unittest

from models.train.data import HELDOUT_FILE, NUMBERS, SIGNATURES, example, heldout, is_heldout
from models.train.score import same_call
from models.train.templates import TEMPLATES, WORDS


class DataTest(unittest.TestCase):
    def test_no_template_or_word_is_in_both_halves(self):
        for function, halves in TEMPLATES.items():
            train, held = ({text.lower() for text in halves[half]} for half in ("train", "heldout"))
            self.assertFalse(train & held, function)
        for kind, words in WORDS["train"].items():
            self.assertFalse(set(words) & set(WORDS["heldout"][kind]), kind)

    def test_no_argument_of_a_heldout_case_occurs_in_training(self):
        rng = random.Random(7)
        seen = set()
        for _ in range(20000):
            call = json.loads(example("train", rng).call)
            seen |= {(call["name"], slot, value) for slot, value in call["arguments"].items()}
        for case in heldout():
            call = json.loads(case.call)
            for slot, value in call["arguments"].items():
                self.assertNotIn((call["name"], slot, value), seen)

    def test_every_template_names_each_argument_once(self):
        for function, halves in TEMPLATES.items():
            for template in halves["train"] + halves["heldout"]:
                for slot in SIGNATURES[function]:
                    self.assertEqual(template.count("{" + slot + "}"), 1, template)
                self.assertEqual(template.count("{"), len(SIGNATURES[function]), template)

    def test_both_halves_hold_numbers_of_every_kind(self):
        for slot, values in NUMBERS.items():
            self.assertEqual({is_heldout(slot, value) for value in values}, {True, False}, slot)

    def test_the_committed_cases_are_those_that_the_generator_writes(self):
        stored = [json.loads(line) for line in HELDOUT_FILE.read_text().splitlines()]
        self.assertEqual(stored, [{"messages": case.messages, "expected": case.call} for case in heldout()])
        self.assertGreaterEqual(len(stored), 200)

    def test_a_call_is_compared_as_json(self):
        self.assertTrue(same_call('{"b":1,"a":[2]}', '{"a": [2], "b": 1}'))
        self.assertFalse(same_call('{"a": 2}', '{"a": 1}'))
        self.assertFalse(same_call("Sure! {}", "{}"))


if __name__ == "__main__":
    unittest.main()
