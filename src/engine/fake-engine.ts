import { type Ban, type Mix, type MixedAdapter, mixKey } from "../scheduler/mix.js";
import {
  type EngineInfo,
  MAX_ADAPTERS,
  MAX_TOP_LOGPROBS,
  type NativeAdapterInfo,
  type NativeAdapterPlace,
  type NativeEngine,
  PAGE_TOKENS,
  SequenceFlag,
  SequenceStatus,
  STATS,
  type StepArrays,
} from "./native.js";

/** What one cached position holds: enough to tell whether it is the right one. */
interface Cell {
  readonly position: number;
  readonly mix: string; // its key
  readonly digest: number; // of the mix and all tokens up to here
}

interface Slot {
  lastSampled: number | null;
  history: number[];
}

const END_OF_TEXT = 0;
/** One sampled token in so many is the end of text. */
const END_ONE_IN = 23;

export function digestOf(adapters: Mix, tokens: readonly number[]): number {
  return tokens.reduce(mix, Buffer.from(mixKey(adapters)).reduce(mix, 0x811c9dc5));
}

/** The one pair of routing that the fake model tells of a row in a layer. */
export function routeOf(digest: number, layer: number): readonly [expert: number, score: number] {
  return [mix(digest, layer) % 4, Math.fround(1 / (1 + layer))];
}

/** The token that the fake model samples after a prefix; penalties make it depend on the history. */
export function sampleAfter(
  digest: number,
  seed: number,
  sampleIndex: number,
  history: readonly number[] | null,
  vocab: number,
): number {
  let state = mix(mix(digest, seed), sampleIndex);
  if (history !== null) state = history.reduce(mix, state);
  return state % END_ONE_IN === 0 ? END_OF_TEXT : 1 + (state % (vocab - 1));
}

/** The wanted token, or the next that a mask allows. */
export function allowedToken(mask: Uint32Array, wanted: number, vocab: number): number {
  expect(
    mask.some((word) => word !== 0),
    "a mask allows something",
  );
  let token = wanted;
  while (((mask[token >> 5]! >>> (token & 31)) & 1) === 0) token = (token + 1) % vocab;
  return token;
}

function mix(state: number, value: number): number {
  let mixed = Math.imul(state ^ value, 0x9e3779b1);
  mixed ^= mixed >>> 15;
  return Math.imul(mixed, 0x85ebca6b) >>> 0;
}

/**
 * A model in memory whose KV cells remember what was written into them. `run` computes a step and
 * throws where its arrays break a rule of addon/engine/step.h, or read a cell that holds another
 * sequence's position. For tests.
 */
export class FakeModel {
  readonly #vocab: number;
  readonly #cells = new Map<number, Cell>(); // page * PAGE_TOKENS + offset
  readonly #slots = new Map<number, Slot>();

  constructor(vocab: number) {
    this.#vocab = vocab;
  }

  run(arrays: StepArrays): void {
    const [rows, sequences] = [arrays.counts[0]!, arrays.counts[1]!];
    this.#checkShape(arrays, rows, sequences);
    this.#checkPages(arrays, sequences);
    for (let index = 0; index < sequences; index++) this.#runSequence(arrays, index);
  }

