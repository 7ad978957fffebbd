import json
import unittest
from pathlib import Path

from models.train import mixed_card
from models.train.card import RECORDS, SCORES, written
from models.train.tasks import mixed

ADAPTERS = Path(__file__).parents[3] / "adapters"
BY_HAND = {"function-calls"}
LEAST_SHARE_BUSY = 0.5


class CardTest(unittest.TestCase):
    def test_cards_are_what_is_recorded_of_their_adapters(self):
        names = {folder.name for folder in ADAPTERS.iterdir() if (folder / "adapter_config.json").exists()}
        self.assertEqual(names, {record.stem for record in RECORDS.glob("*.json")})
        self.assertEqual(names - {mixed.NAME}, json.loads(SCORES.read_text()).keys())
        for name in names - BY_HAND - {mixed.NAME}:
            self.assertEqual((ADAPTERS / name / "README.md").read_text(), written(name, ADAPTERS / name), name)
        of_all = ADAPTERS / mixed.NAME
        self.assertEqual((of_all / "README.md").read_text(), mixed_card.written(of_all))

    def test_the_adapter_for_all_tasks_is_trained_on_those_with_one_of_their_own(self):
        self.assertEqual(mixed.TASKS.keys(), json.loads(SCORES.read_text()).keys())
        self.assertEqual(mixed.SHARES.keys(), mixed.TASKS.keys())
        self.assertEqual(sum(mixed.SHARES.values()), 100)

    def test_no_router_has_collapsed(self):
        for record in RECORDS.glob("*.json"):
            fields = json.loads(record.read_text())
            config = json.loads((ADAPTERS / record.stem / "adapter_config.json").read_text())
            for busy, experts in zip(fields["fewest_busy_experts_in_a_tree"], config["num_experts"]):
                self.assertGreaterEqual(busy, LEAST_SHARE_BUSY * experts, record.stem)


if __name__ == "__main__":
    unittest.main()
