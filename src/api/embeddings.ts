import type { SentenceEncoder } from "../encoders/encoder.js";
import { ApiError } from "../errors.js";
import { lazyList } from "../json/write.js";
import { spread } from "../turns.js";
import type { ApiContext } from "./context.js";
import { checkIds, encodeText } from "./encode-text.js";
import { estimateTokens } from "./job.js";
import { findModel, loadingEnded } from "./models.js";
import { completionBudget, parseModel } from "./parameters.js";
import { normalized, poolPrompts } from "./pooled.js";
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
      : await embedByEncoder(inputs, encoder, gone);
  return {
    object: "list",
    data: lazyList(vectors, (vector, index) => ({
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

async function embedByEncoder(
  inputs: readonly Input[],
  encoder: SentenceEncoder,
  gone: AbortSignal,
): Promise<Embedded> {
  for (const [i, input] of inputs.entries()) {
    if (typeof input === "string") continue;
    await spread(checkIds(input, inputParam(inputs, i), encoder.vocab));
  }
  return encoder.encode(inputs, { gone });
}

function inputParam(inputs: readonly Input[], i: number): string {
  return inputs.length === 1 ? "input" : `input[${i}]`;
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
        const text = typeof input === "string";
        const ids = text
          ? await encodeText(input, "input", context, { addSpecialTokens: true })
          : input;
        if (ids.length === 0) throw emptyInput();
        completionBudget(ids.length, 0, 0, context, "input");
        if (!text) await spread(checkIds(ids, inputParam(inputs, i), context.vocab));
        return ids;
      }),
    );
    const { adapter } = findModel(name, context); // it may have been replaced meanwhile
    const vectors = await poolPrompts(prompts, adapter, context.generator, gone);
    const tokens = prompts.reduce((sum, ids) => sum + ids.length, 0);
    return { vectors, tokens };
  } finally {
    room.release();
  }
}

/** A string, an array of strings, an array of token ids or an array of arrays of token ids. */
function parseInputs(value: unknown): Input[] {
  if (value === "" || (Array.isArray(value) && value.length === 0)) throw emptyInput();
  if (typeof value === "string") return [value];
  if (!Array.isArray(value)) throw wrongInput(value);
  if (typeof value[0] === "number") return [value];
  if (!value.every((item) => typeof item === "string" || Array.isArray(item))) {
    throw wrongInput(value);
  }
  if (value.length > MAX_INPUTS) {
    throw invalid("input", `an array of at most ${MAX_INPUTS} inputs`, value.length);
  }
  if (value.some((item) => item.length === 0)) throw emptyInput();
  return value;
}

function wrongInput(value: unknown): ApiError {
  const wanted = "a string, an array of strings, an array of token ids or an array of such arrays";
  return invalid("input", wanted, value);
}

function emptyInput(): ApiError {
  const message = "input is empty: every input must hold at least one token.";
  return new ApiError("invalid_parameter", { message, param: "input" });
}

/** float32 in little-endian order, as OpenAI's clients decode it. */
function base64(vector: Float32Array): string {
  return Buffer.from(vector.buffer, vector.byteOffset, vector.byteLength).toString("base64");
}
