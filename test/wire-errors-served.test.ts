import assert from "node:assert/strict";
import { cpSync, mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { post } from "./harness.js";
import { serve, TINY } from "./support/command.js";
import { check, INVALID, OF_LOADED_ADAPTERS, read, seen } from "./support/wire-error.js";

function roots(t: TestContext): string {
  const root = mkdtempSync(join(tmpdir(), "smore-wire-"));
  t.after(() => rmSync(root, { recursive: true }));
  cpSync(join(TINY, "adapters", "lora"), join(root, "lora"), { recursive: true });
  mkdirSync(join(root, "empty"));
  return root;
}

test("the running engine: the same words, and those about adapters", async (t) => {
  const root = roots(t);
  const { url } = await serve(t, ["--adapter-root", root, "--adapter", `lora=${root}/lora`]);
  const ask = async (path: string, body: unknown) => read(await post(url + path, body));
  const complete = (fields: object) =>
    ask("/v1/completions", { model: "tiny", prompt: [1, 2], max_tokens: 2, ...fields });
  const load = (lora_name: string, lora_path: string) =>
    ask("/v1/load_lora_adapter", { lora_name, lora_path });

  check("model_not_found", await complete({ model: "x" }), [
    404,
    INVALID,
    "model",
    "model_not_found",
    /^The model `x` does not exist\. GET \/v1\/models lists those that do\.$/,
  ]);
  check("context_length_exceeded", await complete({ max_tokens: 100_000 }), [
    400,
    INVALID,
    "prompt",
    "context_length_exceeded",
    /^This model's maximum context length is \d+ tokens\. However, you requested 100002 tokens/,
  ]);
  check("not_supported", await complete({ prompt: "text" }), [
    400,
    INVALID,
    "prompt",
    "not_supported",
    /^prompt must be token ids: the model folder has no tokenizer\.json$/,
  ]);
  check("adapter_exists", await load("lora", join(root, "lora")), [
    400,
    INVALID,
    "lora_name",
    "adapter_exists",
    /lora/,
  ]);
  check("invalid_adapter", await load("other", join(root, "empty")), [
    400,
    INVALID,
    "lora_path",
    "invalid_adapter",
    /adapter_config\.json/,
  ]);
  check("adapter_path_not_allowed", await load("other", "/etc"), [
    403,
    INVALID,
    "lora_path",
    "adapter_path_not_allowed",
    /--adapter-root/,
  ]);
  check("adapter_not_found", await ask("/v1/unload_lora_adapter", { lora_name: "none" }), [
    404,
    INVALID,
    "lora_name",
    "adapter_not_found",
    /none/,
  ]);
  assert.equal((await post(`${url}/v1/completions`, { model: "lora", prompt: [1] })).status, 200);
  for (const code of OF_LOADED_ADAPTERS) assert.ok(seen.has(code), code);
});
