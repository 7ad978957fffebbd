import dataclasses
import json
import tempfile
import unittest
import xml.etree.ElementTree as ElementTree
from pathlib import Path

from models.compare import report
from models.compare.records import RESULTS, Record, Settings, append, missing, read

SETTINGS = Settings(steps=4, rows=2, first_layer=1, cases=10)
FIRST = Record("lora", "LoRA", "rank 3", 1, SETTINGS, 1200, 34, 90.0, 0.5, {"sql": 0.5, "extract": 0.2})
OTHER_SEED = dataclasses.replace(FIRST, seed=2, cpu_seconds=30.0, loss=0.4, scores={"sql": 0.7, "extract": 0.2})
TREE = dataclasses.replace(FIRST, kind="smore-2", title="S'MoRE & <trees>", shape="4 + 4", parameters=1190)


class RecordsTest(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.path = Path(folder.name) / "results.jsonl"

    def test_what_is_appended_is_read_again_and_is_one_line_each(self):
        self.assertEqual(read(self.path, SETTINGS), [])
        for record in (FIRST, OTHER_SEED, TREE):
            append(self.path, record)
        self.assertEqual(read(self.path, SETTINGS), [FIRST, OTHER_SEED, TREE])
        self.assertEqual(len(self.path.read_text().splitlines()), 3)

    def test_runs_that_are_recorded_are_not_done_again(self):
        kinds = ["lora", "smore-2"]
        self.assertEqual(missing([], kinds, 2), [("lora", 1), ("smore-2", 1), ("lora", 2), ("smore-2", 2)])
        self.assertEqual(missing([FIRST, OTHER_SEED], kinds, 2), [("smore-2", 1), ("smore-2", 2)])
        self.assertEqual(missing([FIRST, TREE], kinds, 1), [])

    def test_a_line_that_is_no_run_is_named(self):
        for line in ("{", "[]", json.dumps({**dataclasses.asdict(FIRST), "luck": 1})):
            append(self.path, FIRST)
            self.path.write_text(self.path.read_text() + line + "\n")
            with self.assertRaisesRegex(ValueError, r"results\.jsonl, line 2: is no finished run"):
                read(self.path, SETTINGS)
            self.path.unlink()

    def test_runs_of_other_settings_are_not_compared(self):
        append(self.path, FIRST)
        with self.assertRaisesRegex(ValueError, "line 1: was run with .*steps=4.*, not with .*steps=5"):
            read(self.path, dataclasses.replace(SETTINGS, steps=5))


class ReportTest(unittest.TestCase):
    def test_the_table_has_means_and_spreads(self):
        self.assertEqual(
            report.table([FIRST, OTHER_SEED, TREE]).splitlines(),
            [
                "| kind | in every linear | parameters | seeds | all tasks | sql | extract | loss | CPU time of a run |",
                "| --- | --- | --- | --- | --- | --- | --- | --- | --- |",
                "| LoRA | rank 3 | 1,200 | 2 | 40.0 % (35.0 to 45.0) | 60.0 % (50.0 to 70.0) | 20.0 % (20.0 to 20.0) "
                "| 0.450 | 1.0 min |",
                "| S'MoRE & <trees> | 4 + 4 | 1,190 | 1 | 35.0 % | 50.0 % | 20.0 % | 0.500 | 1.5 min |",
            ],
        )

    def test_the_chart_has_a_bar_of_the_right_height_for_every_kind_and_group_and_a_dot_for_every_run(self):
        svg = ElementTree.fromstring(report.chart([FIRST, OTHER_SEED, TREE]))
        space = "{http://www.w3.org/2000/svg}"
        bars = [bar for bar in svg.iter(f"{space}rect") if bar.get("height") not in ("12", str(report.HEIGHT), None)]
        full = report.HEIGHT - report.TOP - report.BOTTOM
        heights = [float(bar.get("height")) / full for bar in bars if bar.get("height") != "white"]
        for got, want in zip(heights, [0.4, 0.35, 0.6, 0.5, 0.2, 0.2], strict=True):
            self.assertAlmostEqual(got, want, places=3)
        self.assertEqual(len(list(svg.iter(f"{space}circle"))), 3 * 3)

    def test_the_table_takes_the_place_of_the_one_before(self):
        document = f"before\n{report.BEGIN}\nold\n{report.END}\nafter\n"
        once = report.with_table(document, [FIRST])
        self.assertIn("rank 3", once)
        self.assertNotIn("old", once)
        self.assertTrue(once.startswith("before\n") and once.endswith("\nafter\n"))
        self.assertEqual(report.with_table(once, [FIRST]), once)
        with self.assertRaisesRegex(ValueError, "no place for the table"):
            report.with_table("nothing", [FIRST])

    def test_document_and_chart_are_what_the_recorded_runs_say(self):
        records = report.in_order(read(RESULTS, Settings()))
        document = report.DOCUMENT.read_text()
        self.assertEqual(document, report.with_table(document, records))
        self.assertEqual(report.CHART.read_text(), report.chart(records))


if __name__ == "__main__":
    unittest.main()
