import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, it } from "node:test";
import {
  fixtureText,
  ggufHeader,
  recordedIds,
  TOKENIZERS,
  withFile,
} from "../../test/support/text-fixtures.js";
import { readGgufMetadata } from "./gguf-metadata.js";
import { tokenizerJsonFromGguf } from "./gguf-tokenizer.js";
import { loadText } from "./load-text.js";
import { shrinkage } from "./shrinkage.js";
import { HuggingFaceTokenizer } from "./tokenizer.js";
import type { TokenizerJson } from "./tokenizer-json.js";

it("refuses what would be tokenized beside too much else, but never a text alone", async () => {
  const path = ggufHeader("smollm2");
  const metadata = withFile(path, (file) => readGgufMetadata(file, () => true));
  const tokenizer = new HuggingFaceTokenizer(tokenizerJsonFromGguf(metadata), 10);
  const long = tokenizer.encode("longer than the ten bytes");
  await assert.rejects(tokenizer.encode("more"), { code: "overloaded" });
  assert.ok((await long).length > 0);
  assert.ok((await tokenizer.encode("more")).length > 0);
});

it("knows how much text a token can stand for, where that has a bound", () => {
  assert.equal(fixtureText("smollm2").tokenizer.maxBytesPerToken, 81);
  assert.equal(fixtureText("llama-spm").tokenizer.maxBytesPerToken, 16);
  const json = (more: object) =>
    ({
      model: { type: "BPE", byte_fallback: true, vocab: {} },
      ...more,
    }) as unknown as TokenizerJson;
  const sequence = { type: "Sequence", normalizers: [{ type: "NFC" }, { type: "Prepend" }] };
  assert.equal(shrinkage(json({ normalizer: sequence })), 3);
  assert.equal(shrinkage(json({ normalizer: { type: "Strip" } })), Infinity);
  assert.equal(shrinkage(json({ pre_tokenizer: { type: "Whitespace" } })), Infinity);
  assert.equal(shrinkage(json({ added_tokens: [{ lstrip: true }] })), Infinity);
  const squeeze = { type: "Replace", pattern: { Regex: " +" }, content: " " };
  assert.equal(shrinkage(json({ normalizer: squeeze })), Infinity);
  assert.equal(shrinkage(json({ model: { type: "Unigram", vocab: [] } })), Infinity);
});

for (const name of TOKENIZERS) {
  describe(`the tokenizer built from ${name}'s GGUF metadata`, () => {
    const { tokenizer } = fixtureText(name);
    const recorded = recordedIds(name);

    it("gives the peer's ids for 540 odd strings", async () => {
      for (const { text, ids } of recorded) {
        assert.deepEqual(await tokenizer.encode(text), ids, JSON.stringify(text));
      }
    });

    it("decodes ids to the text they were made from", () => {
      for (const { text, ids } of recorded) {
        if (name === "llama-spm" && /<.*>/s.test(text)) continue; // it puts a space after special tokens
        assert.equal(tokenizer.decode(ids, { skipSpecialTokens: false }), text);
      }
    });

    it("knows each token's bytes, which together are the text's", () => {
      const prefix = name === "llama-spm" ? " " : "";
      for (const { text, ids } of recorded) {
        if (text === "" || (prefix && /<.*>/s.test(text))) continue;
        const bytes = Buffer.concat(ids.map((id) => tokenizer.tokenBytes(id)));
        assert.equal(bytes.toString("utf8"), prefix + text);
      }
    });
  });
}

describe("special tokens", () => {
  const { tokenizer } = fixtureText("smollm2");

  it("are recognised in the text, reported as special and left out when decoding", async () => {
    const ids = await tokenizer.encode("<|im_start|>hi<|im_end|>");
    assert.deepEqual(ids, [1, 6004, 2]);
    assert.deepEqual(
      ids.map((id) => tokenizer.isSpecial(id)),
      [true, false, true],
    );
    assert.equal(tokenizer.decode(ids), "hi");
  });

  it("are added only when asked, and only those that the model asks for", async () => {
    assert.deepEqual(await tokenizer.encode("hi", { addSpecialTokens: true }), [6004]);
    const llama = fixtureText("llama-spm").tokenizer;
    const plain = await llama.encode("hi");
    assert.deepEqual(await llama.encode("hi", { addSpecialTokens: true }), [1, ...plain]);
  });

  it("have no bytes past the vocabulary, where models pad", () => {
    assert.equal(tokenizer.vocabSize, 49152);
    assert.equal(tokenizer.tokenBytes(49152).length, 0);
  });
});

describe("a model without a tokenizer we can build", () => {
  const renamed = (from: string, to: string) => {
    const header = ggufHeader("smollm2");
    const at = header.indexOf(from, header.indexOf("tokenizer.ggml."));
    header.write(to, at);
    return withFile(header, loadText);
  };

  it("names the pre-type that is not known", () => {
    const { tokenizer, reason } = renamed("smollm", "dbrx__");
    assert.equal(tokenizer, null);
    assert.match(reason ?? "", /^the tokenizer pre-type "dbrx__" is not supported; smollm, /);
  });

  it("names the tokenizer model that is not known", () => {
    assert.match(renamed("gpt2", "bert").reason ?? "", /^the tokenizer model "bert" is not supp/);
  });

  it("names the file that a folder lacks", () => {
    const folder = mkdtempSync(join(tmpdir(), "smore-text-"));
    assert.equal(loadText(folder).reason, "the model folder has no tokenizer.json");
    rmSync(folder, { recursive: true });
  });
});

describe("a model folder", () => {
  const folder = mkdtempSync(join(tmpdir(), "smore-text-"));
  const metadata = withFile(ggufHeader("qwen2"), (path) => readGgufMetadata(path, () => true));
  const save = (file: string, value: unknown) =>
    writeFileSync(join(folder, file), typeof value === "string" ? value : JSON.stringify(value));

  it("is read from tokenizer.json, with the template and the special tokens beside it", async () => {
    save("tokenizer.json", tokenizerJsonFromGguf(metadata));
    save("tokenizer_config.json", {
      bos_token: { content: "<B>" },
      eos_token: "<E>",
      chat_template: "{{ bos_token }}{{ messages[0].content }}{{ eos_token }}",
    });
    const { tokenizer, template } = loadText(folder);
    for (const { text, ids } of recordedIds("qwen2").slice(0, 50)) {
      assert.deepEqual(await tokenizer?.encode(text), ids);
    }
    const messages = [{ role: "user", content: "hi" }];
    assert.equal(await template?.render(messages, { addGenerationPrompt: false }), "<B>hi<E>");
    save("chat_template.jinja", "file: {{ messages[0].content }}");
    const byFile = loadText(folder).template;
    assert.equal(await byFile?.render(messages, { addGenerationPrompt: false }), "file: hi");
  });

  it("says which file is broken", () => {
    save("tokenizer.json", "{");
    assert.match(loadText(folder).reason ?? "", /tokenizer\.json is not JSON/);
    save("tokenizer.json", { model: {} });
    assert.match(loadText(folder).reason ?? "", /tokenizer/);
    rmSync(folder, { recursive: true });
  });
});
