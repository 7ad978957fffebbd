import contextlib
import io
import os
import signal
import tempfile
import unittest
from pathlib import Path

import numpy as np
import torch
from torch import nn

from models.compare import kinds
from models.compare.kinds import HydraLinear, LoraLinear, parameters_per_layer, solved_kinds
from models.train import fit
from models.train.adapter import Attached
from models.train.base import Config, Llama
from models.train.smore import Routing

from .test_model import RandomWeights

torch.set_num_threads(1)  # the tensors are tiny

SMOLLM = Config(layers=30, hidden=576, intermediate=1536, heads=9, kv_heads=3, rope_theta=1e5, norm_eps=1e-5)
INPUTS, OUTPUTS, TOKENS, RANK = 5, 4, 3, 2


def base() -> nn.Linear:
    torch.manual_seed(5)
    return nn.Linear(INPUTS, OUTPUTS, bias=False).requires_grad_(False)


def filled(module: nn.Module) -> nn.Module:
    for parameter in module.parameters():
        if parameter.requires_grad:
            nn.init.normal_(parameter, std=0.6)
    return module


class Batches:
    """Stands in for the stream of batches; asks the process to stop while a step is begun."""

    prefix = [5, 9]

    def __init__(self, stop_at: int | None = None):
        self.drawn, self._stop_at = 0, stop_at

    def next(self) -> fit.Batch:
        self.drawn += 1
        if self.drawn == self._stop_at:
            os.kill(os.getpid(), signal.SIGINT)
        return fit.collate([([1, 2, 3, self.drawn % 7], 2), ([5, 6, 7], 1)])


class KindsTest(unittest.TestCase):
    def test_all_kinds_have_as_many_parameters_within_two_percent(self):
        solved = solved_kinds(SMOLLM)
        self.assertEqual(list(solved), ["lora", "dense-gate", "mixture", "smore-2", "smore-3"])
        reference = parameters_per_layer(kinds.tree_wrap(fit.TREE), SMOLLM)
        for kind in solved.values():
            count = parameters_per_layer(kind.wrap, SMOLLM)
            self.assertLessEqual(abs(count / reference - 1), 0.02, kind.name)
        self.assertEqual(parameters_per_layer(solved["smore-2"].wrap, SMOLLM), reference)

    def test_counted_parameters_are_those_that_a_model_gets(self):
        model = Llama(RandomWeights())
        for kind in (kinds.lora(3), kinds.hydra(2), kinds.smore("smore-3", "", 2, 1, 1)):
            attached = Attached(Llama(RandomWeights()), [0, 1], kind.wrap)
            trained = sum(p.numel() for p in attached.parameters() if p.requires_grad)
            self.assertEqual(trained, 2 * parameters_per_layer(kind.wrap, model.config), kind.name)

    def test_a_size_that_no_rank_meets_is_refused_by_name(self):
        tiny = Config(layers=1, hidden=2, intermediate=2, heads=1, kv_heads=1, rope_theta=1e4, norm_eps=1e-5)
        with self.assertRaisesRegex(ValueError, "no rank of .* has about"):
            solved_kinds(tiny)

    def test_lora_computes_what_its_formula_says(self):
        module = filled(LoraLinear(base(), INPUTS, OUTPUTS, RANK))
        x = torch.randn(TOKENS, INPUTS)
        tensors = {name: value.detach().numpy() for name, value in module.tensors().items()}
        for row, got in zip(x.numpy(), module(x).detach().numpy()):
            want = module.base.weight.numpy() @ row + tensors["lora_B.weight"] @ (tensors["lora_A.weight"] @ row)
            np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-5)

    def test_the_dense_gate_computes_what_its_formula_says(self):
        module = filled(HydraLinear(base(), INPUTS, OUTPUTS, 3, RANK))
        x = torch.randn(TOKENS, INPUTS)
        tensors = {name: value.detach().numpy() for name, value in module.tensors().items()}
        for row, got in zip(x.numpy(), module(x).detach().numpy()):
            gates = np.exp(tensors["lora_route.weight"] @ row)
            inner = tensors["lora_A.weight"] @ row
            experts = [gates[e] / gates.sum() * (tensors[f"lora_B{e}.weight"] @ inner) for e in range(3)]
            np.testing.assert_allclose(got, module.base.weight.numpy() @ row + sum(experts), rtol=1e-4, atol=1e-5)

    def test_every_kind_starts_as_no_change(self):
        x = torch.randn(TOKENS, SMOLLM.hidden)
        for kind in solved_kinds(SMOLLM).values():
            frozen, routing = nn.Linear(SMOLLM.hidden, SMOLLM.intermediate, bias=False), Routing()
            routing.begin(torch.ones(TOKENS, dtype=torch.bool))
            module = kind.wrap(frozen, SMOLLM.hidden, SMOLLM.intermediate, "up_proj", routing)
            self.assertTrue(torch.equal(module(x), frozen(x)), kind.name)


class GoingOnTest(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)

    def trained(self, kind: kinds.Kind, checkpoint: str, stop_at: int | None = None) -> tuple[Attached, fit.Log]:
        torch.manual_seed(6)
        model = Llama(RandomWeights())
        attached = Attached(model, [1], kind.wrap)
        with contextlib.redirect_stdout(io.StringIO()):
            return attached, fit.fit(model, attached, Batches(stop_at), 8, self.folder / checkpoint)

    def test_a_run_that_was_stopped_ends_as_if_it_had_not_been(self):
        for kind in (kinds.lora(3), kinds.hydra(2), kinds.smore("mixture", "", 2)):
            with self.subTest(kind=kind.name):
                want, log = self.trained(kind, f"{kind.name}-whole")
                with self.assertRaises(SystemExit) as stopped:
                    self.trained(kind, f"{kind.name}-stopped", stop_at=4)
                self.assertEqual(stopped.exception.code, 128 + signal.SIGINT)
                self.assertIs(signal.getsignal(signal.SIGINT), signal.default_int_handler)
                got, resumed = self.trained(kind, f"{kind.name}-stopped")
                self.assertEqual([step["loss"] for step in resumed], [step["loss"] for step in log])
                for name, value in want.tensors().items():
                    self.assertTrue(torch.equal(got.tensors()[name], value), name)


if __name__ == "__main__":
    unittest.main()
