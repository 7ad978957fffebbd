import math
import unittest

import torch

from models.train.router.encoder import Encoder, encode, train_tokenizer
from models.train.router.loss import contrast

torch.set_num_threads(1)  # the tensors are tiny

TEXTS = ["red cat", "a red cat and a blue dog run 12 miles", "dog", "what is a dog?\nan animal"]


class RouterEncoderTest(unittest.TestCase):
    def setUp(self):
        torch.manual_seed(1)
        self.tokenizer = train_tokenizer(TEXTS * 5)
        self.model = Encoder(self.tokenizer.get_vocab_size()).eval()

    def test_a_text_has_the_same_vector_of_length_1_whatever_is_beside_it(self):
        with torch.no_grad():
            together = encode(self.model, self.tokenizer, TEXTS)
            alone = torch.cat([encode(self.model, self.tokenizer, [text]) for text in TEXTS])
        torch.testing.assert_close(together, alone, atol=1e-5, rtol=0)
        torch.testing.assert_close(together.norm(dim=1), torch.ones(len(TEXTS)))

    def test_numbers_tell_their_length_alone(self):
        with torch.no_grad():
            a, b, c = encode(self.model, self.tokenizer, ["run 12 miles", "run 98 miles", "run 987 miles"])
        torch.testing.assert_close(a, b)
        self.assertGreater((a - c).abs().max().item(), 1e-3)

    def test_the_loss_is_that_of_its_formula(self):
        vectors = torch.nn.functional.normalize(torch.randn(5, 3, dtype=torch.float64), dim=1)
        groups = [0, 0, 1, 1, 0]
        total = 0.0
        for i in range(5):
            others = [j for j in range(5) if j != i]
            exp = {j: math.exp(float(vectors[i] @ vectors[j]) / 0.1) for j in others}
            friends = [j for j in others if groups[j] == groups[i]]
            total -= sum(math.log(exp[j] / sum(exp.values())) for j in friends) / len(friends)
        self.assertAlmostEqual(contrast(vectors, torch.tensor(groups), 0.1).item(), total / 5, places=9)


if __name__ == "__main__":
    unittest.main()
