import { readFileSync } from "node:fs";
import { homedir } from "node:os";
import { join } from "node:path";
import { ModelError } from "./model-error.js";

/** models/catalog.json: the models that have a name of their own, and where they come from. */
export interface CatalogEntry {
  readonly source: string;
  readonly bytes: number;
  readonly sha256: string;
  readonly license: string;
}

export const DEFAULT_MODEL = "smollm2-135m-instruct";

/** Where a file can be fetched from. */
export type Source =
  | { readonly kind: "pypi"; readonly requirement: string; readonly member: string }
  | { readonly kind: "hf"; readonly repo: string; readonly file: string };

const CATALOG = new URL("../../../models/catalog.json", import.meta.url); // from dist/src/models

export function readCatalog(): ReadonlyMap<string, CatalogEntry> {
  return new Map(Object.entries(JSON.parse(readFileSync(CATALOG, "utf8"))));
}

/** `pypi:NAME==VERSION#MEMBER` (a file inside a wheel) or `hf:ORG/REPO/FILE`. */
export function parseSource(text: string): Source {
  const pypi = /^pypi:([\w.-]+==[\w.]+)#(.+)$/.exec(text);
  if (pypi?.[1] && isPlainPath(pypi[2])) {
    return { kind: "pypi", requirement: pypi[1], member: pypi[2] };
  }
  const hf = /^hf:([\w.-]+\/[\w.-]+)\/(.+)$/.exec(text);
  if (hf?.[1] && isPlainPath(hf[1]) && isPlainPath(hf[2])) {
    return { kind: "hf", repo: hf[1], file: hf[2] };
  }
  throw new ModelError(
    `"${text}" is not a source: pypi:NAME==VERSION#FILE and hf:ORG/REPO/FILE are`,
  );
}

/** Its place in the cache. */
export function cachedPath(source: Source, cache: string): string {
  const segments =
    source.kind === "pypi"
      ? [source.member.split("/").at(-1) as string]
      : ["hf", ...source.repo.split("/"), ...source.file.split("/")];
  return join(cache, ...segments);
}

/** Fetched models lie outside the project: SMORE_MODEL_CACHE, or a folder in the user's cache. */
export function cacheFolder(): string {
  return process.env.SMORE_MODEL_CACHE || join(homedir(), ".cache", "smore", "models");
}

function isPlainPath(path = ""): path is string {
  return path.split("/").every((part) => /^[\w.+-]+$/.test(part) && !/^\.+$/.test(part));
}
