import json
import tempfile
import unittest
from pathlib import Path

import torch
import torch.nn.functional as F

from models.train.adapter import Adapter, load
from models.train.base import Config, Llama, attention
from models.train.decode import greedy
from models.train.fit import collate, loss_of, too_long
from models.train.smore import Tree
from models.train.tasks.file import FileTask

torch.set_num_threads(1)  # the tensors are tiny

CONFIG = Config(layers=2, hidden=16, intermediate=24, heads=4, kv_heads=2, rope_theta=1e4, norm_eps=1e-5)
VOCABULARY = 32
TREE = Tree((3, 3), (2, 2), (2, 2), (4, 4), dim_downproj_x=4, gate_type="switch", expert_act_fn="tanh")


class RandomWeights:
    """Stands in for a GGUF file."""

    def __init__(self):
        self._random = torch.Generator().manual_seed(3)

    def config(self):
        return CONFIG

    def tensor(self, name):
        c, kv = CONFIG, CONFIG.kv_heads * CONFIG.head_width
        rows, columns = {
            "token_embd": (VOCABULARY, c.hidden),
            "attn_k": (kv, c.hidden),
            "attn_v": (kv, c.hidden),
            "ffn_gate": (c.intermediate, c.hidden),
            "ffn_up": (c.intermediate, c.hidden),
            "ffn_down": (c.hidden, c.intermediate),
        }.get(name.split(".")[-2], (c.hidden, c.hidden))
        if "norm" in name:
            return torch.ones(c.hidden)
        return torch.randn(rows, columns, generator=self._random) / columns**0.5


def adapted() -> tuple[Llama, Adapter]:
    torch.manual_seed(4)
    model = Llama(RandomWeights())
    adapter = Adapter(model, TREE, [1])
    for value in adapter.tensors().values():
        value.normal_(std=0.3)
    model.eval()
    return model, adapter


def hidden_of(model: Llama, adapter: Adapter, ids: list[int]) -> torch.Tensor:
    row = torch.tensor([ids])
    valid = torch.ones_like(row, dtype=torch.bool)
    adapter.routing.begin(valid)
    return model(row, valid)[0][0]


class ModelTest(unittest.TestCase):
    def test_attention_is_torchs_own_with_its_gradients(self):
        torch.manual_seed(9)
        q, k, v = (torch.randn(2, heads, rows, 4, requires_grad=True) for heads, rows in ((6, 3), (2, 5), (2, 5)))
        mask = torch.ones(2, 1, 3, 5, dtype=torch.bool).tril(2)
        mask[1, :, :, 1] = False
        weights = torch.randn(2, 6, 3, 4)
        theirs = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, enable_gqa=True)
        ours = attention(q, k, v, mask)
        torch.testing.assert_close(ours, theirs)
        for got, want in zip(*(torch.autograd.grad((y * weights).sum(), (q, k, v)) for y in (ours, theirs))):
            torch.testing.assert_close(got, want)

    def test_a_shared_prefix_and_padding_leave_every_row_as_if_it_ran_alone(self):
        model, adapter = adapted()
        prefix, rows = [5, 9, 2], [[1, 2, 3, 4, 6], [7, 8]]
        with torch.no_grad():
            ones = torch.ones(1, 3, dtype=torch.bool)
            adapter.routing.begin(ones)
            _, cache = model(torch.tensor([prefix]), ones)
            batch = collate([(row, 1) for row in rows])
            adapter.routing.begin(batch.valid)
            hidden, _ = model(batch.ids, batch.valid, cache)
            for got, row in zip(hidden, rows):
                want = hidden_of(model, adapter, prefix + row)[len(prefix) :]
                torch.testing.assert_close(got[: len(row)], want, atol=1e-5, rtol=1e-4)

    def test_greedy_in_a_ragged_batch_equals_greedy_without_a_cache(self):
        model, adapter = adapted()
        prompts = [[1, 2, 3], [4, 5, 6, 7, 8, 9], [10]]
        answers = greedy(model, prompts, end_id=VOCABULARY, limit=6, adapter=adapter)
        with torch.no_grad():
            for prompt, answer in zip(prompts, answers):
                ids = list(prompt)
                for _ in range(6):
                    ids.append(int(model.logits(hidden_of(model, adapter, ids)[-1]).argmax()))
                self.assertEqual(answer.ids, ids[len(prompt) :])

    def test_the_loss_is_the_mean_over_answer_tokens_alone(self):
        model, adapter = adapted()
        prefix, row = [5, 9], [1, 2, 3, 4]
        with torch.no_grad():
            loss, _ = loss_of(model, adapter, torch.tensor([prefix]), collate([(row, 2), (row, 2)]))
            log_probabilities = model.logits(hidden_of(model, adapter, prefix + row)).log_softmax(-1)
        want = -(log_probabilities[3, 3] + log_probabilities[4, 4]) / 2
        self.assertAlmostEqual(float(loss), float(want), places=5)

    def test_a_saved_adapter_loads_to_the_same_function(self):
        model, adapter = adapted()
        ids = [1, 2, 3, 4, 5]
        with tempfile.TemporaryDirectory() as folder, torch.no_grad():
            adapter.save(Path(folder), "tiny", torch.float32)
            want = hidden_of(model, adapter, ids)
            fresh = Llama(RandomWeights())
            again = load(fresh, Path(folder))
            fresh.eval()
            self.assertTrue(torch.equal(hidden_of(fresh, again, ids), want))
            names = again.tensors().keys()
        self.assertIn("base_model.model.model.layers.1.mlp.up_proj.moe_gate.1.mlp.0.weight", names)

    def test_a_line_that_is_too_long_is_named(self):
        class Letters:
            end_id = 0

            def encode(self, text):
                return [ord(letter) for letter in text]

            def prompt(self, messages):
                return self.encode(messages[0]["content"])

        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "data.jsonl"
            lines = [{"prompt": f"p{i}", "completion": "c" * (600 if i == 25 else 9)} for i in range(30)]
            path.write_text("\n".join(map(json.dumps, lines)))
            self.assertRegex(too_long(FileTask(path), Letters()), r"data\.jsonl, line 26: 604 tokens .* 512 fit")
            path.write_text("\n".join(map(json.dumps, lines[:25])))
            self.assertIsNone(too_long(FileTask(path), Letters()))


if __name__ == "__main__":
    unittest.main()
