import { existsSync, readFileSync } from "node:fs";
import { ModelError } from "./model-error.js";

/** The object in a file, or {} where the file does not exist. Throws ModelError. */
export function readJsonFile(file: string): Readonly<Record<string, unknown>> {
  if (!existsSync(file)) return {};
  try {
    const value: unknown = JSON.parse(readFileSync(file, "utf8"));
    if (typeof value === "object" && value !== null) return value as Record<string, unknown>;
  } catch (error) {
    throw new ModelError(`${file} is not JSON: ${(error as Error).message}`);
  }
  throw new ModelError(`${file} is not a JSON object`);
}
