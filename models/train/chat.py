"""The model's own tokenizer and chat template, built from GGUF metadata."""

from __future__ import annotations

import jinja2
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

from .base import Gguf

CONTROL_TOKEN = 3


class Chat:
    def __init__(self, source: Gguf) -> None:
        if (pre := source.value("tokenizer.ggml.pre")) != "smollm":
            raise ValueError(f"pre-tokenizer {pre} is not supported, only smollm")
        tokens = source.value("tokenizer.ggml.tokens")
        merges = [tuple(merge.split(" ")) for merge in source.value("tokenizer.ggml.merges")]
        vocabulary = {token: index for index, token in enumerate(tokens)}
        self._tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=merges))
        self._tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
            [
                pre_tokenizers.Digits(individual_digits=True),
                pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True),
            ]
        )
        self._tokenizer.decoder = decoders.ByteLevel()
        types = source.value("tokenizer.ggml.token_type")
        self._tokenizer.add_special_tokens(
            [
                AddedToken(token, special=True, normalized=False)
                for token, kind in zip(tokens, types)
                if kind == CONTROL_TOKEN
            ]
        )
        self.end_id: int = source.value("tokenizer.ggml.eos_token_id")
        environment = jinja2.Environment(trim_blocks=True, lstrip_blocks=True)
        self._template = environment.from_string(source.value("tokenizer.chat_template"))

    def encode(self, text: str) -> list[int]:
        return self._tokenizer.encode(text, add_special_tokens=False).ids

    def decode(self, ids: list[int]) -> str:
        return self._tokenizer.decode(ids, skip_special_tokens=True)

    def prompt(self, messages: list[dict[str, str]]) -> list[int]:
        """Token ids up to the place where the assistant answers."""
        return self.encode(self._template.render(messages=messages, add_generation_prompt=True))
