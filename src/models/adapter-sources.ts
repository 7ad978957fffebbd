import { statSync } from "node:fs";
import { dirname, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import type { Config } from "../config.js";
import { DEFAULT_MODEL } from "./catalog.js";
import { ModelError } from "./model-error.js";

/** Which folders a configuration takes adapters from. */

/** The adapters that come with the default model, seen from dist/src/models. */
const BUNDLED = fileURLToPath(new URL("../../../models/adapters", import.meta.url));

type Sources = Pick<
  Config,
  "adapters" | "adaptersDir" | "adapterRoot" | "model" | "noBundledAdapters"
>;

/** Folders of adapters, the user's own first: a name belongs to the one that has it first. */
export function adapterFolders({ adaptersDir, model, noBundledAdapters }: Sources): string[] {
  const own = adaptersDir === null ? [] : [resolve(adaptersDir)];
  const bundled = model === DEFAULT_MODEL && !noBundledAdapters ? [BUNDLED] : [];
  return [...new Set([...own, ...bundled])];
}

/** Folders that clients may load adapters from. */
export function adapterRoots(sources: Sources): string[] {
  if (sources.adapterRoot.length > 0) return [...sources.adapterRoot];
  const parents = sources.adapters.map(({ path }) => dirname(resolve(path)));
  return [...parents, ...adapterFolders(sources)];
}

/** Before a model is loaded that takes minutes. Throws ModelError naming the option. */
export function checkFolders({ adapters, adaptersDir }: Sources): void {
  const named = adapters.map(({ name, path }) => ({ option: `--adapter ${name}`, path }));
  const dir = adaptersDir === null ? [] : [{ option: "--adapters-dir", path: adaptersDir }];
  const missing = [...named, ...dir].find(({ path }) => !isFolder(path));
  if (missing === undefined) return;
  throw new ModelError(`${missing.option}: there is no folder "${missing.path}"`);
}

function isFolder(path: string): boolean {
  return statSync(path, { throwIfNoEntry: false })?.isDirectory() === true;
}
