import { PAGE_TOKENS, type StepLimits } from "../engine/native.js";
import { ApiError } from "../errors.js";
import { type KvBlocks, pageKey } from "./kv-blocks.js";
import type { GenerateRequest } from "./request.js";
import { hasPenalties, mostPositions, pagesFor, type Sequence } from "./sequence.js";

/** The room that sequences need: whether there can ever be enough, and the KV pages they start with. */

/** Throws ApiError for a request that could never finish. `pages`: of the whole cache. */
export function refuseImpossible(
  request: GenerateRequest,
  limits: StepLimits,
  pages: number,
): void {
  const needed = pagesFor(mostPositions(request));
  const most = Math.min(pages, limits.blocks);
  if (needed > most) {
    const message = `The request needs ${needed} KV pages of ${PAGE_TOKENS} tokens at its longest; this server has ${most}. Shorten the prompt or max_tokens.`;
    throw new ApiError("context_length_exceeded", { message });
  }
  if (request.sampling.logitBias.size > limits.biases) {
    const message = `logit_bias may name at most ${limits.biases} tokens.`;
    throw new ApiError("invalid_parameter", { message, param: "logit_bias" });
  }
  const bans = request.mix.reduce((sum, { bans }) => sum + bans.length, 0);
  const mostBans = Math.floor(limits.bans / limits.sequences);
  if (bans > mostBans) {
    const message = `router may keep at most ${mostBans} experts from taking part, not ${bans}.`;
    throw new ApiError("invalid_parameter", { message, param: "router" });
  }
  const pairs = request.routes?.pairs ?? 0;
  if (pairs > limits.routes) {
    const message = `return_routing asks for ${pairs} experts per token; at most ${limits.routes} are told. Choose fewer layers.`;
    throw new ApiError("invalid_parameter", { message, param: "return_routing" });
  }
  const history = hasPenalties(request) ? request.prompt.length + request.maxTokens : 0;
  if (history > limits.history) {
    const message = `With penalties, prompt and max_tokens together may be at most ${limits.history} tokens.`;
    throw new ApiError("context_length_exceeded", { message });
  }
}

/** Finds the longest part of a waiting sequence that others have computed; how many pages it did not know of. */
export function findPrefix(kv: KvBlocks, sequence: Sequence): number {
  return kv.find(sequence.root, sequence.tokens, reusablePages(sequence), sequence.cached);
}

/** Gives a waiting sequence pages for all its tokens; false when fewer than `margin` would be left. */
export function takePages(kv: KvBlocks, sequence: Sequence, margin: number): boolean {
  const { cached } = sequence;
  const needed = pagesFor(sequence.length) - cached.blocks.length;
  if (needed + margin > kv.free - kv.idleAmong(cached.blocks)) return false;
  for (const block of cached.blocks) kv.retain(block);
  sequence.blocks = [...cached.blocks];
  for (let page = 0; page < needed; page++) sequence.blocks.push(kv.allocate()!);
  sequence.planned = cached.blocks.length * PAGE_TOKENS;
  sequence.computed = sequence.planned;
  sequence.published = cached.blocks.length;
  sequence.prefix = cached.prefixes.at(-1) ?? sequence.root;
  sequence.cachedTokens ??= sequence.planned;
  return true;
}

/** Offers the pages that are now full and computed for reuse by others. */
export function publishPages(kv: KvBlocks, sequence: Sequence): void {
  while ((sequence.published + 1) * PAGE_TOKENS <= sequence.computed) {
    const page = sequence.published;
    const block = sequence.blocks[page]!;
    sequence.prefix = kv.publish(block, sequence.prefix, sequence.tokens, page * PAGE_TOKENS);
    sequence.published += 1;
  }
}

/** What the next page that a running sequence publishes will be cached as; null: it is not known yet. */
export function nextPage({ prefix, tokens, published }: Sequence): string | null {
  const start = published * PAGE_TOKENS;
  return start + PAGE_TOKENS <= tokens.length ? pageKey(prefix, tokens, start) : null;
}

/** Whether the page after a waiting sequence's cached prefix is among those that running ones compute. */
export function lacksPageIn(inWork: ReadonlySet<string | null>, { cached }: Sequence): boolean {
  return cached.next !== null && inWork.has(cached.next);
}

/** At least one token is always computed: its logits are what is asked for. */
function reusablePages({ tokens, promptLogprobs, request }: Sequence): number {
  return promptLogprobs === null && !request.pooled ? pagesFor(tokens.length) - 1 : 0;
}
