import datetime
import json
import random
import unittest
from collections import Counter

from models.eval.check import CHECKS
from models.train import cases as files
from models.train.tasks import TASKS, mixed, normalise, redact, sql, words
from models.train.tasks.task import PARTS, cases, part_of

SPLIT_TASKS = {name: task for name, task in TASKS.items() if name != "function-calls"}  # that one has a test of its own
DRAWN = 3000


class TasksTest(unittest.TestCase):
    def test_the_committed_cases_are_those_that_the_generator_writes(self):
        for name in TASKS:
            self.assertEqual((files.EVAL / f"{name}.jsonl").read_text(), files.heldout(name), name)
        self.assertEqual((files.EVAL / "tasks.json").read_text(), files.index())

    def test_every_committed_answer_passes_its_own_check_and_nobody_elses_does(self):
        for name, task in TASKS.items():
            lines = [json.loads(line) for line in (files.EVAL / f"{name}.jsonl").read_text().splitlines()]
            self.assertGreaterEqual(len(lines), 200)
            check = CHECKS[task.CHECK]
            for case, other in zip(lines, lines[1:]):
                self.assertTrue(check(case, case["expected"]), case)
                self.assertFalse(check(case, "I am sorry, I can not help with that."), case)
                if other["expected"] != case["expected"] and task.CHECK in ("json", "text"):
                    self.assertFalse(check(case, other["expected"]), case)

    def test_no_prompt_of_one_part_is_drawn_in_another(self):
        for name, task in SPLIT_TASKS.items():
            train = {task.example("train", rng).prompt for rng in [random.Random(5)] for _ in range(DRAWN)}
            for part in ("dev", "heldout"):
                self.assertFalse(train & {case.prompt for case in cases(task, part, 200, 1)}, name)

    def test_the_mix_has_every_task_in_its_share(self):
        def kind(example) -> str:
            calls, fields = '"arguments"' in example.answer, example.answer.startswith("{")
            return "sql" if example.facts else "function-calls" if calls else "extract" if fields else "texts"

        rng = random.Random(6)
        drawn = Counter(kind(mixed.example("train", rng)) for _ in range(DRAWN))
        wanted = {**mixed.SHARES, "texts": mixed.SHARES["normalise"] + mixed.SHARES["redact"]}
        for name, count in drawn.items():
            self.assertAlmostEqual(100 * count / DRAWN, wanted[name], delta=4, msg=name)

    def test_examples_are_the_same_for_the_same_seed(self):
        for name, task in SPLIT_TASKS.items():
            for part in PARTS:
                self.assertEqual(cases(task, part, 20, 3), cases(task, part, 20, 3), name)
                self.assertNotEqual(cases(task, part, 20, 3), cases(task, part, 20, 4), name)

    def test_every_drawn_answer_passes_its_check(self):
        for name, task in SPLIT_TASKS.items():
            rng = random.Random(11)
            for _ in range(300):
                case = task.example("train", rng).case
                self.assertTrue(CHECKS[task.CHECK](case, case["expected"]), f"{name}: {case}")

    def test_words_of_heldout_cases_occur_in_no_training_example(self):
        for lists in (words.NAMES, words.SURNAMES, words.CITIES, words.THINGS):
            held = {word.lower() for word in lists["heldout"]}
            self.assertFalse(held & {word.lower() for part in ("train", "dev") for word in lists[part]})
        rng = random.Random(3)
        drawn = {words.person("train", rng).lower() for _ in range(DRAWN)}
        self.assertFalse(drawn & {name.lower() for name in words.NAMES["heldout"]})

    def test_a_heldout_schema_has_nothing_of_a_training_schema(self):
        rng = random.Random(2)
        seen: set[object] = set()
        for _ in range(DRAWN):
            table = sql.example("train", rng).facts["table"]
            seen |= {table["name"], *table["columns"], *(cell for row in table["rows"] for cell in row)}
        for case in cases(sql, "heldout", 200, 135):
            table = case.facts["table"]
            own = {table["name"], *table["columns"], *(cell for row in table["rows"] for cell in row)}
            self.assertFalse(own & seen)

    def test_every_query_is_told_from_a_careless_one_by_its_rows(self):
        for case in (c.case for c in cases(sql, "heldout", 200, 135)):
            if " WHERE " in case["expected"]:
                self.assertFalse(CHECKS["rows"](case, case["expected"].split(" WHERE ")[0]), case)

    def test_patterns_of_sentences_belong_to_one_part(self):
        for sentences in (normalise.SENTENCES, redact.SENTENCES, normalise.REQUESTS, redact.REQUESTS):
            for part in ("dev", "heldout"):
                self.assertFalse({s.lower() for s in sentences[part]} & {s.lower() for s in sentences["train"]})

    def test_values_are_dealt_to_all_parts(self):
        dealt = [part_of("number", value) for value in range(5000)]
        shares = [dealt.count(part) / len(dealt) for part in PARTS]
        for share, wanted in zip(shares, (0.7, 0.1, 0.2)):
            self.assertAlmostEqual(share, wanted, delta=0.03)


