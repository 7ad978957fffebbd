import dataclasses
import json
import unittest
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors import safe_open
from torch import nn

from models.train.smore import Routing, SmoreLinear, Tree

torch.set_num_threads(1)  # the tensors are tiny

GOLDENS = Path(__file__).parents[4] / "test" / "fixtures" / "smore"


class FixedLinear(nn.Module):
    def __init__(self, weight, bias=None):
        super().__init__()
        self.weight, self.bias = weight, bias

    def forward(self, x):
        return F.linear(x, self.weight, self.bias)


def golden_error(file: Path) -> float:
    """Largest error relative to the largest value of the official implementation's output."""
    with safe_open(file, "pt") as stored:
        metadata, tensors = stored.metadata(), {key: stored.get_tensor(key) for key in stored.keys()}
    config, golden = json.loads(metadata["adapter_config"]), json.loads(metadata["golden"])
    fields = {field.name for field in dataclasses.fields(Tree)}
    tree = Tree(**{k: tuple(v) if isinstance(v, list) else v for k, v in config.items() if k in fields})
    routing = Routing()
    base = FixedLinear(tensors["base.weight"], tensors.get("base.bias"))
    linear = SmoreLinear(base, golden["in_features"], golden["out_features"], tree, "golden", routing).eval()
    prefix = next(key for key in tensors if ".moe_" in key).partition("moe_")[0]
    stored_names = {key.removeprefix(prefix) for key in tensors if ".moe_" in key}
    assert stored_names == linear.tensors().keys(), stored_names ^ linear.tensors().keys()
    routing.begin(torch.ones(len(tensors["x"]), dtype=torch.bool))
    with torch.no_grad():
        for name, value in linear.tensors().items():
            value.copy_(tensors[prefix + name])
        error = (linear(tensors["x"]) - tensors["expected.y"]).abs().max()
    return float(error / tensors["expected.y"].abs().max())


class SmoreTest(unittest.TestCase):
    def test_every_official_golden_is_reproduced(self):
        files = sorted(GOLDENS.glob("*.safetensors"))
        self.assertTrue(files, f"no golden files in {GOLDENS}")
        for file in files:
            with self.subTest(file.name):
                self.assertLess(golden_error(file), 1e-4)

    def test_gradients_agree_with_finite_differences(self):
        for gate_type, position in [("switch", "all"), ("noisy_topk", "child"), ("dense", "child_v2")]:
            with self.subTest(gate_type=gate_type, position=position):
                torch.manual_seed(0)
                tree = Tree(
                    (3, 3),
                    (2, 2),
                    (2, 1),
                    (4, 3),
                    dim_downproj_x=3,
                    gate_type=gate_type,
                    gate_act_fn="tanh",
                    expert_act_fn="tanh",
                    activation_position=position,
                    lora_alpha=(2.0, 3.0),
                )
                routing = Routing()
                base = FixedLinear(torch.randn(4, 5).double())
                linear = SmoreLinear(base, 5, 4, tree, "tiny", routing).double().eval()
                for parameter in linear.parameters():
                    nn.init.normal_(parameter, std=0.7)
                names, start = zip(*linear.named_parameters())
                x = torch.randn(3, 5, dtype=torch.double, requires_grad=True)

                def run(x, *parameters):
                    routing.begin(torch.ones(len(x), dtype=torch.bool))
                    return torch.func.functional_call(linear, dict(zip(names, parameters)), (x,))

                # Routing is piecewise constant: a step this small changes no choice at these seeds.
                self.assertTrue(torch.autograd.gradcheck(run, (x, *start), eps=1e-7, atol=1e-5))

    def test_an_even_load_costs_one_and_a_collapsed_one_costs_the_number_of_experts(self):
        routing = Routing()
        routing.begin(torch.tensor([True] * 4 + [False]))
        even = torch.full((5, 1, 4), 0.25)
        routing.record("m", 0, even, torch.tensor([0, 1, 2, 3, 3])[:, None, None])
        collapsed = F.one_hot(torch.zeros(5, 1, dtype=torch.long), 4).float()
        routing.record("m", 1, collapsed, torch.zeros(5, 1, 1, dtype=torch.long))
        self.assertEqual([float(loss) for loss in routing.balance], [1.0, 4.0])
        self.assertEqual(routing.loads["m", 0].tolist(), [1, 1, 1, 1])  # padding does not count

    def test_a_new_tree_changes_nothing(self):
        routing, base = Routing(), FixedLinear(torch.randn(6, 8))
        linear = SmoreLinear(base, 8, 6, Tree((4, 4), (2, 2), (2, 2), (4, 4), gate_type="switch"), "new", routing)
        routing.begin(torch.ones(3, dtype=torch.bool))
        x = torch.randn(3, 8)
        self.assertTrue(torch.equal(linear(x), base(x)))

    def test_contradictory_settings_are_refused_by_name(self):
        with self.assertRaisesRegex(ValueError, "gate_type"):
            Tree((2,), (1,), (2,), (2,), gate_type="top1")
        with self.assertRaisesRegex(ValueError, "differ in length"):
            Tree((2, 2), (1,), (2,), (2,))


if __name__ == "__main__":
    unittest.main()
