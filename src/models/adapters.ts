import { existsSync, readdirSync, statSync } from "node:fs";
import { join, resolve } from "node:path";
import type { ModelRegistry, ServedModel } from "../api/context.js";
import type { AdapterSource } from "../config.js";
import { adapterNameFault } from "../config.js";
import type { NativeAdapterInfo, NativeEngine } from "../engine/native.js";
import { ModelError } from "./model-error.js";

/** An adapter that requests may name. Its handle is its generation: a reloaded folder gets a new one. */
export interface ServedAdapter extends ServedModel {
  readonly info: NativeAdapterInfo;
}

/** Names of the base and of the adapters on it. */
export class AdapterRegistry implements ModelRegistry {
  readonly base: ServedModel;
  readonly #engine: NativeEngine;
  readonly #adapters = new Map<string, ServedAdapter>();

  constructor(engine: NativeEngine, baseName: string, modelPath: string) {
    this.#engine = engine;
    this.base = { name: baseName, adapter: 0, parent: null, root: modelPath, created: now() };
  }

  find(name: string): ServedModel | undefined {
    return name === this.base.name ? this.base : this.#adapters.get(name);
  }

  list(): readonly ServedModel[] {
    return [this.base, ...this.adapters()];
  }

  /** By name. */
  adapters(): readonly ServedAdapter[] {
    return [...this.#adapters.values()].sort((a, b) => (a.name < b.name ? -1 : 1));
  }

  /** Maps and validates a folder and serves it under `name`. Throws the engine's error, or ModelError. */
  async register({ name, path }: AdapterSource): Promise<ServedAdapter> {
    if (this.find(name) !== undefined) throw new ModelError(`the name "${name}" is taken`);
    const root = resolve(path);
    const info = await this.#engine.loadAdapter(root);
    const parent = this.base.name;
    const adapter = { name, adapter: info.handle, parent, root, created: now(), info };
    this.#adapters.set(name, adapter);
    return adapter;
  }
}

/** The adapters in a folder of adapters, named after their folders. Throws ModelError. */
export function findAdapters(folder: string): AdapterSource[] {
  if (!existsSync(folder) || !statSync(folder).isDirectory()) {
    throw new ModelError(`--adapters-dir: there is no folder "${folder}"`);
  }
  return readdirSync(folder)
    .filter((name) => adapterNameFault(name) === null)
    .filter((name) => existsSync(join(folder, name, "adapter_config.json")))
    .sort()
    .map((name) => ({ name, path: join(folder, name) }));
}

function now(): number {
  return Math.floor(Date.now() / 1000);
}
