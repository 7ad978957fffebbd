import { ModelError } from "../models/model-error.js";
import type { GgufMetadata, GgufValue } from "./gguf-metadata.js";
import { mergesFromScores } from "./sentencepiece.js";
import {
  type AddedToken,
  type Component,
  SPACE_MARK,
  type TokenizerJson,
} from "./tokenizer-json.js";

/**
 * Builds the tokenizer.json that gives the ids llama.cpp gives for the same GGUF metadata. Splitting
 * patterns are not in the file, only their name ("pre-type"), so names we do not know are refused.
 */
export function tokenizerJsonFromGguf(metadata: GgufMetadata): TokenizerJson {
  const model = metadata.get("tokenizer.ggml.model");
  if (model === "gpt2") return byteLevelBpe(metadata);
  if (model === "llama") return sentencePieceBpe(metadata);
  throw new ModelError(
    model === undefined
      ? "the GGUF file has no tokenizer (key tokenizer.ggml.model)"
      : `the tokenizer model "${model}" is not supported; gpt2 and llama are`,
  );
}

/** Types of a token in tokenizer.ggml.token_type. */
const TokenType = {
  normal: 1,
  unknown: 2,
  control: 3,
  userDefined: 4,
  unused: 5,
  byte: 6,
} as const;

interface PreType {
  readonly splits: readonly string[];
  readonly ignoreMerges: boolean;
  readonly addBos: boolean;
}

const GPT2_SPLIT =
  "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+";
const CONTRACTIONS =
  "(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+";
const PUNCTUATION_AND_SPACE = " ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+";

const PRE_TYPES: Readonly<Record<string, PreType>> = {
  smollm: { splits: ["\\p{N}", GPT2_SPLIT], ignoreMerges: false, addBos: false },
  "llama-bpe": {
    splits: [`${CONTRACTIONS}|\\p{N}{1,3}|${PUNCTUATION_AND_SPACE}`],
    ignoreMerges: true,
    addBos: true,
  },
  qwen2: {
    splits: [`${CONTRACTIONS}|\\p{N}|${PUNCTUATION_AND_SPACE}`],
    ignoreMerges: false,
    addBos: false,
  },
};

function byteLevelBpe(metadata: GgufMetadata): TokenizerJson {
  const name = metadata.get("tokenizer.ggml.pre") ?? "default";
  const preType = typeof name === "string" ? PRE_TYPES[name] : undefined;
  if (preType === undefined) {
    const known = Object.keys(PRE_TYPES).join(", ");
    throw new ModelError(`the tokenizer pre-type "${name}" is not supported; ${known} are`);
  }
  const tokens = strings(metadata, "tokenizer.ggml.tokens");
  const split = (pattern: string): Component => ({
    type: "Split",
    pattern: { Regex: pattern },
    behavior: "Isolated",
    invert: false,
  });
  const byteLevel = {
    type: "ByteLevel",
    add_prefix_space: false,
    trim_offsets: true,
    use_regex: false,
  };
  return {
    ...common(metadata, tokens, preType.addBos),
    normalizer: null,
    pre_tokenizer: { type: "Sequence", pretokenizers: [...preType.splits.map(split), byteLevel] },
    decoder: byteLevel,
    model: {
      type: "BPE",
      vocab: vocabulary(tokens),
      merges: strings(metadata, "tokenizer.ggml.merges"),
      ignore_merges: preType.ignoreMerges,
      byte_fallback: false,
      fuse_unk: false,
    },
  };
}

function sentencePieceBpe(metadata: GgufMetadata): TokenizerJson {
  const tokens = strings(metadata, "tokenizer.ggml.tokens");
  const scores = numbers(metadata, "tokenizer.ggml.scores", tokens.length);
  const spacePrefix = metadata.get("tokenizer.ggml.add_space_prefix") !== false;
  const mark: Component = { type: "Replace", pattern: { String: " " }, content: SPACE_MARK };
  const unmark: Component = { type: "Replace", pattern: { String: SPACE_MARK }, content: " " };
  const bytes = [unmark, { type: "ByteFallback" }, { type: "Fuse" }];
  const strip = { type: "Strip", content: " ", start: 1, stop: 0 };
  return {
    ...common(metadata, tokens, true),
    normalizer: {
      type: "Sequence",
      normalizers: spacePrefix ? [{ type: "Prepend", prepend: SPACE_MARK }, mark] : [mark],
    },
    pre_tokenizer: null,
    decoder: { type: "Sequence", decoders: spacePrefix ? [...bytes, strip] : bytes },
    model: {
      type: "BPE",
      vocab: vocabulary(tokens),
      merges: mergesFromScores(tokens, scores),
      unk_token: tokens[integer(metadata, "tokenizer.ggml.unknown_token_id") ?? 0] ?? null,
      byte_fallback: true,
      fuse_unk: true,
    },
  };
}

