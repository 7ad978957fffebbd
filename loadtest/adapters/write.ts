import { existsSync, linkSync, mkdirSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { CommandError } from "../../src/cli/command.js";
import { seededRandom } from "../client/random.js";
import type { BaseShape } from "./base-shape.js";
import { describeAdapter, type Kind, type Tensors } from "./tensors.js";

const WEIGHTS = "adapter_model.safetensors";
const CONFIG = "adapter_config.json";

export interface AdapterSet {
  readonly kind: Kind;
  readonly count: number;
  /** Files with weights of their own; the other folders hold hard links to them, in turn. */
  readonly distinct: number;
}

/**
 * Writes random adapters into `folder`, as folders a000, a001, ...; gives their names. Those that are there stay. Throws
 * CommandError where they cannot be written.
 */
export function writeAdapters(folder: string, base: BaseShape, set: AdapterSet): string[] {
  try {
    return writeAll(folder, base, set);
  } catch (error) {
    const { syscall, message } = error as NodeJS.ErrnoException;
    if (syscall === undefined) throw error;
    throw new CommandError(`${folder}: adapters cannot be written there: ${message}`);
  }
}

function writeAll(folder: string, base: BaseShape, set: AdapterSet): string[] {
  const { tensors, config } = describeAdapter(set.kind, base);
  return Array.from({ length: set.count }, (_, index) => {
    const name = `a${String(index).padStart(3, "0")}`;
    const own = join(folder, name);
    if (existsSync(join(own, CONFIG))) return name;
    mkdirSync(own, { recursive: true });
    const weights = join(own, WEIGHTS);
    rmSync(weights, { force: true });
    if (index < set.distinct) {
      writeFileSync(`${weights}.part`, randomSafetensors(tensors, index + 1));
      renameSync(`${weights}.part`, weights);
    } else {
      const shared = `a${String(index % set.distinct).padStart(3, "0")}`;
      linkSync(join(folder, shared, WEIGHTS), weights);
    }
    writeFileSync(join(own, CONFIG), JSON.stringify(config));
    return name;
  });
}

/** All tensors in bf16, with values of either sign from 2^-7 to 2^-5: small beside the base's own. */
export function randomSafetensors(tensors: Tensors, seed: number): Buffer {
  const header: Record<string, object> = { __metadata__: { format: "pt" } };
  let bytes = 0;
  for (const [name, shape] of tensors) {
    const end = bytes + 2 * shape.reduce((size, length) => size * length, 1);
    header[name] = { dtype: "BF16", shape, data_offsets: [bytes, end] };
    bytes = end;
  }
  const json = JSON.stringify(header);
  const text = Buffer.from(json.padEnd(Math.ceil(json.length / 8) * 8));
  const file = Buffer.alloc(8 + text.length + bytes);
  file.writeBigUInt64LE(BigInt(text.length));
  text.copy(file, 8);
  const random = seededRandom(seed);
  const values = new Uint16Array(file.buffer, file.byteOffset + 8 + text.length, bytes / 2);
  for (let index = 0; index < values.length; index++) {
    values[index] = (Math.floor(random() * 0x10000) & 0x80ff) | 0x3c00;
  }
  return file;
}
