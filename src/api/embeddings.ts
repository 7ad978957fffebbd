import type { SentenceEncoder } from "../encoders/encoder.js";
import { ApiError } from "../errors.js";
import type { ApiContext } from "./context.js";
import { encodeText } from "./encode-text.js";
import { estimateTokens } from "./job.js";
import { findModel, loadingEnded } from "./models.js";
import { completionBudget, parseModel } from "./parameters.js";
import { poolPrompts } from "./pooled.js";
import { Fields, invalid, type JsonObject, unsupported } from "./schema.js";

/**
 * POST /v1/embeddings: by the sentence encoder where one is served and named, else the mean of the
 * model's own final hidden states, through the adapter that is named. Vectors have length 1.
 */

type Input = string | readonly number[];

interface Embedded {
  readonly vectors: readonly Float32Array[];
  readonly tokens: number;
}

const MAX_INPUTS = 2048;

export async function embeddings(
  body: JsonObject,
  context: ApiContext,
  unknownFields: (names: readonly string[]) => void,
  gone: AbortSignal,
): Promise<object> {
  const fields = new Fields(body);
  const encoder = fields.raw("model") === context.encoder?.name ? context.encoder : null;
  await adapterLoaded(body, context);
  const model = encoder === null ? parseModel(fields, context) : encoder;
  const format = fields.string("encoding_format") ?? "float";
  if (format !== "float" && format !== "base64") {
    throw invalid("encoding_format", `"float" or "base64"`, format);
  }
  const dimensions = parseDimensions(fields, encoder, context);
  fields.raw("user");
  const inputs = parseInputs(fields.raw("input"));
  unknownFields(fields.unread());
  const { vectors, tokens } =
    encoder === null
      ? await embedByModel(inputs, model.name, context, gone)
      : await encoder.encode(inputs);
  return {
    object: "list",
    data: vectors.map((vector, index) => ({
      object: "embedding",
      index,
      embedding: shown(vector, dimensions, format),
    })),
    model: model.name,
    usage: { prompt_tokens: tokens, total_tokens: tokens },
  };
}

/** How many numbers of each vector are wanted: its first ones. */
function parseDimensions(
  fields: Fields,
  encoder: SentenceEncoder | null,
  context: ApiContext,
): number {
  const width = encoder?.width ?? context.width;
  const dimensions = fields.integer("dimensions", { min: 1, max: width }) ?? width;
  const trained = encoder?.dimensions ?? [];
  if (dimensions === width || trained.length === 0 || trained.includes(dimensions)) {
    return dimensions;
  }
  throw invalid("dimensions", `one of ${[...trained, width].join(", ")}`, dimensions);
}

function shown(vector: Float32Array, dimensions: number, format: "float" | "base64") {
  const wanted = dimensions === vector.length ? vector : normalized(vector.slice(0, dimensions));
  return format === "base64" ? base64(wanted) : [...wanted];
}

async function adapterLoaded({ model }: JsonObject, context: ApiContext): Promise<void> {
  const load = typeof model === "string" ? context.adapters.loading(model) : undefined;
  if (load !== undefined) await loadingEnded(load, context.adapterWaitMs);
}

async function embedByModel(
  inputs: readonly Input[],
  name: string,
  context: ApiContext,
  gone: AbortSignal,
): Promise<Embedded> {
  const { tokenizer, noTokenizerReason } = context;
  if (tokenizer === null && inputs.some((input) => typeof input === "string")) {
    throw unsupported("input", `: text, since ${noTokenizerReason}; send token ids`);
  }
  const estimate = inputs.reduce(
    (sum, input) => sum + (typeof input === "string" ? estimateTokens(input) : input.length),
    0,
  );
  const room = context.generator.reserve(1, estimate);
  try {
    const prompts = await Promise.all(
      inputs.map(async (input, i) => {
        const ids =
          typeof input === "string"
            ? await encodeText(input, "input", context, { addSpecialTokens: true })
            : checkIds(input, inputs.length === 1 ? "input" : `input[${i}]`, context.vocab);
        if (ids.length === 0) throw emptyInput();
        completionBudget(ids.length, 0, 0, context, "input");
        return ids;
      }),
    );
    const { adapter } = findModel(name, context); // it may have been replaced meanwhile
    const vectors = await poolPrompts(prompts, adapter, context.generator, gone);
    const tokens = prompts.reduce((sum, ids) => sum + ids.length, 0);
    return { vectors: vectors.map(normalized), tokens };
  } finally {
    room.release();
  }
}

/** A string, an array of strings, an array of token ids or an array of arrays of token ids. */
function parseInputs(value: unknown): Input[] {
  if (value === "" || (Array.isArray(value) && value.length === 0)) throw emptyInput();
  if (typeof value === "string") return [value];
  if (isIds(value)) return [value];
  if (!Array.isArray(value) || !value.every((item) => typeof item === "string" || isIds(item))) {
    throw invalid(
      "input",
      "a string, an array of strings, an array of token ids or an array of such arrays",
      value,
    );
  }
  if (value.length > MAX_INPUTS) {
    throw invalid("input", `an array of at most ${MAX_INPUTS} inputs`, value.length);
  }
  if (value.some((item) => item.length === 0)) throw emptyInput();
  return value;
}

function isIds(value: unknown): value is number[] {
  return (
    Array.isArray(value) &&
    value.every((id: unknown) => Number.isSafeInteger(id) && Number(id) >= 0)
  );
}

function checkIds(ids: readonly number[], param: string, vocab: number): readonly number[] {
  const wrong = ids.findIndex((id) => id >= vocab);
  if (wrong === -1) return ids;
  throw invalid(`${param}[${wrong}]`, `a token id from 0 to ${vocab - 1}`, ids[wrong]);
}

function emptyInput(): ApiError {
  const message = "input is empty: every input must hold at least one token.";
  return new ApiError("invalid_parameter", { message, param: "input" });
}

function normalized(vector: Float32Array): Float32Array {
  const length = Math.sqrt(vector.reduce((sum, value) => sum + value * value, 0));
  return length === 0 ? vector : vector.map((value) => value / length);
}

/** float32 in little-endian order, as OpenAI's clients decode it. */
function base64(vector: Float32Array): string {
  return Buffer.from(vector.buffer, vector.byteOffset, vector.byteLength).toString("base64");
}
