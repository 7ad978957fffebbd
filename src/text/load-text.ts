import { existsSync, statSync } from "node:fs";
import { join } from "node:path";
import { readJsonFile } from "../models/json-file.js";
import { ModelError } from "../models/model-error.js";
import { readTextFile } from "../models/regular-file.js";
import { JinjaChatTemplate } from "./chat-template.js";
import { type GgufMetadata, readGgufMetadata } from "./gguf-metadata.js";
import { tokenizerJsonFromGguf } from "./gguf-tokenizer.js";
import type { ChatTemplate, Tokenizer } from "./text.js";
import { HuggingFaceTokenizer } from "./tokenizer.js";
import type { TokenizerJson } from "./tokenizer-json.js";

/** What a model knows about text. Without a tokenizer, `reason` says in one line why. */
export type ModelText =
  | { readonly tokenizer: Tokenizer; readonly template: ChatTemplate | null; readonly reason: null }
  | { readonly tokenizer: null; readonly template: null; readonly reason: string };

/** Reads the text side of a .gguf file or of a model folder; the engine reads the rest by itself. */
export function loadText(modelPath: string): ModelText {
  try {
    return statSync(modelPath).isDirectory() ? fromFolder(modelPath) : fromGguf(modelPath);
  } catch (error) {
    if (!(error instanceof ModelError)) throw error;
    return { tokenizer: null, template: null, reason: error.message };
  }
}

function fromGguf(path: string): ModelText {
  const metadata = readGgufMetadata(path, (key) => key.startsWith("tokenizer."));
  const tokenizer = new HuggingFaceTokenizer(tokenizerJsonFromGguf(metadata));
  const source = metadata.get("tokenizer.chat_template");
  const template =
    typeof source === "string" ? new JinjaChatTemplate(source, ggufSpecialTokens(metadata)) : null;
  return { tokenizer, template, reason: null };
}

const GGUF_SPECIAL_TOKENS = {
  bos_token: "tokenizer.ggml.bos_token_id",
  eos_token: "tokenizer.ggml.eos_token_id",
  unk_token: "tokenizer.ggml.unknown_token_id",
  pad_token: "tokenizer.ggml.padding_token_id",
} as const;

function ggufSpecialTokens(metadata: GgufMetadata): Record<string, string> {
  const tokens = metadata.get("tokenizer.ggml.tokens");
  const named = Object.entries(GGUF_SPECIAL_TOKENS).flatMap(([name, key]) => {
    const id = metadata.get(key);
    const token = Array.isArray(tokens) && typeof id === "number" ? tokens[id] : undefined;
    return typeof token === "string" ? [[name, token] as const] : [];
  });
  return Object.fromEntries(named);
}

function fromFolder(folder: string): ModelText {
  const file = join(folder, "tokenizer.json");
  if (!existsSync(file)) throw new ModelError("the model folder has no tokenizer.json");
  const tokenizer = new HuggingFaceTokenizer(readJsonFile(file) as unknown as TokenizerJson);
  const config = readJsonFile(join(folder, "tokenizer_config.json"));
  const source = folderTemplate(folder, config);
  const template =
    source === null ? null : new JinjaChatTemplate(source, folderSpecialTokens(config));
  return { tokenizer, template, reason: null };
}

function folderTemplate(folder: string, config: Readonly<Record<string, unknown>>): string | null {
  const file = join(folder, "chat_template.jinja");
  if (existsSync(file)) return readTextFile(file);
  const template = config.chat_template;
  if (typeof template === "string") return template;
  if (!Array.isArray(template)) return null;
  const named = template as readonly { readonly name: string; readonly template: string }[];
  return named.find(({ name }) => name === "default")?.template ?? null;
}

function folderSpecialTokens(config: Readonly<Record<string, unknown>>): Record<string, string> {
  const named = Object.entries(config).flatMap(([name, value]) => {
    const text =
      typeof value === "object" ? (value as { content?: unknown } | null)?.content : value;
    return name.endsWith("_token") && typeof text === "string" ? [[name, text] as const] : [];
  });
  return Object.fromEntries(named);
}