class NormaliseTest(unittest.TestCase):
    def test_forms_are_what_they_say(self):
        rng = random.Random(1)
        forms = dict(normalise.date("train", rng) for _ in range(DRAWN))
        for written, iso in forms.items():
            day = datetime.date.fromisoformat(iso)
            self.assertIn(str(day.year), written)
            self.assertIn(str(day.day), written)
        self.assertEqual(
            [normalise.ordinal(n) for n in (1, 2, 3, 4, 11, 12, 13, 21, 22, 23, 31)],
            "1st 2nd 3rd 4th 11th 12th 13th 21st 22nd 23rd 31st".split(),
        )
        times = dict(normalise.time("train", rng) for _ in range(DRAWN))
        self.assertTrue(any(written.startswith("12") and "am" in written for written in times))
        for written, plain in times.items():
            hour = int(plain[:2])
            self.assertEqual("pm" in written, hour >= 12)
            self.assertEqual(int(written.split(":")[0].rstrip(" apm")) % 12, hour % 12)


class RedactTest(unittest.TestCase):
    def test_in_a_sentence_without_sense_a_word_parts_the_slots(self):
        rng = random.Random(1)
        for _ in range(DRAWN):
            sentence = redact.loose(rng)
            self.assertRegex(sentence, r"^[A-Z{].*[.?!]$")
            self.assertNotIn("} {", sentence)
            self.assertIn(sentence.count("{"), (1, 2, 3))


class CheckTest(unittest.TestCase):
    def test_json_is_compared_as_values(self):
        same = CHECKS["json"]
        self.assertTrue(same({"expected": '{"a": [2], "b": 1}'}, '{"b":1,"a":[2]}'))
        self.assertFalse(same({"expected": '{"a": 1}'}, '{"a": 2}'))
        self.assertFalse(same({"expected": '{"a": 1}'}, '{"a": true}'))
        self.assertFalse(same({"expected": '{"a": 1}'}, '{"a": "1"}'))
        self.assertFalse(same({"expected": "{}"}, "Sure! {}"))

    def test_the_last_number_counts(self):
        same = CHECKS["last-number"]
        self.assertTrue(same({"expected": "2 + 3 = 5"}, "The answer is 5."))
        self.assertFalse(same({"expected": "2 + 3 = 5"}, "2 + 3 = 5 and that is 6"))
        self.assertFalse(same({"expected": "2 + 3 = 5"}, "five"))

    def test_sql_is_compared_by_rows_and_may_only_read(self):
        table = {"name": "cats", "columns": ["name", "age"], "rows": [["a", 1], ["b", 2], ["c", 3]]}
        case = {"table": table, "expected": "SELECT name FROM cats WHERE age > 1"}
        right = CHECKS["rows"]
        self.assertTrue(right(case, "select name from cats where age >= 2 order by age desc;"))
        self.assertFalse(right(case, "SELECT name FROM cats"))
        self.assertFalse(right(case, "SELECT name, age FROM cats WHERE age > 1"))
        self.assertFalse(right(case, "no SQL"))
        for forbidden in (
            "DROP TABLE cats",
            "ATTACH DATABASE '/tmp/x' AS x",
            "PRAGMA user_version",
            "DELETE FROM cats",
        ):
            self.assertFalse(right(case, forbidden), forbidden)
        ordered = {"table": table, "expected": "SELECT name FROM cats ORDER BY age DESC LIMIT 2"}
        self.assertFalse(right(ordered, "SELECT name FROM cats WHERE age > 1 ORDER BY age"))
        self.assertTrue(right(ordered, "SELECT name FROM cats WHERE age > 1 ORDER BY age DESC"))

    def test_a_statement_that_never_ends_is_stopped(self):
        table = {"name": "t", "columns": ["a"], "rows": [[1]]}
        endless = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT COUNT(*) FROM n"
        self.assertFalse(CHECKS["rows"]({"table": table, "expected": "SELECT a FROM t"}, endless))


if __name__ == "__main__":
    unittest.main()
