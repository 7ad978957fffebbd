import json
import random
import unittest

from models.train.cases import COUNT, SEED
from models.train.tasks import function_calls
from models.train.tasks.function_call_templates import TEMPLATES, WORDS
from models.train.tasks.function_calls import NUMBERS, SIGNATURES, example, is_heldout
from models.train.tasks.task import cases


class FunctionCallsTest(unittest.TestCase):
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
            call = json.loads(example("train", rng).answer)
            seen |= {(call["name"], slot, value) for slot, value in call["arguments"].items()}
        for case in cases(function_calls, "heldout", COUNT["function-calls"], SEED):
            call = json.loads(case.answer)
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


if __name__ == "__main__":
    unittest.main()
