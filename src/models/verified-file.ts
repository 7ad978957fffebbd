import { createHash } from "node:crypto";
import { createReadStream } from "node:fs";
import { readFile, stat, writeFile } from "node:fs/promises";
import { basename, dirname, join } from "node:path";

/** What a file must be, as far as that is known. */
export interface Expected {
  readonly bytes?: number;
  readonly sha256?: string;
}

/** What is wrong with a file, or null. */
export async function fileFault(path: string, expected: Expected): Promise<string | null> {
  const { size } = await stat(path);
  if (expected.bytes !== undefined && size !== expected.bytes) {
    return `has ${size} bytes; ${expected.bytes} were expected`;
  }
  if (expected.sha256 === undefined) return null;
  const sha256 = await sha256Of(path);
  if (sha256 === expected.sha256) return null;
  return `has sha256 ${sha256}; ${expected.sha256} was expected`;
}

/**
 * The same for a file in the cache. A checksum costs reading all of it, so a stamp beside the file
 * remembers the one that was right, until the file's size or time of change differs.
 */
export async function cachedFileFault(path: string, expected: Expected): Promise<string | null> {
  if (await isStamped(path, expected)) return null;
  const fault = await fileFault(path, expected);
  if (fault === null) await stampFile(path, expected);
  return fault;
}

/** Whether a file's checksum was right and it has not changed since: known without reading all of it. */
export async function isStamped(path: string, expected: Expected): Promise<boolean> {
  const stamped = await readFile(stampOf(path), "utf8").catch(() => "");
  return stamped !== "" && stamped === (await stampText(path, expected));
}

/** Remembers that a file is what was expected. In a cache that is read-only it is hashed at each start. */
export async function stampFile(path: string, expected: Expected): Promise<void> {
  if (expected.sha256 === undefined) return;
  await writeFile(stampOf(path), await stampText(path, expected)).catch(() => {});
}

async function stampText(path: string, { sha256 }: Expected): Promise<string> {
  const { size, mtimeMs } = await stat(path);
  return `${sha256} ${size} ${mtimeMs}\n`;
}

function stampOf(path: string): string {
  return join(dirname(path), `.${basename(path)}.verified`);
}

async function sha256Of(path: string): Promise<string> {
  const hash = createHash("sha256");
  for await (const chunk of createReadStream(path, { highWaterMark: 1 << 20 })) hash.update(chunk);
  return hash.digest("hex");
}
