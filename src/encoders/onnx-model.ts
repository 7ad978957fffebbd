import { InferenceSession, Tensor } from "onnxruntime-node";
import { ModelError } from "../models/model-error.js";
import type { EncoderFiles, Pooling } from "./files.js";

/** Tokens of one input, as the tokenizer gives them. */
export interface EncoderTokens {
  readonly ids: readonly number[];
  readonly types: readonly number[];
}

type Column = (tokens: EncoderTokens, at: number) => number;

/** What a model may want to know of each token. */
const COLUMNS: Readonly<Record<string, Column>> = {
  input_ids: ({ ids }, at) => ids[at] ?? 0,
  attention_mask: ({ ids }, at) => (at < ids.length ? 1 : 0),
  token_type_ids: ({ types }, at) => types[at] ?? 0,
  position_ids: (_, at) => at,
};

/** Names of outputs that hold one vector per input, then of those that hold one per token. */
const OUTPUTS = ["sentence_embedding", "last_hidden_state", "token_embeddings"];

/** An encoder in ONNX Runtime. To be used on a thread of its own: loading it takes time and memory. */
export class OnnxModel {
  readonly #session: InferenceSession;
  readonly #output: string;
  readonly #pooling: Pooling;

  private constructor(session: InferenceSession, output: string, pooling: Pooling) {
    this.#session = session;
    this.#output = output;
    this.#pooling = pooling;
  }

  /** Throws ModelError where the model is no sentence encoder. */
  static async load({ model, pooling }: EncoderFiles, threads: number): Promise<OnnxModel> {
    const session = await InferenceSession.create(model, {
      intraOpNumThreads: threads,
      interOpNumThreads: 1,
    }).catch((error: Error) => {
      throw new ModelError(`${model} cannot be loaded: ${error.message}`);
    });
    const strange = session.inputNames.find((name) => !Object.hasOwn(COLUMNS, name));
    if (strange !== undefined) {
      const known = Object.keys(COLUMNS).join(", ");
      throw new ModelError(`${model} has an input "${strange}"; inputs may be ${known}`);
    }
    const output = OUTPUTS.find((name) => session.outputNames.includes(name));
    if (output === undefined) {
      const found = session.outputNames.join(", ");
      throw new ModelError(
        `${model} has the outputs ${found}; one must be ${OUTPUTS.join(" or ")}`,
      );
    }
    return new OnnxModel(session, output, pooling);
  }

  /** A vector of length 1 for each input. */
  async run(inputs: readonly EncoderTokens[]): Promise<Float32Array[]> {
    const longest = Math.max(...inputs.map(({ ids }) => ids.length));
    const feeds = this.#session.inputNames.map((name) => {
      const column = COLUMNS[name]!;
      const data = new BigInt64Array(inputs.length * longest);
      inputs.forEach((tokens, row) => {
        for (let at = 0; at < longest; at++) data[row * longest + at] = BigInt(column(tokens, at));
      });
      return [name, new Tensor("int64", data, [inputs.length, longest])] as const;
    });
    const output = (await this.#session.run(Object.fromEntries(feeds)))[this.#output]!;
    const data = output.data;
    if (!(data instanceof Float32Array)) {
      throw new ModelError(`the output ${this.#output} is ${output.type}, not float32`);
    }
    const width = output.dims.at(-1)!;
    const rows = output.dims.length === 2 ? 1 : longest;
    return inputs.map(({ ids }, index) => {
      const own = data.subarray(index * rows * width, (index + 1) * rows * width);
      return normalized(pool(own, Math.min(rows, ids.length), width, this.#pooling));
    });
  }
}

function pool(rows: Float32Array, count: number, width: number, pooling: Pooling): Float32Array {
  if (pooling === "first" || count === 1) return rows.slice(0, width);
  if (pooling === "last") return rows.slice((count - 1) * width, count * width);
  const mean = new Float32Array(width);
  for (let row = 0; row < count; row++) {
    for (let i = 0; i < width; i++) mean[i]! += rows[row * width + i]! / count;
  }
  return mean;
}

function normalized(vector: Float32Array): Float32Array {
  const length = Math.hypot(...vector);
  return length === 0 ? vector : vector.map((value) => value / length);
}