  #checkShape(arrays: StepArrays, rows: number, sequences: number): void {
    expect(rows > 0 && rows <= arrays.tokens.length, "rows of the step");
    expect(sequences > 0 && sequences <= arrays.slot.length, "sequences of the step");
    expect(arrays.rowStart[0] === 0 && arrays.rowStart[sequences] === rows, "row_start");
    expect(arrays.blockStart[sequences]! <= arrays.blocks.length, "blocks fit");
    expect(arrays.historyStart[sequences]! <= arrays.history.length, "history fits");
    expect(arrays.biasStart[sequences]! <= arrays.biasToken.length, "biases fit");
    expect(new Set(arrays.slot.subarray(0, sequences)).size === sequences, "slots are unique");
  }

  /** A page that one sequence writes is in no other sequence's table. */
  #checkPages(arrays: StepArrays, sequences: number): void {
    const users = new Map<number, number>();
    const written = new Set<number>();
    for (let index = 0; index < sequences; index++) {
      const table = this.#table(arrays, index);
      expect(new Set(table).size === table.length, "a page is twice in one table");
      for (const page of table) users.set(page, (users.get(page) ?? 0) + 1);
      const firstWritten = Math.floor(arrays.context[index]! / PAGE_TOKENS);
      for (const page of table.slice(firstWritten)) written.add(page);
    }
    for (const page of written) expect(users.get(page) === 1, `page ${page} is written and shared`);
  }

  #table(arrays: StepArrays, index: number): Int32Array {
    return arrays.blocks.slice(arrays.blockStart[index], arrays.blockStart[index + 1]);
  }

  #runSequence(arrays: StepArrays, index: number): void {
    const flags = arrays.flags[index]!;
    const adapters = readMix(arrays, index);
    const key = mixKey(adapters);
    const [first, end] = [arrays.rowStart[index]!, arrays.rowStart[index + 1]!];
    const context = arrays.context[index]!;
    const table = this.#table(arrays, index);
    expect(end > first, "a sequence has rows");
    expect(
      table.length === Math.ceil((context + end - first) / PAGE_TOKENS),
      "pages of a sequence",
    );
    const slot = this.#slot(arrays, index);

    let digest = digestOf(adapters, []);
    for (let position = 0; position < context; position++) {
      const cell = this.#cells.get(cellAt(table, position));
      expect(cell?.position === position && cell.mix === key, "context is contiguous");
      digest = cell!.digest;
    }
    for (let row = first; row < end; row++) {
      const position = context + row - first;
      let token = arrays.tokens[row]!;
      if (flags & SequenceFlag.tokenFromSlot) {
        expect(end - first === 1 && slot.lastSampled !== null, "token from slot");
        token = slot.lastSampled!;
      }
      digest = mix(digest, token);
      this.#cells.set(cellAt(table, position), { position, mix: key, digest });
      arrays.rowLogprob[row] = -(mix(digest, arrays.nextTokens[row]!) % 1000) / 100;
      fillTop(arrays.rowTopTokens, arrays.rowTopLogprobs, row, digest);
    }
    if (flags & SequenceFlag.pool) {
      expect(context === 0 || !(flags & SequenceFlag.restoreHistory), "pooling begins at 0");
      arrays.pooled[index] = Math.fround(digest);
    }
    arrays.status[index] = 0;
    if (flags & SequenceFlag.sample) this.#sample(arrays, index, slot, digest);
  }

  #slot(arrays: StepArrays, index: number): Slot {
    const number = arrays.slot[index]!;
    if (arrays.flags[index]! & SequenceFlag.restoreHistory) {
      const [from, to] = [arrays.historyStart[index], arrays.historyStart[index + 1]];
      this.#slots.set(number, { lastSampled: null, history: [...arrays.history.slice(from, to)] });
    }
    const slot = this.#slots.get(number);
    expect(slot !== undefined, "a slot is restored before it is used");
    return slot!;
  }

  #sample(arrays: StepArrays, index: number, slot: Slot, digest: number): void {
    const history = arrays.flags[index]! & SequenceFlag.penalties ? slot.history : null;
    const seed = arrays.seed[2 * index]!;
    const wanted = sampleAfter(digest, seed, arrays.sampleIndex[index]!, history, this.#vocab);
    const masked = arrays.flags[index]! & SequenceFlag.mask;
    const token = masked ? this.#allowed(arrays, index, wanted) : wanted;
    slot.lastSampled = token;
    slot.history.push(token);
    arrays.sampled[index] = token;
    arrays.sampledLogprob[index] = -(mix(digest, token) % 1000) / 100;
    if (arrays.flags[index]! & SequenceFlag.routes) fillRoutes(arrays, index, digest);
    fillTop(arrays.topTokens, arrays.topLogprobValues, index, digest);
  }

  #allowed(arrays: StepArrays, index: number, wanted: number): number {
    const words = arrays.mask.length / arrays.slot.length;
    const mask = arrays.mask.subarray(index * words, (index + 1) * words);
    return allowedToken(mask, wanted, this.#vocab);
  }
}

