import assert from "node:assert/strict";
import { closeSync, openSync, truncateSync, writeSync } from "node:fs";
import { describe, it } from "node:test";
import fc from "fast-check";
import { ggufHeader, withFile } from "../../test/support/text-fixtures.js";
import { ModelError } from "../models/model-error.js";
import { readGgufMetadata } from "./gguf-metadata.js";

const read = (bytes: Uint8Array, wanted: (key: string) => boolean = () => true) =>
  withFile(bytes, (path) => readGgufMetadata(path, wanted));

/** Bytes of a long text. */
const TEXT = 8 << 20;

function valueType(type: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32LE(type);
  return bytes;
}

function count(value: bigint): Buffer {
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64LE(value);
  return bytes;
}

/** A file of one key, whose value begins with `value` and is zeros but for `written`; it takes no room on the disk. */
function readSparse(
  key: string,
  value: readonly Buffer[],
  size: number,
  written: readonly { readonly at: number; readonly bytes: Buffer }[] = [],
) {
  const name = Buffer.from(key);
  const start = [
    Buffer.from("GGUF"),
    valueType(3),
    count(0n),
    count(1n),
    count(BigInt(name.length)),
  ];
  const head = Buffer.concat([...start, name, ...value]);
  return withFile(head, (path) => {
    truncateSync(path, size);
    const fd = openSync(path, "r+");
    try {
      for (const { at, bytes } of written) writeSync(fd, bytes, 0, bytes.length, head.length + at);
    } finally {
      closeSync(fd);
    }
    return readGgufMetadata(path, () => true);
  });
}

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

  it("builds no list and no text that no tokenizer has, however large the file is", () => {
    const scores = [valueType(9), valueType(0), count(500_000_000n)];
    assert.throws(() => readSparse("tokenizer.ggml.scores", scores, 1 << 30), {
      name: "ModelError",
      message: /model\.gguf: .*key tokenizer\.ggml\.scores has 500000000 items, more than 4194304/,
    });
    const model = [valueType(8), count(900_000_000n)];
    assert.throws(() => readSparse("tokenizer.ggml.model", model, 1 << 30), {
      name: "ModelError",
      message:
        /model\.gguf: .*key tokenizer\.ggml\.model: a text of 900000000 bytes is longer than/,
    });
    const tokens = [valueType(9), valueType(8), count(64n)];
    const texts = Array.from({ length: 64 }, (_, i) => ({
      at: i * (8 + TEXT),
      bytes: count(BigInt(TEXT)),
    }));
    assert.throws(() => readSparse("tokenizer.ggml.tokens", tokens, 1 << 30, texts), {
      name: "ModelError",
      message: /model\.gguf: .*key tokenizer\.ggml\.tokens has more than 268435456 bytes/,
    });
  });

  it("is not believed when it counts more than the file holds", () => {
    const bytes = Buffer.from(header);
    bytes.writeBigUInt64LE(1n << 60n, 16);
    assert.throws(() => read(bytes), { message: /key count says \d+, more than the file holds/ });
  });
});
