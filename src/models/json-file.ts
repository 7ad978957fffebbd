import { existsSync } from "node:fs";
import { ModelError } from "./model-error.js";
import { readTextFile } from "./regular-file.js";

/** The object in a file, or {} where the file does not exist. Throws ModelError. */
export function readJsonFile(file: string): Readonly<Record<string, unknown>> {
  if (!existsSync(file)) return {};
  const text = readTextFile(file);
  try {
    const value: unknown = JSON.parse(text);
    if (typeof value === "object" && value !== null) return value as Record<string, unknown>;
  } catch (error) {
    throw new ModelError(`${file} is not JSON: ${(error as Error).message}`);
  }
  throw new ModelError(`${file} is not a JSON object`);
}
