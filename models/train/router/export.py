"""Writes the encoder as ONNX with its tokenizer, in the layout of a sentence encoder of Hugging Face."""

from __future__ import annotations

import json
from pathlib import Path

import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from tokenizers import Tokenizer

from .encoder import MOST_TOKENS, Encoder

OPSET = 17
LARGE = 4096  # numbers; weights from this size on are stored in 16 bits


def write(model: Encoder, tokenizer: Tokenizer, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "model.onnx"
    example = torch.ones(2, 5, dtype=torch.int64)
    names = ["input_ids", "attention_mask"]
    sizes = {0: "batch", 1: "tokens"}
    torch.onnx.export(
        model,
        (example, example),
        str(file),
        dynamo=False,
        opset_version=OPSET,
        input_names=names,
        output_names=["sentence_embedding"],
        dynamic_axes={name: sizes for name in names} | {"sentence_embedding": {0: "batch"}},
    )
    onnx.save(halved(onnx.load(file)), file)
    tokenizer.save(str(folder / "tokenizer.json"), pretty=False)
    (folder / "sentence_bert_config.json").write_text(json.dumps({"max_seq_length": MOST_TOKENS}) + "\n")


def halved(model: onnx.ModelProto) -> onnx.ModelProto:
    """Large weights as float16, cast to float32 when the model is loaded."""
    casts = []
    for weight in model.graph.initializer:
        values = numpy_helper.to_array(weight)
        if weight.data_type != TensorProto.FLOAT or values.size < LARGE:
            continue
        name = weight.name
        weight.CopyFrom(numpy_helper.from_array(values.astype("float16"), f"{name}.half"))
        casts.append(helper.make_node("Cast", [f"{name}.half"], [name], to=TensorProto.FLOAT))
    nodes = [*casts, *model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    onnx.checker.check_model(model)
    return model
