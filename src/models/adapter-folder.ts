import { lstat, readdir, stat } from "node:fs/promises";
import { join, resolve } from "node:path";
import { setTimeout } from "node:timers/promises";
import type { AdapterControl } from "../api/context.js";
import { adapterNameFault } from "../config.js";
import { ADAPTER_FILES, olderFormatFault } from "./adapter-files.js";
import { CARD_FILE } from "./card.js";
import { ModelError } from "./model-error.js";

const PAUSE_MS = 1000;

/** What is known of one folder in the folder of adapters. */
interface Sighting {
  print: string; // of the latest look
  loaded: string; // of the latest load, also of one that failed: it is tried again when files change
  missing: boolean; // in the latest look
}

export interface FolderOptions {
  readonly path: string;
  readonly registry: AdapterControl & { find(name: string): { readonly root: string } | undefined };
  /** Hears why a folder is not served; `older`: its content of before still is. Another may be served under its name. */
  readonly onFault: (folder: string, error: Error, older: boolean) => void;
}

/**
 * Serves every adapter in a folder of adapters under its folder's name, and keeps up with what is
 * dropped in, replaced and removed. It looks once a second, which works on every file system. A
 * folder counts when its files are the same in two looks, so that copies in progress are left alone,
 * and is gone when two looks miss it, so that one may be swapped for another.
 */
export class AdapterFolder {
  readonly #options: FolderOptions;
  readonly #path: string;
  readonly #sightings = new Map<string, Sighting>();
  /** Told already: name and fault of what can never be loaded as it is. */
  readonly #told = new Set<string>();

  constructor(options: FolderOptions) {
    this.#options = options;
    this.#path = resolve(options.path);
  }

  /** Loads what is there and resolves to how many there are. Throws ModelError when there is no such folder. */
  async open(): Promise<number> {
    const found = await this.#look();
    for (const [name, print] of found) {
      const seen = { print, loaded: "", missing: false };
      this.#sightings.set(name, seen);
      await this.#load(name, seen);
    }
    return found.size;
  }

  /** Follows changes until `signal` aborts. */
  async watch(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      await setTimeout(PAUSE_MS, null, { signal, ref: false }).catch(() => {});
      if (!signal.aborted) await this.#follow();
    }
  }

  async #follow(): Promise<void> {
    let found: ReadonlyMap<string, string>;
    try {
      found = await this.#look();
    } catch {
      return; // a folder that cannot be read for a moment says nothing about what is in it
    }
    for (const [name, print] of found) {
      const seen = this.#sightings.get(name) ?? { print: "", loaded: "", missing: false };
      this.#sightings.set(name, seen);
      seen.missing = false;
      const settled = seen.print === print;
      seen.print = print;
      if (settled && seen.loaded !== print) await this.#load(name, seen);
    }
    for (const [name, seen] of this.#sightings) {
      if (found.has(name)) continue;
      if (seen.missing) await this.#unload(name);
      else seen.missing = true;
    }
  }

  async #load(name: string, seen: Sighting): Promise<void> {
    const { registry, onFault } = this.#options;
    const path = join(this.#path, name);
    seen.loaded = seen.print;
    const before = registry.find(name)?.root;
    try {
      if (before !== undefined && before !== path) {
        throw new ModelError(`the name belongs to ${before} already`);
      }
      await registry.load({ name, path, pin: false, inPlace: true });
    } catch (error) {
      onFault(path, error as Error, before === path);
    }
  }

  async #unload(name: string): Promise<void> {
    const { registry, onFault } = this.#options;
    const path = join(this.#path, name);
    this.#sightings.delete(name);
    if (registry.find(name)?.root !== path) return;
    await registry.unload(name);
    const lost = await lostFile(path);
    if (lost !== null) onFault(path, new ModelError(`its ${lost} is gone`), false);
  }

  /**
   * The complete folders with a usable name, and what tells one content from another. Tells once of
   * those that look like adapters and cannot be used.
   */
  async #look(): Promise<ReadonlyMap<string, string>> {
    const names = await readdir(this.#path).catch(() => {
      throw new ModelError(`--adapters-dir: there is no folder "${this.#path}"`);
    });
    const found = new Map<string, string>();
    for (const name of names.sort()) {
      if (name.startsWith(".")) continue;
      try {
        const print = await fingerprint(join(this.#path, name));
        const older = print === null ? await olderFormatFault(join(this.#path, name)) : null;
        if (older !== null) throw new ModelError(older);
        if (print === null) continue;
        const fault = adapterNameFault(name);
        if (fault !== null) throw new ModelError(`the folder's name ${fault}`);
        found.set(name, print);
      } catch (error) {
        this.#tellOnce(name, error as Error);
      }
    }
    return found;
  }

  #tellOnce(name: string, fault: Error): void {
    const key = JSON.stringify([name, fault.message]);
    if (this.#told.has(key)) return;
    this.#told.add(key);
    this.#options.onFault(join(this.#path, name), fault, false);
  }
}

/** Null unless all files but the card are there. Throws where one is there and cannot be looked at. */
async function fingerprint(folder: string): Promise<string | null> {
  const prints: string[] = [];
  for (const name of ADAPTER_FILES) {
    const file = join(folder, name);
    try {
      const { dev, ino, size, mtimeNs } = await stat(file, { bigint: true });
      prints.push([dev, ino, size, mtimeNs].join());
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException;
      if (code === "ENOTDIR") return null; // some other file
      if (code !== "ENOENT") throw error;
      if (await isLink(file)) throw new ModelError(`${file} is a link to nothing`);
      return null; // not yet
    }
  }
  const card = await stat(join(folder, CARD_FILE), { bigint: true }).catch(() => null);
  return [...prints, card === null ? "" : [card.ino, card.size, card.mtimeNs].join()].join(" ");
}

/** Of a folder that is still there. */
async function lostFile(folder: string): Promise<string | null> {
  const left = await readdir(folder).catch(() => null);
  return ADAPTER_FILES.find((name) => left !== null && !left.includes(name)) ?? null;
}

async function isLink(path: string): Promise<boolean> {
  const found = await lstat(path).catch(() => null);
  return found?.isSymbolicLink() ?? false;
}
