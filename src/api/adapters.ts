import { ApiError } from "../errors.js";
import { lazyList } from "../json/write.js";
import type { AdapterCard } from "../models/card.js";
import type { AdapterLoad, ApiContext, ServedAdapter } from "./context.js";
import { Fields, invalid, type JsonObject } from "./schema.js";

/**
 * GET /v1/adapters, POST /v1/load_lora_adapter and /v1/unload_lora_adapter: vLLM's routes and fields,
 * with JSON answers. The list alone tells all there is to know of an adapter.
 */

export function listAdapters({ adapters }: ApiContext) {
  const shown = [
    ...adapters.adapters().map((adapter) => () => readyAdapter(adapter, adapters)),
    ...adapters.loads().map((load) => () => loadingAdapter(load)),
  ];
  return { object: "list", data: lazyList(shown, (show) => show()) };
}

function readyAdapter(adapter: ServedAdapter, adapters: ApiContext["adapters"]) {
  const { info } = adapter;
  const place = adapters.place(adapter);
  return {
    id: adapter.name,
    object: "adapter",
    state: "ready",
    parent: adapter.parent,
    path: adapter.root,
    created: adapter.created,
    kind: info.kind,
    generation: adapter.adapter,
    pinned: adapter.pinned,
    running: adapters.running(adapter),
    tier: place.resident ? "host" : "disk",
    bytes: info.bytes,
    resident_bytes: place.residentBytes,
    parameters: info.parameters,
    levels: info.tree,
    linears: info.linears,
    hits: place.hits,
    misses: place.misses,
    card: cardObject(adapter.card),
  };
}

function cardObject({ task, base, license, scores, examples, auto }: AdapterCard) {
  return {
    ...{ task, base_model: base, license, auto: auto && examples.length > 0, scores },
    examples: examples.map((messages) => ({ messages })),
  };
}

function loadingAdapter({ name, root, progress }: AdapterLoad) {
  return { id: name, object: "adapter", state: "loading", path: root, progress };
}

/** `unknownFields` hears of what the client sent and nobody reads. Throws ApiError. */
export async function loadAdapter(
  body: JsonObject,
  { adapters }: ApiContext,
  unknownFields: (names: readonly string[]) => void,
) {
  const fields = new Fields(body);
  const name = requiredText(fields, "lora_name");
  const given = requiredText(fields, "lora_path");
  const inPlace = fields.boolean("load_inplace") ?? false;
  const pin = fields.boolean("pin") ?? false;
  unknownFields(fields.unread());
  const path = await adapters.allowedPath(given);
  try {
    const adapter = await adapters.load({ name, path, pin, inPlace });
    const message = `Success: LoRA adapter '${name}' added successfully.`;
    const { kind, parameters, bytes } = adapter.info;
    const generation = adapter.adapter;
    return {
      status: "success",
      message,
      adapter: { id: name, kind, generation, parameters, bytes },
    };
  } catch (error) {
    throw folderFault(error);
  }
}

export async function unloadAdapter(
  body: JsonObject,
  { adapters }: ApiContext,
  unknownFields: (names: readonly string[]) => void,
) {
  const fields = new Fields(body);
  const name = requiredText(fields, "lora_name");
  fields.raw("lora_int_id"); // vLLM's own number of the adapter; the name says it all
  unknownFields(fields.unread());
  await adapters.unload(name);
  return { status: "success", message: `Success: LoRA adapter '${name}' removed successfully.` };
}

function requiredText(fields: Fields, name: string): string {
  const value = fields.string(name);
  if (value === undefined || value === "") throw invalid(name, "a string", value);
  return value;
}

/** The engine's errors carry a code and name file and tensor: the client can do something about them. */
function folderFault(error: unknown): unknown {
  if (error instanceof ApiError || !(error instanceof Error) || !("code" in error)) return error;
  return new ApiError("invalid_adapter", { message: error.message, param: "lora_path" });
}
