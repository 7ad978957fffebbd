import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

/** Outputs of whole models, recorded by the original implementations. */

export const FIXTURES = fileURLToPath(new URL("../../../test/fixtures", import.meta.url));

/** What was recorded for one prompt with one adapter, or with the base alone. */
export interface GoldenCase {
  readonly variant: string; // "base", or the adapter's name
  readonly prompt: readonly number[];
  readonly tokens: readonly number[]; // greedy
  /** Logits that chose each of the prompt's tokens but the first, then each greedy one as far as recorded. */
  readonly logits: readonly Float32Array[];
}

interface Greedy {
  readonly greedy_tokens: readonly (readonly number[])[]; // per prompt
}
/** A model without adapters has its tokens in place of the variants. */
interface Index extends Partial<Greedy> {
  readonly prompts: readonly (readonly number[])[];
  readonly variants?: Readonly<Record<string, Greedy>>;
}

/** All cases of a folder of goldens. */
export function goldenCases(folder: string): GoldenCase[] {
  const index: Index = JSON.parse(readFileSync(join(folder, "index.json"), "utf8"));
  const variants = index.variants ?? { base: { greedy_tokens: index.greedy_tokens ?? [] } };
  const rows = readRows(join(folder, "golden.safetensors"));
  return Object.entries(variants).flatMap(([variant, { greedy_tokens }]) =>
    index.prompts.map((prompt, i) => {
      const ofPrompt = rows.get(`p${i}.${variant}.logits`) ?? [];
      const ofSteps = rows.get(`p${i}.${variant}.step_logits`) ?? [];
      // The prompt's last row is the first step's too.
      const logits = [...ofPrompt, ...ofSteps.slice(ofPrompt.length === 0 ? 0 : 1)];
      return { variant, prompt, tokens: greedy_tokens[i] ?? [], logits };
    }),
  );
}

/** The float32 matrices of a safetensors file, row by row. */
function readRows(file: string): Map<string, Float32Array[]> {
  const bytes = readFileSync(file);
  const headerEnd = 8 + Number(bytes.readBigUInt64LE(0));
  const header = JSON.parse(bytes.toString("utf8", 8, headerEnd)) as Record<
    string,
    { dtype: string; shape: [number, number]; data_offsets: [number, number] }
  >;
  const rows = new Map<string, Float32Array[]>();
  for (const [name, { dtype, shape, data_offsets: at }] of Object.entries(header)) {
    if (dtype !== "F32") continue; // tokens, which index.json has too, and the file's own notes
    const values = new Float32Array(
      bytes.buffer.slice(
        bytes.byteOffset + headerEnd + at[0],
        bytes.byteOffset + headerEnd + at[1],
      ) as ArrayBuffer,
    );
    const [count, width] = shape;
    assert.equal(values.length, count * width, `${file}: ${name}`);
    rows.set(
      name,
      Array.from({ length: count }, (_, row) => values.subarray(row * width, (row + 1) * width)),
    );
  }
  return rows;
}

/** Log probabilities of a row of logits. */
export function logSoftmax(logits: Float32Array): Float64Array {
  const most = Math.max(...logits);
  const sum = logits.reduce((total, logit) => total + Math.exp(logit - most), 0);
  return Float64Array.from(logits, (logit) => logit - most - Math.log(sum));
}
