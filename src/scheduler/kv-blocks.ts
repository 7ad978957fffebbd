import { PAGE_TOKENS } from "../engine/native.js";

/** A page of the KV cache: PAGE_TOKENS positions of one sequence, or of several that share a prefix. */
export type BlockId = number & { readonly brand: "BlockId" };

/** A prefix whose pages were computed: a mix of adapters (its key) or a cached page (a number, never reused). */
export type PrefixId = (number | string) & { readonly brand: "PrefixId" };

/** The cached pages that some tokens begin with, as they were last found; only KvBlocks changes it. */
export interface CachedPrefix {
  readonly blocks: BlockId[];
  /** What the tokens up to the end of each page are called. */
  readonly prefixes: PrefixId[];
  /** What the page after them would be cached as; null: no more were looked for. */
  next: string | null;
}

/**
 * What a prefix of no tokens is called: keys and values depend on the adapters from the first token.
 * `mix` is of mix.ts, which no number reads like.
 */
export function emptyPrefix(mix: string): PrefixId {
  return mix as PrefixId;
}

/**
 * Who uses which page. A page is referenced by sequences, or idle (unreferenced, its content still
 * good for reuse), or blank. Cached pages are found by (prefix before the page, its tokens): exact,
 * because a prefix id names one sequence of tokens for good. Pages that can be shared are full,
 * so nobody ever writes to a shared page.
 */
export class KvBlocks {
  readonly count: number;
  readonly #references: Int32Array;
  readonly #prefix: Float64Array; // what the cached page's content is called
  readonly #key: (string | undefined)[];
  readonly #cached = new Map<string, BlockId>();
  readonly #idle = new Set<BlockId>(); // least recently used first
  readonly #blank: BlockId[];
  #nextPrefix = 1;

  constructor(count: number) {
    this.count = count;
    this.#references = new Int32Array(count);
    this.#prefix = new Float64Array(count);
    this.#key = new Array<string | undefined>(count).fill(undefined);
    this.#blank = Array.from({ length: count }, (_, index) => (count - 1 - index) as BlockId);
  }

  /** Pages that `allocate` can give. */
  get free(): number {
    return this.#blank.length + this.#idle.size;
  }

  /**
   * Makes `found` the longest cached prefix of `tokens` behind `root` in full pages, at most `limit` of
   * them. What it was before is of the same root and tokens, which may have become more: what still holds of
   * it is kept, and the search goes on from there. Takes no reference. Returns the number of pages it added.
   */
  find(root: PrefixId, tokens: readonly number[], limit: number, found: CachedPrefix): number {
    const { blocks, prefixes } = found;
    const lost = blocks.findIndex((block, page) => {
      const holds = this.#key[block] !== undefined && this.#prefix[block] === prefixes[page];
      return !holds || page >= limit;
    });
    if (lost >= 0) {
      blocks.length = lost;
      prefixes.length = lost;
      found.next = null;
    }
    const kept = blocks.length;
    while (blocks.length < limit) {
      found.next ??= pageKey(prefixes.at(-1) ?? root, tokens, blocks.length * PAGE_TOKENS);
      const block = this.#cached.get(found.next);
      if (block === undefined) return blocks.length - kept;
      blocks.push(block);
      prefixes.push(this.#prefix[block] as PrefixId);
      found.next = null;
    }
    found.next = null;
    return limit - kept;
  }

  /** How many of these pages nobody references: retaining them lowers `free` by as much. */
  idleAmong(blocks: readonly BlockId[]): number {
    return blocks.reduce((sum, block) => sum + (this.#idle.has(block) ? 1 : 0), 0);
  }

  retain(block: BlockId): void {
    if (this.#references[block] === 0) this.#idle.delete(block);
    this.#references[block]! += 1;
  }

  /** A page with one reference and no content; the least recently used idle one when none is blank. */
  allocate(): BlockId | undefined {
    const block = this.#blank.pop() ?? this.#evict();
    if (block !== undefined) this.#references[block] = 1;
    return block;
  }

  /** Gives references back, last page first: the end of a prefix is evicted before its beginning. */
  release(blocks: readonly BlockId[]): void {
    for (let index = blocks.length - 1; index >= 0; index--) {
      const block = blocks[index]!;
      if (this.#references[block]! <= 0) throw new Error(`page ${block} was released twice`);
      this.#references[block]! -= 1;
      if (this.#references[block] !== 0) continue;
      if (this.#key[block] === undefined) this.#blank.push(block);
      else this.#idle.add(block);
    }
  }

  /**
   * Offers a full, computed page for reuse and returns the name of the prefix that ends with it. When
   * another page holds the same content already, that one stays the cached one.
   */
  publish(block: BlockId, before: PrefixId, tokens: readonly number[], start: number): PrefixId {
    const key = pageKey(before, tokens, start);
    const same = this.#cached.get(key);
    if (same !== undefined) return this.#prefix[same] as PrefixId;
    this.#cached.set(key, block);
    this.#key[block] = key;
    this.#prefix[block] = this.#nextPrefix++;
    return this.#prefix[block] as PrefixId;
  }

  /** Throws unless every page is in exactly one state and `held` lists exactly the references. */
  check(held: Iterable<BlockId>): void {
    const expected = new Int32Array(this.count);
    for (const block of held) expected[block]! += 1;
    const blank = new Set(this.#blank);
    if (blank.size !== this.#blank.length) throw new Error("a page is blank twice");
    for (let block = 0 as BlockId; block < this.count; block++) {
      if (expected[block] !== this.#references[block]) {
        throw new Error(
          `page ${block}: ${this.#references[block]} references, ${expected[block]} held`,
        );
      }
      const states = Number(blank.has(block)) + Number(this.#idle.has(block));
      if (states !== (this.#references[block] === 0 ? 1 : 0)) {
        throw new Error(`page ${block} is free and in use, or neither`);
      }
    }
  }

  #evict(): BlockId | undefined {
    const oldest = this.#idle.values().next();
    if (oldest.done) return undefined;
    const block = oldest.value;
    this.#idle.delete(block);
    this.#cached.delete(this.#key[block]!);
    this.#key[block] = undefined;
    return block;
  }
}

const pageTokens = new Int32Array(PAGE_TOKENS);
const pageBytes = Buffer.from(pageTokens.buffer);

/** What a page is cached as: the prefix before it and its tokens, two characters each. */
export function pageKey(before: PrefixId, tokens: readonly number[], start: number): string {
  for (let index = 0; index < PAGE_TOKENS; index++) pageTokens[index] = tokens[start + index]!;
  return `${before}:${pageBytes.toString("utf16le")}`;
}
