import assert from "node:assert/strict";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { CARD_FILE, NO_CARD } from "./card.js";
import { CardThread } from "./card-thread.js";

test("cards that are asked for together come each to whom asked for it, and a fault to one alone", async (t) => {
  const root = mkdtempSync(join(tmpdir(), "smore-cards-"));
  t.after(() => rmSync(root, { recursive: true }));
  const folder = (name: string, card: string | null) => {
    const path = join(root, name);
    mkdirSync(path);
    if (card !== null) writeFileSync(join(path, CARD_FILE), card);
    return path;
  };
  const thread = new CardThread();
  const told = thread.read(folder("told", "---\ntask: Tells tales.\n---\n"));
  const broken = thread.read(folder("broken", "---\ntask: [\n---\n"));
  const bare = thread.read(folder("bare", null));
  await assert.rejects(broken, { name: "ModelError", message: /README\.md: front matter: / });
  assert.deepEqual(await told, { ...NO_CARD, task: "Tells tales." });
  assert.deepEqual(await bare, NO_CARD);
});

test("a card that ends the thread is refused alone", async () => {
  const script = `
    import { parentPort } from "node:worker_threads";
    parentPort.on("message", ({ id, folder }) => {
      if (folder === "deadly") throw new Error("the end");
      parentPort.postMessage({ id, card: folder });
    });
  `;
  const thread = new CardThread(new URL(`data:text/javascript,${encodeURIComponent(script)}`));
  const folders = ["one", "deadly", "two", "deadly", "three"];
  const read = await Promise.allSettled(folders.map((folder) => thread.read(folder)));
  assert.deepEqual(
    read.map((outcome) => (outcome.status === "fulfilled" ? outcome.value : "refused")),
    ["one", "refused", "two", "refused", "three"],
  );
});
