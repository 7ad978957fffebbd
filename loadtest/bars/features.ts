import { fileURLToPath } from "node:url";
import { CommandError } from "../../src/cli/command.js";
import { readMetrics } from "../client/server-counters.js";
import { SMORE, withServer } from "../processes.js";

/** What grammars and a sentence encoder cost a server in memory, once both are used. */

/** The encoder that comes with the server, seen from dist/loadtest/bars. */
const ENCODER = fileURLToPath(new URL("../../../models/router", import.meta.url));

const SCHEMA = {
  type: "object",
  properties: { name: { type: "string", maxLength: 20 }, age: { type: "integer", minimum: 0 } },
  required: ["name", "age"],
  additionalProperties: false,
};

/** Bytes resident beyond those of the same server that has answered a text. */
export async function measureFeatures(model: string | null): Promise<number> {
  const common = ["serve", "--threads", "2", "--log-level", "error", "--no-router"];
  const args = [...common, ...(model === null ? [] : ["--model", model])];
  const plain = await withServer(SMORE, args, async (url) => {
    await complete(url, {});
    return residentBytes(url);
  });
  const full = await withServer(SMORE, [...args, "--encoder", ENCODER], async (url) => {
    await complete(url, {});
    await complete(url, { guided_json: SCHEMA });
    await ask(url, "/v1/embeddings", { model: "router", input: ["red", "the blue sky"] });
    return residentBytes(url);
  });
  return full - plain;
}

async function complete(url: string, fields: object): Promise<void> {
  const { data } = (await (await fetch(`${url}/v1/models`)).json()) as { data: { id: string }[] };
  const body = { model: data[0]!.id, prompt: "Once", max_tokens: 40, temperature: 0, ...fields };
  await ask(url, "/v1/completions", body);
}

async function ask(url: string, path: string, body: object): Promise<void> {
  const request = { method: "POST", body: JSON.stringify(body) };
  const response = await fetch(`${url}${path}`, request);
  const text = await response.text();
  if (!response.ok) throw new CommandError(`${path}: ${text}`);
}

async function residentBytes(url: string): Promise<number> {
  return (await readMetrics(url))("process_resident_memory_bytes");
}
