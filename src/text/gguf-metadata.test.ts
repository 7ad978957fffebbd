import assert from "node:assert/strict";
import { describe, it } from "node:test";
import fc from "fast-check";
import { ggufHeader, withFile } from "../../test/support/text-fixtures.js";
import { ModelError } from "../models/model-error.js";
import { readGgufMetadata } from "./gguf-metadata.js";

const read = (bytes: Uint8Array, wanted: (key: string) => boolean = () => true) =>
  withFile(bytes, (path) => readGgufMetadata(path, wanted));

describe("the header of a GGUF file", () => {
  const header = ggufHeader("llama-spm");

  it("gives numbers, truth values, strings and lists", () => {
    const metadata = read(header);
    assert.equal(metadata.get("general.architecture"), "llama");
    assert.equal(metadata.get("llama.block_count"), 1);
    assert.equal(metadata.get("tokenizer.ggml.bos_token_id"), 1);
    assert.equal((metadata.get("tokenizer.ggml.tokens") as readonly string[]).length, 3000);
    assert.equal(read(ggufHeader("gemma-spm")).get("tokenizer.ggml.add_space_prefix"), false);
  });

  it("passes over the keys that nobody wants", () => {
    const wanted = read(header, (key) => key.endsWith("eos_token_id"));
    assert.deepEqual([...wanted], [["tokenizer.ggml.eos_token_id", 2]]);
  });

  it("is refused by file name when it is cut off anywhere", () => {
    for (let end = 0; end < header.length; end += 977) {
      assert.throws(() => read(header.subarray(0, end)), {
        name: "ModelError",
        message: /model\.gguf: /,
      });
    }
  });

  it("is read or refused, never worse, whatever bytes are wrong", () => {
    const small = header.subarray(0, 4096);
    const damage = fc.array(fc.tuple(fc.nat(small.length - 1), fc.nat(255)), { maxLength: 8 });
    fc.assert(
      fc.property(damage, (changes) => {
        const bytes = Buffer.from(small);
        for (const [at, value] of changes) bytes[at] = value;
        assert.throws(() => read(bytes), ModelError);
      }),
      { numRuns: 300 },
    );
  });

  it("is not believed when it counts more than the file holds", () => {
    const bytes = Buffer.from(header);
    bytes.writeBigUInt64LE(1n << 60n, 16);
    assert.throws(() => read(bytes), { message: /key count says \d+, more than the file holds/ });
  });
});
