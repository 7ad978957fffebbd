import { ModelError } from "../models/model-error.js";

/** The parts of a Hugging Face tokenizer.json that this server reads or writes. */
export interface TokenizerJson {
  readonly version: string;
  readonly truncation: null;
  readonly padding: null;
  readonly added_tokens?: readonly AddedToken[];
  readonly normalizer: Component | null;
  readonly pre_tokenizer: Component | null;
  readonly post_processor: Component | null;
  readonly decoder?: Component | null;
  readonly model: TokenizerModel;
}

export interface AddedToken {
  readonly id: number;
  readonly content: string;
  readonly single_word: boolean;
  readonly lstrip: boolean;
  readonly rstrip: boolean;
  readonly normalized: boolean;
  readonly special: boolean;
}

/** A normalizer, pre-tokenizer, post-processor or decoder. */
export interface Component {
  readonly type: string;
  readonly [field: string]: unknown;
}

export interface TokenizerModel {
  readonly type: string;
  /** Of BPE: token to id. Of Unigram: [token, score] in the order of ids. */
  readonly vocab: Readonly<Record<string, number>> | readonly (readonly [string, number])[];
  readonly [field: string]: unknown;
}

export const SPACE_MARK = "\u2581"; // what SentencePiece writes for a space

/** How a vocabulary writes bytes; decides what each token's bytes are. */
export interface TokenSpelling {
  readonly kind: "byteLevel" | "sentencePiece";
  /** Text is encoded with a space put before it, which decoding takes away again. */
  readonly spacePrefix: boolean;
}

/** Reads it from the decoder; throws ModelError for decoders whose tokens have no bytes of their own. */
export function spellingOf(json: TokenizerJson): TokenSpelling {
  const decoders = flatten(json.decoder);
  const has = (type: string) => decoders.find((decoder) => decoder.type === type);
  if (has("ByteLevel")) return { kind: "byteLevel", spacePrefix: false };
  const metaspace = has("Metaspace");
  if (metaspace) {
    const prefix = metaspace.prepend_scheme !== "never" && metaspace.add_prefix_space !== false;
    return { kind: "sentencePiece", spacePrefix: prefix };
  }
  const replace = has("Replace")?.pattern as { readonly String?: string } | undefined;
  if (replace?.String === SPACE_MARK) {
    return { kind: "sentencePiece", spacePrefix: has("Strip") !== undefined };
  }
  const names = decoders.map((decoder) => decoder.type).join(", ") || "none";
  throw new ModelError(
    `the tokenizer's decoder (${names}) is not supported; ByteLevel and SentencePiece are`,
  );
}

function flatten(decoder: Component | null | undefined): readonly Component[] {
  if (!decoder) return [];
  if (decoder.type !== "Sequence") return [decoder];
  return (decoder.decoders as readonly Component[]).flatMap(flatten);
}
