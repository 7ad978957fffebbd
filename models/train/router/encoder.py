"""The router's sentence encoder: tokens, two transformer layers, the mean of their outputs, a vector of length 1."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from torch import Tensor, nn
from torch.nn import functional as F

VOCAB = 4000
WIDTH = 96  # D
HEADS = 4
LAYERS = 2
OUT = 64  # numbers in a vector
REACH = 3  # tokens that the convolution sees at once
MOST_TOKENS = 192
ROWS_AT_ONCE = 64  # of similar length, so that little is padding
LEFT_OUT, REPLACED = 0.1, 0.2  # shares of the tokens of a text that is learnt from
NEW_LINE = "\u21b5"
PAD, UNKNOWN, BEGIN = "[PAD]", "[UNK]", "[BEGIN]"


def train_tokenizer(texts: Iterable[str]) -> Tokenizer:
    """WordPiece of lower case. A number is as many zeros as it has digits: its shape tells a task, its value does not."""
    tokenizer = Tokenizer(models.WordPiece(unk_token=UNKNOWN, max_input_chars_per_word=64))
    digits, lines = normalizers.Replace(Regex("[0-9]"), "0"), normalizers.Replace("\n", f" {NEW_LINE} ")
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase(), digits, lines])
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    special = [PAD, UNKNOWN, BEGIN]
    trainer = trainers.WordPieceTrainer(vocab_size=VOCAB, special_tokens=special, min_frequency=3, show_progress=False)
    tokenizer.train_from_iterator(texts, trainer)
    begin = tokenizer.token_to_id(BEGIN)
    tokenizer.post_processor = processors.TemplateProcessing(single=f"{BEGIN} $A", special_tokens=[(BEGIN, begin)])
    tokenizer.decoder = decoders.WordPiece()
    return tokenizer


class Layer(nn.Module):
    """Attention and two linears, each on a normalised input and added to it."""

    def __init__(self) -> None:
        super().__init__()
        self.norms = nn.ModuleList([nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)])
        self.qkv = nn.Linear(WIDTH, 3 * WIDTH)
        self.out = nn.Linear(WIDTH, WIDTH)
        self.up = nn.Linear(WIDTH, 2 * WIDTH)
        self.down = nn.Linear(2 * WIDTH, WIDTH)

    def forward(self, x: Tensor, hidden: Tensor) -> Tensor:
        """`x`: [B, T, D]. `hidden`: [B, 1, 1, T], minus infinity where there is no token."""
        q, k, v = (
            part.unflatten(-1, (HEADS, -1)).transpose(1, 2) for part in self.qkv(self.norms[0](x)).chunk(3, dim=-1)
        )
        weights = torch.softmax(q @ k.transpose(-1, -2) * (WIDTH / HEADS) ** -0.5 + hidden, dim=-1)
        x = x + self.out((weights @ v).transpose(1, 2).flatten(2))
        return x + self.down(F.relu(self.up(self.norms[1](x))))


class Encoder(nn.Module):
    def __init__(self, vocab: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocab, WIDTH)
        self.near = nn.Conv1d(WIDTH, WIDTH, REACH, padding=REACH // 2)
        self.layers = nn.ModuleList([Layer() for _ in range(LAYERS)])
        self.norm = nn.LayerNorm(WIDTH)
        self.out = nn.Linear(WIDTH, OUT)
        nn.init.normal_(self.embedding.weight, std=0.1)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Both [B, T], whole numbers; the mask is 1 where there is a token. Returns [B, OUT], each of length 1."""
        mask = attention_mask.to(torch.float32).unsqueeze(-1)
        x = self.embedding(input_ids) * mask
        x = (x + self.near(x.transpose(1, 2)).transpose(1, 2)) * mask
        hidden = ((mask - 1) * 1e9).transpose(1, 2).unsqueeze(1)
        for layer in self.layers:
            x = layer(x, hidden)
        mean = (self.norm(x) * mask).sum(1) / mask.sum(1)
        return F.normalize(self.out(mean), dim=-1)


def encode(model: Encoder, tokenizer: Tokenizer, texts: list[str], blur: bool = False) -> Tensor:
    rows = [encoding.ids[:MOST_TOKENS] for encoding in tokenizer.encode_batch(texts)]
    if blur:
        rows = [[ids[0], *blurred(ids[1:], tokenizer.get_vocab_size())] for ids in rows]
    order = sorted(range(len(rows)), key=lambda i: len(rows[i]))
    groups = [order[i : i + ROWS_AT_ONCE] for i in range(0, len(order), ROWS_AT_ONCE)]
    vectors = torch.cat([padded(model, [rows[i] for i in group]) for group in groups])
    return vectors[torch.tensor(order).argsort()]


def padded(model: Encoder, rows: list[list[int]]) -> Tensor:
    longest = max(map(len, rows))
    ids = torch.tensor([row + [0] * (longest - len(row)) for row in rows])
    mask = torch.tensor([[1] * len(row) + [0] * (longest - len(row)) for row in rows])
    return model(ids, mask)


def blurred(ids: list[int], vocab: int) -> list[int]:
    """Words must not be learnt by heart: a held-out schema has none of those that a training schema has."""
    chances = torch.rand(len(ids)).tolist()
    others = torch.randint(vocab, (len(ids),)).tolist()
    kept = [(token, other, chance) for token, other, chance in zip(ids, others, chances) if chance >= LEFT_OUT]
    return [other if chance < LEFT_OUT + REPLACED else token for token, other, chance in kept]
