import { resolve } from "node:path";
import type {
  AdapterControl,
  AdapterLoad,
  AdapterOrder,
  AdapterRouting,
  ModelRegistry,
  ServedAdapter,
  ServedModel,
} from "../api/context.js";
import { adapterNameFault } from "../config.js";
import type { NativeAdapterInfo, NativeAdapterPlace, NativeEngine } from "../engine/native.js";
import { ApiError } from "../errors.js";
import { entered } from "../hold.js";
import { olderFormatFault } from "./adapter-files.js";
import type { AdapterRoots } from "./adapter-roots.js";
import { type AdapterCard, NO_CARD } from "./card.js";

/** What becomes of an adapter in the engine; src/scheduler/loop.ts knows who uses it. */
export interface AdapterHolder {
  /** Keeps it in memory; false when there is no room. */
  keep(adapter: number): Promise<boolean>;
  /** How many generations go through it now. */
  running(adapter: number): number;
  /** Unloads it once nobody uses it. */
  retire(adapter: number): void;
}

/** Hears which adapters can be asked for. */
export interface AdapterFollower {
  served(adapter: ServedAdapter): void;
  retired(adapter: ServedAdapter): void;
}

export interface RegistryOptions {
  readonly engine: NativeEngine;
  readonly holder: AdapterHolder;
  readonly roots: AdapterRoots;
  readonly baseName: string;
  readonly modelPath: string;
  readonly followers: readonly AdapterFollower[];
  /** Reads the card in a folder, on another thread. */
  readonly readCard: (folder: string) => Promise<AdapterCard>;
  /** Hears of a card that cannot be read: its adapter is served without one. */
  readonly onCardFault: (name: string, error: Error) => void;
}

/** Names of the base and of the adapters on it. */
export class AdapterRegistry implements ModelRegistry, AdapterControl {
  readonly base: ServedModel;
  readonly #options: RegistryOptions;
  readonly #adapters = new Map<string, ServedAdapter>();
  readonly #names = new Map<number, string>(); // by handle
  readonly #loads = new Map<string, AdapterLoad>();
  /** One after the other: checking a folder reads all of it, and requests need the disk too. */
  #turn: Promise<unknown> = Promise.resolve();

  constructor(options: RegistryOptions) {
    this.#options = options;
    const { baseName, modelPath } = options;
    const created = now();
    const none = { parent: null, info: null, card: null };
    this.base = { name: baseName, adapter: 0, root: modelPath, created, ...none };
  }

  find(name: string): ServedModel | undefined {
    return name === this.base.name ? this.base : this.#adapters.get(name);
  }

  list(): readonly ServedModel[] {
    return [this.base, ...this.adapters()];
  }

  adapters(): readonly ServedAdapter[] {
    return [...this.#adapters.values()].sort((a, b) => (a.name < b.name ? -1 : 1));
  }

  get size(): number {
    return this.#adapters.size;
  }

  /** Undefined for adapters that are no longer served. */
  infoOf(handle: number): NativeAdapterInfo | undefined {
    const name = this.#names.get(handle);
    const served = name === undefined ? undefined : this.#adapters.get(name);
    return served?.adapter === handle ? served.info : undefined;
  }

  /** Undefined for adapters that are no longer served. */
  nameOf(handle: number): string | undefined {
    return this.#names.get(handle);
  }

  loading(name: string): AdapterLoad | undefined {
    return this.#adapters.has(name) ? undefined : this.#loads.get(name);
  }

  loads(): readonly AdapterLoad[] {
    return [...this.#loads.values()];
  }

  place({ adapter }: ServedAdapter): NativeAdapterPlace {
    return this.#options.engine.adapterPlace(adapter);
  }

  routing({ adapter }: ServedAdapter): AdapterRouting {
    const { engine } = this.#options;
    return { total: engine.routing(adapter), linears: engine.routingByLinear(adapter) };
  }

  running({ adapter }: ServedAdapter): number {
    return this.#options.holder.running(adapter);
  }

  allowedPath(path: string): Promise<string> {
    return this.#options.roots.allow(path);
  }

  load(order: AdapterOrder): Promise<ServedAdapter> {
    const { name, inPlace } = order;
    const fault = adapterNameFault(name);
    if (fault !== null) {
      const message = `lora_name ${fault}.`;
      return Promise.reject(new ApiError("invalid_parameter", { message, param: "lora_name" }));
    }
    const taken = this.#takenBy(name, inPlace);
    if (taken !== null) {
      const message = `The name "${name}" ${taken}.`;
      return Promise.reject(new ApiError("adapter_exists", { message, param: "lora_name" }));
    }
    const root = resolve(order.path);
    const checked = new Float64Array(1);
    const loaded = this.#turn.then(() => this.#load(order, root, checked));
    const ended = loaded.then(
      () => {},
      () => {},
    );
    this.#turn = ended;
    this.#loads.set(name, {
      name,
      root,
      ended,
      get progress() {
        return checked[0]!;
      },
    });
    return loaded.finally(() => this.#loads.delete(name));
  }

  async unload(name: string): Promise<void> {
    await this.#loads.get(name)?.ended;
    const adapter = this.#adapters.get(name);
    if (adapter === undefined) {
      const message =
        name === this.base.name
          ? `"${name}" is the base model, which stays.`
          : `There is no adapter "${name}".`;
      throw new ApiError("adapter_not_found", { message, param: "lora_name" });
    }
    this.#adapters.delete(name);
    this.#retire(adapter);
  }

  /** Why an adapter cannot have this name now; null where it can. */
  #takenBy(name: string, inPlace: boolean): string | null {
    if (name === this.base.name) return "is the base model's";
    if (this.#loads.has(name)) return "is being loaded";
    if (this.#adapters.has(name) && !inPlace) {
      return "is another adapter's, which load_inplace replaces";
    }
    return null;
  }

  async #load(
    { name, pin }: AdapterOrder,
    root: string,
    progress: Float64Array,
  ): Promise<ServedAdapter> {
    const { engine, holder } = this.#options;
    const older = await olderFormatFault(root);
    if (older !== null)
      throw new ApiError("invalid_adapter", { message: older, param: "lora_path" });
    const info = await engine.loadAdapter(root, progress);
    entered("adapter");
    if (pin && !(await holder.keep(info.handle))) {
      holder.retire(info.handle);
      throw new ApiError("adapter_memory_full");
    }
    const card = await this.#card(name, root);
    const before = this.#adapters.get(name);
    const served = {
      ...{ name, adapter: info.handle, parent: this.base.name, root, created: now(), info },
      ...{ pinned: pin, card },
    };
    this.#adapters.set(name, served);
    this.#names.set(info.handle, name);
    for (const follower of this.#options.followers) follower.served(served);
    if (before !== undefined) this.#retire(before);
    return served;
  }

  async #card(name: string, root: string): Promise<AdapterCard> {
    try {
      return await this.#options.readCard(root);
    } catch (error) {
      this.#options.onCardFault(name, error as Error);
      return NO_CARD;
    }
  }

  #retire(served: ServedAdapter): void {
    this.#names.delete(served.adapter);
    for (const follower of this.#options.followers) follower.retired(served);
    this.#options.holder.retire(served.adapter);
  }
}

function now(): number {
  return Math.floor(Date.now() / 1000);
}
