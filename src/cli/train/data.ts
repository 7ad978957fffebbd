import { closeSync, readFileSync } from "node:fs";
import { openRegularFile } from "../../models/regular-file.js";
import { CommandError } from "../command.js";

/** One line of the file: what the user says, and what the model is to answer. */
export interface Example {
  readonly prompt: string;
  readonly completion: string;
}

const FIELDS = ["prompt", "completion"] as const;
const LEAST_EXAMPLES = 20;

/** No model's tokens are so long that training would take more; exact bounds are in tokens. */
export const LONGEST_LINE = 1 << 20;

/** Reads a JSONL file of examples. Throws CommandError that names the first line that is wrong, and how; ModelError for a pipe or device. */
export function readExamples(path: string): Example[] {
  const lines = readText(path).split("\n");
  if (lines.at(-1) === "") lines.pop();
  const examples = lines.map((line, index) => {
    const fault = (what: string) => new CommandError(`${path}, line ${index + 1}: ${what}`);
    return parseExample(line.endsWith("\r") ? line.slice(0, -1) : line, fault);
  });
  if (examples.length < LEAST_EXAMPLES) {
    throw new CommandError(
      `${path} has ${examples.length} examples; at least ${LEAST_EXAMPLES} are needed, some hundred for a good adapter`,
    );
  }
  return examples;
}

function readText(path: string): string {
  const decoder = new TextDecoder("utf-8", { fatal: true });
  const bytes = readBytes(path);
  try {
    return decoder.decode(bytes);
  } catch {
    throw new CommandError(`${path} is not UTF-8`);
  }
}

function readBytes(path: string): Buffer {
  const fd = openRegularFile(path);
  try {
    return readFileSync(fd);
  } finally {
    closeSync(fd);
  }
}

function parseExample(line: string, fault: (what: string) => CommandError): Example {
  if (line.length > LONGEST_LINE) {
    throw fault(`is ${line.length} characters long; at most ${LONGEST_LINE} are read`);
  }
  if (line.trim() === "") throw fault("is empty");
  let value: unknown;
  try {
    value = JSON.parse(line);
  } catch (error) {
    throw fault(`is not JSON (${(error as Error).message})`);
  }
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    throw fault('must be an object such as {"prompt": "...", "completion": "..."}');
  }
  const unknown = Object.keys(value).find((key) => !FIELDS.includes(key as never));
  if (unknown !== undefined) {
    throw fault(`has a field "${unknown}"; fields are ${FIELDS.join(" and ")}`);
  }
  for (const field of FIELDS) {
    const text = (value as Record<string, unknown>)[field];
    if (text === undefined) throw fault(`has no "${field}"`);
    if (typeof text !== "string") throw fault(`"${field}" must be a text, not ${typeof text}`);
    if (text.trim() === "") throw fault(`"${field}" is blank`);
  }
  return value as Example;
}
