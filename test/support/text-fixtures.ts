import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { gunzipSync } from "node:zlib";
import { loadText } from "../../src/text/load-text.js";
import type { ChatTemplate, Tokenizer } from "../../src/text/text.js";

const fixtures = fileURLToPath(new URL("../../../test/fixtures/", import.meta.url));

export const TOKENIZERS = ["smollm2", "llama-bpe", "qwen2", "llama-spm", "gemma-spm"] as const;
export type TokenizerName = (typeof TOKENIZERS)[number];

/** Bytes of a GGUF header without tensors. */
export function ggufHeader(name: TokenizerName): Buffer {
  return gunzipSync(readFileSync(join(fixtures, "text", `${name}.gguf.gz`)));
}

/** What llama.cpp's /tokenize answered. */
export function recordedIds(name: TokenizerName): { text: string; ids: number[] }[] {
  return JSON.parse(readFileSync(join(fixtures, "text", `${name}.ids.json`), "utf8"));
}

export function readFixture(path: string): string {
  return readFileSync(join(fixtures, path), "utf8");
}

/** Runs `use` with the path of a temporary file that holds `bytes`. */
export function withFile<T>(bytes: Uint8Array, use: (path: string) => T): T {
  const folder = mkdtempSync(join(tmpdir(), "smore-text-"));
  try {
    const path = join(folder, "model.gguf");
    writeFileSync(path, bytes);
    return use(path);
  } finally {
    rmSync(folder, { recursive: true });
  }
}

/** The default model's text side, without the model. */
export function fixtureText(name: TokenizerName): { tokenizer: Tokenizer; template: ChatTemplate } {
  const { tokenizer, template, reason } = withFile(ggufHeader(name), loadText);
  if (tokenizer === null) throw new Error(reason);
  return { tokenizer, template: template as ChatTemplate };
}
