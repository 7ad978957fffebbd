import { existsSync, statSync } from "node:fs";
import { basename, join, resolve } from "node:path";
import { type CatalogEntry, cachedPath, cacheFolder, parseSource, readCatalog } from "./catalog.js";
import { fetchModel } from "./fetch.js";
import { ModelError } from "./model-error.js";
import { cachedFileFault, isStamped } from "./verified-file.js";

export interface ResolvedModel {
  readonly path: string; // absolute: a .gguf file or a model folder
  readonly name: string; // what clients call it, unless --served-model-name says otherwise
}

/**
 * A path, a name of the catalogue, or a source (`hf:ORG/REPO/FILE`). What is not cached yet is
 * fetched, with its progress on standard error. Throws ModelError.
 */
export async function resolveModel(nameOrPath: string): Promise<ResolvedModel> {
  const local = await localModel(nameOrPath);
  if (local !== null) return local;
  const wanted = wantedFile(nameOrPath)!;
  const source = parseSource(wanted.source);
  const path = cachedPath(source, cacheFolder());
  await fetchModel(source, path, wanted);
  return { path, name: nameOf(nameOrPath, path) };
}

/** The same, or null where it would have to be fetched or hashed first, which both take long. */
export async function readyModel(nameOrPath: string): Promise<ResolvedModel | null> {
  const wanted = wantedFile(nameOrPath);
  if (wanted?.sha256 !== undefined) {
    const path = cachedPath(parseSource(wanted.source), cacheFolder());
    if (!existsSync(path) || !(await isStamped(path, wanted))) return null;
  }
  return localModel(nameOrPath);
}

/** The same, or null where it would have to be fetched. */
async function localModel(nameOrPath: string): Promise<ResolvedModel | null> {
  const wanted = wantedFile(nameOrPath);
  if (wanted !== null) {
    const path = cachedPath(parseSource(wanted.source), cacheFolder());
    if (!existsSync(path)) return null;
    const fault = await cachedFileFault(path, wanted);
    if (fault === null) return { path, name: nameOf(nameOrPath, path) };
    process.stderr.write(`smore: ${path} ${fault}: fetching it again\n`);
    return null;
  }
  if (existsSync(nameOrPath)) {
    const path = resolve(nameOrPath);
    checkFolder(path);
    return { path, name: modelName(path) };
  }
  const names = [...readCatalog().keys()].join(", ");
  throw new ModelError(
    `no model "${nameOrPath}": it is neither a file or folder nor in the catalogue (${names}), ` +
      "and other sources are written hf:ORG/REPO/FILE",
  );
}

type Wanted = Pick<CatalogEntry, "source"> & Partial<CatalogEntry>;

/** What belongs in the cache; null for a path. */
function wantedFile(nameOrPath: string): Wanted | null {
  const entry = readCatalog().get(nameOrPath);
  if (entry !== undefined) return entry;
  return /^(hf|pypi):/.test(nameOrPath) ? { source: nameOrPath } : null;
}

function nameOf(nameOrPath: string, path: string): string {
  return readCatalog().has(nameOrPath) ? nameOrPath : modelName(path);
}

/** Throws ModelError for a folder without a model. */
function checkFolder(path: string): void {
  if (!statSync(path).isDirectory() || existsSync(join(path, "config.json"))) return;
  if (existsSync(join(path, "adapter_config.json"))) {
    throw new ModelError(
      `no model in "${path}": it is an adapter; serve it beside a model with ` +
        `--adapter ${basename(path)}=${path}`,
    );
  }
  throw new ModelError(
    `no model in "${path}": it has no config.json; a Hugging Face folder has one, ` +
      "a GGUF model is named by its file",
  );
}

function modelName(path: string): string {
  return basename(path).replace(/\.gguf$/, "");
}
