import { existsSync, statSync } from "node:fs";
import { basename, dirname, join, resolve } from "node:path";
import { readJsonFile } from "../models/json-file.js";
import { ModelError } from "../models/model-error.js";

/** A sentence encoder on disk: an ONNX file with the Hugging Face files beside it or one folder up. */

export type Pooling = "mean" | "first" | "last";

export interface EncoderFiles {
  readonly name: string;
  readonly model: string;
  readonly tokenizer: string;
  /** Longest input in tokens, special ones included. */
  readonly maxTokens: number;
  /** How rows of a text become one vector, where the model leaves that to its user. */
  readonly pooling: Pooling;
  /** Lengths that its vectors were trained to be cut to, so that their first numbers say most. */
  readonly dimensions: readonly number[];
  /** How near a text must be to an adapter's examples, where the encoder is made for that. */
  readonly routerThreshold: number | null;
}

/** Where exporters put the model of a folder. */
const MODEL_PATHS = ["model.onnx", "onnx/model.onnx"];
const DEFAULT_MAX_TOKENS = 512;

/** Throws ModelError, whose message names what is missing. */
export function findEncoder(path: string): EncoderFiles {
  if (!existsSync(path)) throw new ModelError(`${path} does not exist`);
  const model = statSync(path).isDirectory() ? modelOf(path) : resolve(path);
  // ONNX Runtime would wait for ever for somebody to write into a pipe.
  if (!statSync(model).isFile()) throw new ModelError(`${model}: is not a regular file`);
  const folders = [dirname(model), dirname(dirname(model))];
  const home = folders.find((folder) => existsSync(join(folder, "tokenizer.json")));
  if (home === undefined) {
    throw new ModelError(`${path} has no tokenizer.json beside the model or one folder up`);
  }
  const named = statSync(path).isDirectory() ? basename(resolve(path)) : basename(path, ".onnx");
  return {
    name: named,
    model,
    tokenizer: join(home, "tokenizer.json"),
    maxTokens: maxTokens(home),
    pooling: pooling(home),
    dimensions: dimensions(home),
    routerThreshold: routerThreshold(home),
  };
}

function modelOf(folder: string): string {
  const found = MODEL_PATHS.map((path) => resolve(folder, path)).find(existsSync);
  if (found !== undefined) return found;
  throw new ModelError(`${folder} has no ${MODEL_PATHS.join(" and no ")}`);
}

/** The field of each file that bounds an input; the first that is there counts. */
const LENGTH_FIELDS = [
  ["sentence_bert_config.json", "max_seq_length"],
  ["tokenizer_config.json", "model_max_length"],
  ["config.json", "max_position_embeddings"],
] as const;

function maxTokens(home: string): number {
  for (const [file, field] of LENGTH_FIELDS) {
    const value = readJsonFile(join(home, file))[field];
    // Tokenizers without a limit say so by a number beyond all lengths.
    if (Number.isSafeInteger(value) && (value as number) > 0 && (value as number) < 1 << 24) {
      return value as number;
    }
  }
  return DEFAULT_MAX_TOKENS;
}

/** What Matryoshka models note of themselves. */
function dimensions(home: string): number[] {
  const file = join(home, "config.json");
  const lengths = readJsonFile(file).matryoshka_dimensions ?? [];
  if (
    Array.isArray(lengths) &&
    lengths.every((length) => Number.isSafeInteger(length) && length > 0)
  ) {
    return lengths;
  }
  throw new ModelError(`${file}: matryoshka_dimensions must be an array of whole numbers from 1`);
}

function routerThreshold(home: string): number | null {
  const file = join(home, "config.json");
  const threshold = readJsonFile(file).router_threshold ?? null;
  if (threshold === null) return null;
  if (typeof threshold === "number" && threshold >= 0 && threshold <= 1) return threshold;
  throw new ModelError(`${file}: router_threshold must be a number from 0 to 1`);
}

/** As sentence-transformers notes it. */
const POOLING_FIELDS: readonly (readonly [field: string, pooling: Pooling])[] = [
  ["pooling_mode_mean_tokens", "mean"],
  ["pooling_mode_cls_token", "first"],
  ["pooling_mode_lasttoken", "last"],
];

function pooling(home: string): Pooling {
  const file = join(home, "1_Pooling", "config.json");
  const modes = Object.entries(readJsonFile(file)).filter(
    ([field, on]) => field.startsWith("pooling_mode_") && on === true,
  );
  if (modes.length === 0) return "mean";
  const known = POOLING_FIELDS.find(([field]) => modes.length === 1 && modes[0]?.[0] === field);
  if (known !== undefined) return known[1];
  const names = modes.map(([field]) => field).join(", ");
  throw new ModelError(`${file}: only one of mean, cls and last token is pooled, not ${names}`);
}