function common(metadata: GgufMetadata, tokens: readonly string[], addBosByDefault: boolean) {
  return {
    version: "1.0",
    truncation: null,
    padding: null,
    added_tokens: addedTokens(metadata, tokens),
    post_processor: beginAndEnd(metadata, tokens, addBosByDefault),
  };
}

/** Tokens that are cut out of the text before anything else: control tokens and the user's own. */
function addedTokens(metadata: GgufMetadata, tokens: readonly string[]): AddedToken[] {
  const types = numbers(metadata, "tokenizer.ggml.token_type", tokens.length);
  return tokens.flatMap((content, id) => {
    const type = types[id];
    const special = type === TokenType.control || type === TokenType.unknown;
    if (content === "" || !(special || type === TokenType.userDefined)) return [];
    const plain = { single_word: false, lstrip: false, rstrip: false, normalized: false };
    return [{ id, content, ...plain, special }];
  });
}

/** What `addSpecialTokens` adds: the begin token before, the end token after, as the file asks. */
function beginAndEnd(
  metadata: GgufMetadata,
  tokens: readonly string[],
  addBosByDefault: boolean,
): Component | null {
  const special = (flag: string, key: string, byDefault: boolean) => {
    const id = integer(metadata, key);
    const add = metadata.get(flag) ?? byDefault;
    const token = add === true && id !== undefined ? tokens[id] : undefined;
    return id === undefined || token === undefined ? [] : [{ id, token }];
  };
  const begin = special(
    "tokenizer.ggml.add_bos_token",
    "tokenizer.ggml.bos_token_id",
    addBosByDefault,
  );
  const end = special("tokenizer.ggml.add_eos_token", "tokenizer.ggml.eos_token_id", false);
  if (begin.length + end.length === 0) return null;
  const piece = ({ token }: { token: string }) => ({ SpecialToken: { id: token, type_id: 0 } });
  const sequence = (id: string) => ({ Sequence: { id, type_id: 0 } });
  return {
    type: "TemplateProcessing",
    single: [...begin.map(piece), sequence("A"), ...end.map(piece)],
    pair: [...begin.map(piece), sequence("A"), sequence("B"), ...end.map(piece)],
    special_tokens: Object.fromEntries(
      [...begin, ...end].map(({ id, token }) => [token, { id: token, ids: [id], tokens: [token] }]),
    ),
  };
}

function vocabulary(tokens: readonly string[]): Record<string, number> {
  const vocab: Record<string, number> = Object.create(null);
  tokens.forEach((token, id) => {
    vocab[token] ??= id;
  });
  return vocab;
}

function integer(metadata: GgufMetadata, key: string): number | undefined {
  const value = metadata.get(key);
  return typeof value === "number" ? value : undefined;
}

function strings(metadata: GgufMetadata, key: string): readonly string[] {
  const value = metadata.get(key);
  if (isArrayOf<string>(value, "string")) return value;
  throw new ModelError(`the tokenizer's ${key} is missing or is not a list of strings`);
}

function numbers(metadata: GgufMetadata, key: string, length: number): readonly number[] {
  const value = metadata.get(key);
  if (isArrayOf<number>(value, "number") && value.length === length) return value;
  throw new ModelError(`the tokenizer's ${key} is missing or is not a list of ${length} numbers`);
}

function isArrayOf<T>(
  value: GgufValue | undefined,
  type: string,
): value is readonly T[] & GgufValue {
  return Array.isArray(value) && value.every((item) => typeof item === type);
}
