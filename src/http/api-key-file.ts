import { readTextFile } from "../models/regular-file.js";
import { ACCOUNT_LIMITS, type AccountLimits } from "./account.js";
import type { ApiKey } from "./auth.js";

/**
 * Named keys from a file: JSON, `{"keys": [{"name", "key", "admin", "requests_per_minute", ...}]}`, or lines
 * `name:key` and `name:key:admin,requests_per_minute=60`, `#` for comments. Throws an
 * Error that names file and entry.
 */
export function readApiKeys(path: string): ApiKey[] {
  const text = readTextFile(path);
  const entries = /^\s*[{[]/.test(text) ? jsonEntries(path, text) : lineEntries(path, text);
  const keys = entries.map(({ where, fields }) => apiKey(where, fields));
  if (keys.length === 0) throw new Error(`${path}: holds no key`);
  for (const part of ["name", "key"] as const) {
    const values = keys.map((key) => key[part]);
    const twice = values.findIndex((value, index) => values.indexOf(value) !== index);
    if (twice >= 0) throw new Error(`${entries[twice]!.where}: this ${part} is there twice`);
  }
  return keys;
}

interface Entry {
  readonly where: string;
  readonly fields: Readonly<Record<string, unknown>>;
}

function jsonEntries(path: string, text: string): Entry[] {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    throw new Error(`${path}: is not valid JSON`); // the parser's own message would show keys
  }
  const list = Array.isArray(value) ? value : (value as { keys?: unknown }).keys;
  if (!Array.isArray(list)) throw new Error(`${path}: "keys" must be an array of objects`);
  return list.map((fields: unknown, index) => {
    const where = `${path}: keys[${index}]`;
    if (typeof fields !== "object" || fields === null || Array.isArray(fields)) {
      throw new Error(`${where} must be an object`);
    }
    return { where, fields: fields as Record<string, unknown> };
  });
}

function lineEntries(path: string, text: string): Entry[] {
  return text.split("\n").flatMap((line, index) => {
    const trimmed = line.trim();
    if (trimmed === "" || trimmed.startsWith("#")) return [];
    const where = `${path}: line ${index + 1}`;
    const [name, key, limits, ...rest] = trimmed.split(":");
    if (rest.length > 0) throw new Error(`${where} must be name:key or name:key:limits`);
    const pairs = limits === undefined ? [] : limits.split(",").map((pair) => pair.split("="));
    const rights = pairs.map(([right = "", value]) => [
      right.trim(),
      value === undefined && right.trim() === "admin" ? true : Number(value),
    ]);
    return [{ where, fields: { name, key, ...Object.fromEntries(rights) } }];
  });
}

function apiKey(where: string, { name, key, admin = false, ...limits }: Entry["fields"]): ApiKey {
  if (typeof name !== "string" || name === "" || /\p{Cc}/u.test(name)) {
    throw new Error(`${where}: "name" must be a text`);
  }
  if (typeof key !== "string" || !/^[\x21-\x7e]+$/.test(key)) {
    throw new Error(`${where}: "key" must be printable ASCII without blanks`);
  }
  if (typeof admin !== "boolean") throw new Error(`${where}: "admin" must be true or false`);
  for (const [limit, value] of Object.entries(limits)) {
    if (!ACCOUNT_LIMITS.some((known) => known === limit)) {
      throw new Error(`${where}: "${limit}" is none of admin, ${ACCOUNT_LIMITS.join(", ")}`);
    }
    if (!Number.isSafeInteger(value) || (value as number) < 1) {
      throw new Error(`${where}: "${limit}" must be a whole number from 1`);
    }
  }
  return { name, key, admin, limits: limits as AccountLimits };
}
