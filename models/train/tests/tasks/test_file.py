import json
import random
import tempfile
import unittest
import xml.etree.ElementTree as ElementTree
from pathlib import Path

from models.train.curve import loss_curve
from models.train.tasks.file import FileTask


def written(lines: list[dict[str, str]]) -> FileTask:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "data.jsonl"
        path.write_text("".join(json.dumps(line) + "\n" for line in lines))
        return FileTask(path)


class FileTaskTest(unittest.TestCase):
    def test_no_prompt_that_is_scored_is_trained_on(self):
        task = written([{"prompt": f"p{i % 60}", "completion": str(i)} for i in range(120)])
        held = {example.prompt for example in task.heldout}
        rng = random.Random(1)
        drawn = {task.example("train", rng).prompt for _ in range(2000)}
        self.assertFalse(held & drawn)
        self.assertEqual(len(held | drawn), 60)
        self.assertGreater(len(held), 5)

    def test_answers_are_compared_as_json_only_where_all_are(self):
        numbered = [{"prompt": f"p{i}", "completion": f'{{"a": {i}}}'} for i in range(40)]
        self.assertEqual(written(numbered).CHECK, "json")
        self.assertEqual(written([*numbered, {"prompt": "q", "completion": "plain"}]).CHECK, "text")
        self.assertEqual(written([{"prompt": f"p{i}", "completion": str(i)} for i in range(40)]).CHECK, "text")

    def test_a_file_of_one_prompt_is_refused(self):
        with self.assertRaisesRegex(ValueError, "too few different prompts"):
            written([{"prompt": "p", "completion": "c"}] * 30)


class CurveTest(unittest.TestCase):
    def test_the_curve_falls_with_the_loss_and_stays_in_its_frame(self):
        losses = [3 * 0.97**step for step in range(200)]
        picture = ElementTree.fromstring(loss_curve(losses, "a < b & c"))
        single, mean = (node for node in picture if node.tag.endswith("polyline"))
        heights = [float(point.split(",")[1]) for point in single.get("points").split()]
        self.assertEqual(len(heights), 200)
        self.assertEqual(heights, sorted(heights))  # SVG counts downwards
        self.assertTrue(all(48 <= y <= 272 for y in heights))
        self.assertEqual(len(mean.get("points").split()), 200)

    def test_one_step_and_equal_losses_are_drawn_too(self):
        for losses in ([0.5], [1.0] * 5, [0.0, 2.0]):
            ElementTree.fromstring(loss_curve(losses, "t"))


if __name__ == "__main__":
    unittest.main()