/** The adapters of sequence `index`, as the arrays say it. */
function readMix(arrays: StepArrays, index: number): Mix {
  const adapters: MixedAdapter[] = [];
  for (let at = arrays.adapterStart[index]!; at < arrays.adapterStart[index + 1]!; at++) {
    const bans: Ban[] = [];
    for (let ban = arrays.banStart[at]!; ban < arrays.banStart[at + 1]!; ban++) {
      bans.push({ level: arrays.banLevel[ban]!, expert: arrays.banExpert[ban]! });
    }
    const handle = arrays.adapter[at]!;
    expect(handle > 0 && !adapters.some((it) => it.handle === handle), "handles, each once");
    const [scale, temperature] = [arrays.adapterScale[at]!, arrays.routerTemperature[at]!];
    adapters.push({ handle, scale, temperature, bans });
  }
  expect(adapters.length <= MAX_ADAPTERS, "adapters of a sequence");
  return adapters;
}

/** One pair for each layer that is asked for. */
function fillRoutes(arrays: StepArrays, index: number, digest: number): void {
  const words = arrays.routeLayers.length / arrays.slot.length;
  let at = arrays.routeStart[index]!;
  for (let layer = 0; layer < words * 32; layer++) {
    const word = arrays.routeLayers[index * words + (layer >> 5)]!;
    if (((word >>> (layer & 31)) & 1) === 0) continue;
    const [expert, score] = routeOf(digest, layer);
    arrays.routeExpert[at] = expert;
    arrays.routeScore[at++] = score;
  }
  expect(at === arrays.routeStart[index + 1], "room for routes");
}

function cellAt(table: Int32Array, position: number): number {
  return table[Math.floor(position / PAGE_TOKENS)]! * PAGE_TOKENS + (position % PAGE_TOKENS);
}

function fillTop(tokens: Int32Array, logprobs: Float32Array, index: number, digest: number): void {
  for (let rank = 0; rank < MAX_TOP_LOGPROBS; rank++) {
    tokens[index * MAX_TOP_LOGPROBS + rank] = mix(digest, rank) % 100;
    logprobs[index * MAX_TOP_LOGPROBS + rank] = -rank;
  }
}

function expect(condition: boolean, what: string): void {
  if (!condition) throw new Error(`step breaks a rule: ${what}`);
}

/** A tree of one level of four experts, two of them chosen, on one linear. */
export function fakeAdapterInfo(handle: number): NativeAdapterInfo {
  const sizes = { parameters: 1, bytes: 1, trunkBytes: 0, sites: 1, pages: 1, levels: 1 };
  const tree = [{ experts: 4, active: 2 }];
  return { handle, kind: "fake", ...sizes, tree, linears: [{ layer: 0, name: "up_proj" }] };
}

export interface FakeEngineOptions {
  readonly maxBatch?: number;
  readonly maxBatchTokens?: number;
  readonly kvPages?: number;
  readonly vocab?: number;
  /** Adapters that can be pinned at once. */
  readonly maxPinned?: number;
  /** What a load waits for. */
  readonly loads?: Promise<void>;
  /** Steps (counted from 0) that fail. */
  readonly failingSteps?: ReadonlySet<number>;
  /** The `code` of their errors. */
  readonly failureCode?: string;
  /** Why pages of an adapter cannot be read. */
  readonly faults?: ReadonlyMap<number, string>;
}

/** The border without the addon: steps run in order, one event-loop turn each. For tests. */
export class FakeEngine implements NativeEngine {
  readonly info: EngineInfo;
  readonly pins = new Map<number, number>();
  steps = 0;
  rows = 0;
  readonly #model: FakeModel;
  readonly #batches: StepArrays[] = [];
  readonly #options: FakeEngineOptions;
  #queue: Promise<void> = Promise.resolve();
  #queued = 0;
  #adapters = 0;

