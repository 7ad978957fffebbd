import { parentPort, workerData } from "node:worker_threads";
import { Tokenizer } from "tokenizers";
import { ModelError } from "../models/model-error.js";
import { readTextFile } from "../models/regular-file.js";
import { type BatchLimits, batchesOf } from "./batches.js";
import type {
  EncodeOrder,
  EncoderAnswer,
  EncoderInput,
  EncoderSettings,
  Forget,
} from "./messages.js";
import { type EncoderTokens, OnnxModel } from "./onnx-model.js";

/** The encoder's thread: whatever waits when a run ends goes into the next runs together. */

const LIMITS: BatchLimits = { inputs: 32, tokens: 8192 };

const port = parentPort!;
const { files, threads } = workerData as EncoderSettings;

interface TokenizedOrder {
  readonly id: number;
  readonly inputs: readonly EncoderTokens[];
}

function answer(message: EncoderAnswer, transfer: readonly ArrayBuffer[] = []): void {
  port.postMessage(message, transfer);
}

function tokenizer(): Tokenizer {
  const text = readTextFile(files.tokenizer);
  try {
    const native = Tokenizer.fromString(text);
    native.disableTruncation();
    native.disablePadding();
    return native;
  } catch (error) {
    throw new ModelError(`${files.tokenizer} cannot be read: ${(error as Error).message}`);
  }
}

async function tokenize(native: Tokenizer, input: EncoderInput): Promise<EncoderTokens> {
  if (typeof input !== "string") return { ids: input, types: [] };
  const encoding = await native.encode(input, null, { addSpecialTokens: true });
  return { ids: encoding.getIds(), types: encoding.getTypeIds() };
}

/** The end stays: some models want a special token there. */
function shortened({ ids, types }: EncoderTokens, most: number): EncoderTokens {
  if (ids.length <= most) return { ids, types };
  const cut = (list: readonly number[]) => [...list.slice(0, most - 1), ...list.slice(-1)];
  return { ids: cut(ids), types: cut(types) };
}

/** Null when the order was answered with what is wrong. */
async function accept(native: Tokenizer, order: EncodeOrder): Promise<TokenizedOrder | null> {
  try {
    return await checked(native, order);
  } catch (error) {
    fail(order, error as Error);
    return null;
  }
}

function fail({ id }: Pick<EncodeOrder, "id">, error: Error): void {
  const message = `The encoder failed: ${error.message}`;
  answer({ kind: "failed", id, code: "engine_failed", message });
}

/** Null when the order was answered: it has an input that is too long. */
async function checked(native: Tokenizer, order: EncodeOrder): Promise<TokenizedOrder | null> {
  const whole = await Promise.all(order.inputs.map((input) => tokenize(native, input)));
  const inputs = order.cut ? whole.map((tokens) => shortened(tokens, files.maxTokens)) : whole;
  const { id } = order;
  const longest = Math.max(...inputs.map(({ ids }) => ids.length));
  if (longest > files.maxTokens) {
    const message = `This model's maximum context length is ${files.maxTokens} tokens. However, an input has ${longest} tokens. Please shorten it.`;
    answer({ kind: "failed", id, code: "context_length_exceeded", message });
    return null;
  }
  return { id, inputs };
}

/** `forgotten`: ids of orders, which may come while it goes on; what was not computed by then is left out. */
async function encode(
  model: OnnxModel,
  orders: readonly TokenizedOrder[],
  forgotten: ReadonlySet<number>,
): Promise<void> {
  const inputs = orders.flatMap((order) => order.inputs);
  const owners = orders.flatMap(({ id, inputs }) => inputs.map(() => id));
  const vectors: Float32Array[] = [];
  const lengths = inputs.map(({ ids }) => ids.length);
  for (const batch of batchesOf(lengths, LIMITS)) {
    const wanted = batch.filter((index) => !forgotten.has(owners[index]!));
    if (wanted.length === 0) continue;
    const made = await model.run(wanted.map((index) => inputs[index]!));
    for (const [i, index] of wanted.entries()) vectors[index] = made[i]!;
  }
  let first = 0;
  for (const { id, inputs } of orders) {
    const own = vectors.slice(first, first + inputs.length);
    first += inputs.length;
    if (forgotten.has(id)) continue;
    const width = own[0]?.length ?? 0;
    const joined = new Float32Array(own.length * width);
    for (const [i, vector] of own.entries()) joined.set(vector, i * width);
    const tokens = inputs.reduce((sum, { ids }) => sum + ids.length, 0);
    answer({ kind: "encoded", id, vectors: joined, tokens }, [joined.buffer]);
  }
}

async function serve(): Promise<void> {
  const native = tokenizer();
  const model = await OnnxModel.load(files, threads);
  const probe = await model.run([await tokenize(native, "width")]);
  answer({ kind: "ready", width: probe[0]?.length ?? 0, vocab: native.getVocabSize() });
  let waiting: EncodeOrder[] = [];
  let running = false;
  const forgotten = new Set<number>(); // of the orders that are being encoded
  const drain = async () => {
    while (waiting.length > 0) {
      const orders = waiting;
      waiting = [];
      forgotten.clear();
      const accepted = await Promise.all(orders.map((order) => accept(native, order)));
      const tokenized = accepted.filter((order) => order !== null);
      try {
        await encode(model, tokenized, forgotten);
      } catch (error) {
        for (const order of tokenized) fail(order, error as Error);
      }
    }
    running = false;
  };
  port.on("message", (message: EncodeOrder | Forget) => {
    if (message.kind === "forget") {
      waiting = waiting.filter(({ id }) => id !== message.id);
      forgotten.add(message.id);
      return;
    }
    waiting.push(message);
    if (running) return;
    running = true;
    void drain();
  });
}

await serve();
