"""One step of training against the formulas, which are written out anew in `formulas.py`."""

import itertools
import unittest

import numpy as np
import torch
from torch import nn

from models.train import fit
from models.train.smore import Routing, SmoreLinear, Tree

from . import formulas
from .test_model import adapted

torch.set_num_threads(1)  # the tensors are tiny

INPUTS, OUTPUTS, TOKENS = 5, 4, 3
STEP = 1e-6  # of the central differences, in float64
GATES, POSITIONS = ("switch", "noisy_topk", "dense"), ("all", "child", "child_v2")


def tree_of(gate: str, position: str, active: int, levels: int) -> Tree:
    return Tree(
        (3,) * levels,
        (active,) * levels,
        (2, 1, 2)[:levels],
        (4, 3, 2)[:levels],
        dim_downproj_x=3,
        gate_type=gate,
        gate_act_fn="tanh",
        expert_act_fn="tanh",
        activation_position=position,
        lora_alpha=(2.0, 3.0, 1.0)[:levels],
    )


def tiny(tree: Tree) -> tuple[SmoreLinear, Routing, torch.Tensor]:
    torch.manual_seed(8)
    routing = Routing()
    base = nn.Linear(INPUTS, OUTPUTS, bias=False).double().requires_grad_(False)
    linear = SmoreLinear(base, INPUTS, OUTPUTS, tree, "tiny", routing).double().eval()
    for parameter in linear.parameters():
        if parameter.requires_grad:
            nn.init.normal_(parameter, std=0.6)
    routing.begin(torch.ones(TOKENS, dtype=torch.bool))
    return linear, routing, torch.randn(TOKENS, INPUTS, dtype=torch.double)


def settings():
    for gate, position, active, levels in itertools.product(GATES, POSITIONS, (1, 2), (1, 2, 3)):
        yield tree_of(gate, position, active, levels)


class FormulaTest(unittest.TestCase):
    def test_the_tree_computes_what_its_formulas_say(self):
        for tree in settings():
            with self.subTest(tree=tree):
                linear, _, x = tiny(tree)
                tensors = {name: value.detach().numpy() for name, value in linear.tensors().items()}
                want = linear.base(x).numpy() + [formulas.delta(tree, tensors, row) for row in x.numpy()]
                np.testing.assert_allclose(linear(x).detach().numpy(), want, rtol=1e-10, atol=1e-12)

    def test_gradients_are_the_differences_of_the_formulas(self):
        """Every parameter of a two-level tree, for every gate and position: central differences of `formulas.py`."""
        for gate, position in itertools.product(GATES, POSITIONS):
            tree = tree_of(gate, position, 2, 2)
            with self.subTest(gate=gate, position=position):
                linear, _, x = tiny(tree)
                weights = torch.randn(TOKENS, OUTPUTS, dtype=torch.double)
                (linear(x) * weights).sum().backward()
                tensors = {name: value.detach().numpy() for name, value in linear.tensors().items()}

                def loss(tensors=tensors, tree=tree, x=x, weights=weights) -> float:
                    rows = [formulas.delta(tree, tensors, row) for row in x.numpy()]
                    return float((np.array(rows) * weights.numpy()).sum())

                for name, parameter in named_parameters(linear):
                    got = parameter.grad.numpy()
                    want = np.zeros_like(got)
                    values = tensors[name]
                    for place in np.ndindex(values.shape):
                        kept = values[place]
                        values[place] = kept + STEP
                        above = loss()
                        values[place] = kept - STEP
                        below = loss()
                        values[place] = kept
                        want[place] = (above - below) / (2 * STEP)
                    np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-8, err_msg=name)


def named_parameters(linear: SmoreLinear):
    """The parameters that the output depends on, under the names of the files."""
    by_storage = {parameter.data_ptr(): parameter for parameter in linear.parameters()}
    for name, value in linear.tensors().items():
        if "weight_noise" not in name:
            yield name, by_storage[value.data_ptr()]


class StepTest(unittest.TestCase):
    def test_the_first_step_moves_every_parameter_by_the_learning_rate_against_its_gradient(self):
        """AdamW's first step is -rate * g / (|g| + eps): after bias correction both moments are those of one gradient."""
        model, adapter = adapted()
        batch = fit.collate([([1, 2, 3, 4], 2), ([5, 6, 7], 1)])
        prefix = torch.tensor([[5, 9]])
        parameters = adapter.parameters()
        answer, balance = fit.loss_of(model, adapter, prefix, batch)
        gradients = torch.autograd.grad(answer + fit.BALANCE_WEIGHT * balance, parameters, allow_unused=True)
        norm = torch.stack([g.norm() for g in gradients if g is not None]).norm()
        clip = min(1.0, fit.LARGEST_GRADIENT / (float(norm) + 1e-6))
        before = [p.detach().clone() for p in parameters]
        losses = fit.update(model, adapter, fit.optimizer_of(adapter), prefix, batch)
        self.assertAlmostEqual(losses[0], answer.item(), places=6)
        self.assertAlmostEqual(losses[1], balance.item(), places=6)
        moved = 0
        for old, new, gradient in zip(before, parameters, gradients):
            if gradient is None:
                self.assertTrue(torch.equal(old, new))
                continue
            clipped = gradient * clip
            want = old - fit.LEARNING_RATE * clipped / (clipped.abs() + 1e-8)
            torch.testing.assert_close(new.detach(), want, atol=1e-6, rtol=1e-5)
            moved += int((new != old).sum())
        self.assertGreater(moved, 100)

    def test_steps_on_one_batch_lower_its_loss(self):
        model, adapter = adapted()
        batch, prefix = fit.collate([([1, 2, 3, 4], 2), ([5, 6, 7], 1)]), torch.tensor([[5, 9]])
        optimizer = fit.optimizer_of(adapter)
        losses = [fit.update(model, adapter, optimizer, prefix, batch)[0] for _ in range(60)]
        self.assertLess(losses[-1], losses[0] / 2)

    def test_the_learning_rate_rises_and_falls(self):
        rates = [fit.learning_rate(step, 100) for step in range(100)]
        self.assertEqual(max(rates), rates[fit.WARMUP])
        self.assertEqual(rates[: fit.WARMUP], sorted(rates[: fit.WARMUP]))
        self.assertEqual(rates[fit.WARMUP :], sorted(rates[fit.WARMUP :], reverse=True))
        self.assertGreater(rates[-1], 0)


if __name__ == "__main__":
    unittest.main()