  constructor(options: FakeEngineOptions = {}) {
    const { maxBatch = 8, maxBatchTokens = 64, kvPages = 64, vocab = 100 } = options;
    this.#options = options;
    this.#model = new FakeModel(vocab);
    this.info = {
      family: "fake",
      layers: 1,
      width: 1,
      vocab,
      maxModelLen: kvPages * PAGE_TOKENS,
      stopTokens: [END_OF_TEXT],
      device: "cpu",
      kernelPath: "fake",
      threads: 1,
      kvPages,
      pageBytes: PAGE_TOKENS,
      parameters: 1,
      weightBytes: 1,
      limits: {
        rows: maxBatchTokens,
        sequences: maxBatch,
        blocks: maxBatch * kvPages,
        history: kvPages * PAGE_TOKENS,
        biases: maxBatch * 300,
        bans: maxBatch * 16,
        routes: maxBatch * 8,
        width: 1,
        maskWords: Math.ceil(vocab / 32),
        layerWords: 1,
      },
      slots: 2 * maxBatch,
    };
  }

  createBatch(arrays: StepArrays): number {
    expect(this.#batches.length < 2, "two batches at most");
    return this.#batches.push(arrays) - 1;
  }

  step(batch: number): Promise<number> {
    expect(++this.#queued <= 2, "one step in flight and one queued");
    const number = this.steps++;
    const done = this.#queue.then(async () => {
      await new Promise(setImmediate);
      this.#queued -= 1;
      if (this.#options.failingSteps?.has(number)) {
        const code = this.#options.failureCode;
        throw Object.assign(new Error(`step ${number} fails`), { code });
      }
      const arrays = this.#batches[batch]!;
      this.rows += arrays.counts[0]!;
      this.#model.run(arrays);
      for (let i = 0; i < arrays.counts[1]!; i++) {
        const own = arrays.adapter.subarray(arrays.adapterStart[i], arrays.adapterStart[i + 1]);
        const failed = own.some((handle) => this.#faultOf(handle) !== "");
        if (failed) arrays.status[i] = SequenceStatus.adapterFailed;
      }
      return Number(process.hrtime.bigint()) / 1e6;
    });
    this.#queue = done.then(
      () => {},
      () => {},
    );
    return done;
  }

  async loadAdapter(folder: string): Promise<NativeAdapterInfo> {
    await new Promise(setImmediate);
    if (folder === "broken") throw new Error("broken: no adapter_config.json");
    const handle = ++this.#adapters;
    return fakeAdapterInfo(handle);
  }

  async acquireAdapter(handle: number): Promise<boolean> {
    await new Promise(setImmediate);
    if (handle < 1 || handle > this.#adapters) throw new Error(`no adapter ${handle}`);
    const full = this.pins.size >= (this.#options.maxPinned ?? 8);
    if (full && !this.pins.has(handle)) return false;
    await this.#options.loads;
    const pins = this.pins.get(handle) ?? 0;
    this.pins.set(handle, pins + 1);
    return true;
  }

  releaseAdapter(handle: number): void {
    const pins = this.pins.get(handle) ?? 0;
    expect(pins > 0, `adapter ${handle} was released without a pin`);
    if (pins === 1) this.pins.delete(handle);
    else this.pins.set(handle, pins - 1);
  }

  unloadAdapter(_handle: number): void {}

  adapterPlace(handle: number): NativeAdapterPlace {
    const fault = this.#faultOf(handle);
    return { resident: this.pins.has(handle), residentBytes: 1, hits: 0, misses: 0, fault };
  }

  #faultOf(adapter: number): string {
    return this.#options.faults?.get(adapter) ?? "";
  }

  stats(target: Float64Array): void {
    target.fill(0);
    target[STATS.indexOf("steps")] = this.steps;
    target[STATS.indexOf("rows")] = this.rows;
    target[STATS.indexOf("basePasses")] = this.steps;
  }

  profile(target: Float64Array): void {
    target.fill(0);
  }

  routing(_handle: number): number[][] {
    return [[0]];
  }

  routingByLinear(_handle: number): number[][][] {
    return [[[0]]];
  }

  async close(): Promise<void> {
    await this.#queue;
  }
}
