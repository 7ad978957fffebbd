/** JSON.stringify in steps, for answers that would hold the event loop. */

const ITEMS_PER_STEP = 512;
const CHARACTERS_PER_STEP = 16 << 10;

/** A list of which each item is made, as JSON text, when it is written. */
export class LazyList {
  readonly length: number;
  readonly json: (index: number) => string;

  constructor(length: number, json: (index: number) => string) {
    this.length = length;
    this.json = json;
  }

  /** For JSON.stringify, where a short value is written at once. */
  toJSON(): unknown[] {
    return Array.from({ length: this.length }, (_, index) => JSON.parse(this.json(index)));
  }
}

/** A list whose items are plain and small. */
export function lazyList<Item>(
  items: readonly Item[],
  shown: (item: Item, index: number) => unknown,
): LazyList {
  return new LazyList(items.length, (index) => JSON.stringify(shown(items[index]!, index)));
}

/** All at once, of what is known to be short. */
export function jsonOf(value: unknown): string {
  return [...jsonPieces(value)].join("");
}

/** The whole text, in steps. */
export function* jsonText(value: unknown): Generator<void, string> {
  let text = "";
  for (const piece of jsonPieces(value)) {
    text += piece;
    yield;
  }
  return text;
}

/** The text in pieces, each a step of work. `value` is plain but for the lazy lists in it. */
export function* jsonPieces(value: unknown): Generator<string, void> {
  if (value instanceof LazyList) yield* listPieces(value);
  else if (Array.isArray(value)) yield* arrayPieces(value);
  else if (typeof value === "object" && value !== null) yield* objectPieces(value);
  else if (typeof value === "string") yield* textPieces(value);
  else yield JSON.stringify(value ?? null);
}

function* listPieces({ length, json }: LazyList): Generator<string, void> {
  if (length === 0) yield "[]";
  for (let i = 0; i < length; i++) {
    yield `${i === 0 ? "[" : ","}${json(i)}${i === length - 1 ? "]" : ""}`;
  }
}

function* arrayPieces(items: readonly unknown[]): Generator<string, void> {
  if (typeof items[0] === "number") {
    for (let i = 0; i < items.length; i += ITEMS_PER_STEP) {
      const text = JSON.stringify(items.slice(i, i + ITEMS_PER_STEP)).slice(1, -1);
      yield i === 0 ? `[${text}` : `,${text}`;
    }
    yield "]";
    return;
  }
  yield "[";
  for (const [i, item] of items.entries()) {
    if (i > 0) yield ",";
    yield* jsonPieces(item);
  }
  yield "]";
}

function* objectPieces(members: object): Generator<string, void> {
  let separator = "{";
  for (const key of Object.keys(members)) {
    const value = (members as Record<string, unknown>)[key];
    if (value === undefined) continue;
    yield `${separator}${JSON.stringify(key)}:`;
    yield* jsonPieces(value);
    separator = ",";
  }
  yield separator === "{" ? "{}" : "}";
}

function* textPieces(text: string): Generator<string, void> {
  let from = 0;
  while (text.length - from > CHARACTERS_PER_STEP) {
    let end = from + CHARACTERS_PER_STEP;
    if (/[\ud800-\udbff]/.test(text[end - 1]!)) end += 1; // its other half belongs to it
    yield (from === 0 ? '"' : "") + JSON.stringify(text.slice(from, end)).slice(1, -1);
    from = end;
  }
  const last = JSON.stringify(text.slice(from));
  yield from === 0 ? last : last.slice(1);
}
