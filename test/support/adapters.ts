import { cpSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";

/** Copies an adapter in float32 to `target`, with every value of its weights multiplied. */
export function scaledCopy(source: string, target: string, factor: number): void {
  cpSync(source, target, { recursive: true });
  const file = join(target, "adapter_model.safetensors");
  const bytes = readFileSync(file);
  for (let at = 8 + Number(bytes.readBigUInt64LE(0)); at < bytes.length; at += 4) {
    bytes.writeFloatLE(bytes.readFloatLE(at) * factor, at);
  }
  writeFileSync(file, bytes);
}
