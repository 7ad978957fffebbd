import { readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { CommandError } from "../../src/cli/command.js";
import { readGgufMetadata } from "../../src/text/gguf-metadata.js";

/** The sizes of a base model that an adapter depends on. */
export interface BaseShape {
  readonly layers: number;
  readonly width: number;
  readonly hidden: number; // of the MLP
  readonly queries: number; // rows of q_proj
  readonly keys: number; // rows of k_proj and of v_proj
}

/** From a GGUF file, or the config.json of a Hugging Face folder. */
export function readBaseShape(model: string): BaseShape {
  return statSync(model).isDirectory() ? fromFolder(model) : fromGguf(model);
}

function fromGguf(model: string): BaseShape {
  const metadata = readGgufMetadata(model, (key) => !key.startsWith("tokenizer."));
  const family = metadata.get("general.architecture");
  const read = (name: string, initial?: number): number => {
    const value = metadata.get(`${family}.${name}`) ?? initial;
    if (typeof value === "number") return value;
    throw new CommandError(`${model}: ${family}.${name} is not a number`);
  };
  const width = read("embedding_length");
  const heads = read("attention.head_count");
  const headWidth = read("attention.key_length", width / heads);
  return {
    layers: read("block_count"),
    width,
    hidden: read("feed_forward_length"),
    queries: heads * headWidth,
    keys: read("attention.head_count_kv", heads) * headWidth,
  };
}

function fromFolder(model: string): BaseShape {
  const file = join(model, "config.json");
  const config = JSON.parse(readFileSync(file, "utf8")) as Record<string, unknown>;
  const read = (name: string, initial?: number): number => {
    const value = config[name] ?? initial;
    if (typeof value === "number") return value;
    throw new CommandError(`${file}: ${name} is not a number`);
  };
  const width = read("hidden_size");
  const heads = read("num_attention_heads");
  const headWidth = read("head_dim", width / heads);
  return {
    layers: read("num_hidden_layers"),
    width,
    hidden: read("intermediate_size"),
    queries: heads * headWidth,
    keys: read("num_key_value_heads", heads) * headWidth,
  };
}
