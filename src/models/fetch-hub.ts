import { createHash } from "node:crypto";
import { existsSync } from "node:fs";
import { open, rm, stat } from "node:fs/promises";
import { basename } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import type { Source } from "./catalog.js";
import type { Fetched } from "./fetch.js";
import { ModelError } from "./model-error.js";
import { createProgress, type Progress } from "./progress.js";

const TRIES = 5;
const STALL_MS = 30_000; // without a byte: the connection is given up and resumed

/** What the hub says of a file before it is read. */
interface RemoteFile {
  readonly url: string;
  readonly bytes: number | null;
  readonly sha256: string | null; // known for large files
  readonly version: string | null; // changes with the contents; null: cannot be resumed
}

/** A file of a Hugging Face repository; what is already here of this very version is resumed. */
export async function fetchFromHub(
  source: Extract<Source, { kind: "hf" }>,
  target: string,
): Promise<Fetched> {
  const label = `${source.repo}/${source.file}`;
  const remote = await withRetries(label, () => lookUp(source, label));
  const part = `${target}.${remote.version ?? "new"}.part`;
  const progress = createProgress(`fetching ${basename(target)}`, remote.bytes);
  let complete = false;
  try {
    await withRetries(label, () => readInto(part, remote, label, progress));
    complete = true;
  } finally {
    progress.end(complete);
  }
  return { file: part, sha256: remote.sha256, cleanUp: async () => {} };
}

/** The hub's own answer, not that of the storage it points to, carries size and checksum. */
async function lookUp(
  { repo, file }: Extract<Source, { kind: "hf" }>,
  label: string,
): Promise<RemoteFile> {
  const url = `${process.env.HF_ENDPOINT || "https://huggingface.co"}/${repo}/resolve/main/${file}`;
  const response = await fetch(url, {
    method: "HEAD",
    redirect: "manual",
    headers: authorization(),
    signal: AbortSignal.timeout(STALL_MS),
  });
  if (response.status >= 400) throw refusal(response.status, label);
  const { headers } = response;
  const tag = (headers.get("x-linked-etag") ?? headers.get("etag") ?? "").replace(/^W\/|"/g, "");
  const size = headers.get("x-linked-size") ?? (response.ok ? headers.get("content-length") : null);
  return {
    url,
    bytes: size === null ? null : Number(size),
    sha256: /^[0-9a-f]{64}$/.test(tag) ? tag : null,
    version: tag === "" ? null : createHash("sha256").update(tag).digest("hex").slice(0, 16),
  };
}

async function readInto(part: string, remote: RemoteFile, label: string, progress: Progress) {
  let have = remote.version !== null && existsSync(part) ? (await stat(part)).size : 0;
  if (have > 0 && have === remote.bytes) return;
  const stalled = new AbortController();
  const timer = setTimeout(() => stalled.abort(new Error("no data for 30 s")), STALL_MS);
  try {
    const response = await fetch(remote.url, {
      headers: { ...authorization(), ...(have > 0 ? { range: `bytes=${have}-` } : {}) },
      signal: stalled.signal,
    });
    if (response.status === 416) await rm(part); // longer than the file: begin again
    if (!response.ok) throw refusal(response.status, label);
    if (response.body === null) throw new Error("the answer has no body");
    if (response.status !== 206) have = 0; // the whole file from its beginning
    const file = await open(part, have > 0 ? "a" : "w");
    try {
      // Written one by one, so that what had come when a connection was cut is there to resume.
      for await (const chunk of response.body) {
        timer.refresh();
        await file.writeFile(chunk);
        have += chunk.length;
        progress.update(have);
      }
    } finally {
      await file.close();
    }
  } finally {
    clearTimeout(timer);
  }
  if (remote.bytes !== null && have !== remote.bytes) throw new Error("the connection was cut");
}

function authorization(): Record<string, string> {
  const token = process.env.HF_TOKEN;
  return token ? { authorization: `Bearer ${token}` } : {};
}

/** Answers that trying again will not change; the others are worth another try. */
function refusal(status: number, label: string): Error {
  if (status === 404) return new ModelError(`the hub has no file ${label}`);
  if (status === 401 || status === 403) {
    return new ModelError(
      `the hub refuses ${label} (${status}): set HF_TOKEN to a token with access`,
    );
  }
  return new Error(`the hub answered ${status}`);
}

async function withRetries<T>(label: string, attempt: () => Promise<T>): Promise<T> {
  for (let tried = 1; ; tried++) {
    try {
      return await attempt();
    } catch (error) {
      if (error instanceof ModelError) throw error;
      if (tried === TRIES)
        throw new ModelError(`cannot fetch ${label}: ${reason(error)}; ${OFFLINE}`);
      await sleep(250 * 2 ** tried);
    }
  }
}

/** fetch() says "fetch failed" and keeps the reason in its cause. */
function reason(error: unknown): string {
  const { message, cause } = error as Error;
  return cause instanceof Error ? cause.message : message;
}

const OFFLINE =
  "is there a network? HF_ENDPOINT names a mirror of the hub, and a model file or folder of your own " +
  "needs neither: --model PATH";
