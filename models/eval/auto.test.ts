import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, it } from "node:test";
import { fileURLToPath } from "node:url";
import { tellings } from "../../src/api/auto.js";
import { EncoderThread } from "../../src/encoders/encoder.js";
import { FakeGenerator, fakeContext } from "../../src/engine/fake.js";
import { fakeAdapterInfo } from "../../src/engine/fake-engine.js";
import { type AdapterCard, NO_CARD, readCard } from "../../src/models/card.js";
import { Router } from "../../src/router/router.js";
import { autoTable, groups, judge, type Row } from "./auto.js";
import { taskNames } from "./tasks.js";

/** What `npm run eval -- --auto` prints, without the server: the encoder and the cards decide alone. */

const fromRoot = (path: string) => fileURLToPath(new URL(`../../../${path}`, import.meta.url));
const ADAPTERS = fromRoot("models/adapters");
const { models } = fakeContext(new FakeGenerator());

async function rowsOf(cards: ReadonlyMap<string, AdapterCard>): Promise<Row[]> {
  const router = new Router({
    start: () => EncoderThread.start(fromRoot("models/router"), 1),
    threshold: null,
    fallback: null,
    onChoice: () => {},
    onFault: assert.fail,
  });
  try {
    for (const [i, [name, card]] of [...cards].entries()) {
      const place = { parent: models.base.name, root: "", created: 0, pinned: false };
      const info = fakeAdapterInfo(i + 1);
      router.served({ name, adapter: i + 1, info, card, ...place });
    }
    return await judge(await groups([...cards.keys()], await taskNames()), 16, async (messages) => {
      const { name } = await router.choose(tellings(messages), models);
      return name === models.base.name ? null : name;
    });
  } finally {
    await router.close();
  }
}

/** The share of right choices among those for adapters, and among those for none. */
function shares(rows: readonly Row[]) {
  const share = (own: readonly Row[]) =>
    own.reduce((sum, { right }) => sum + right, 0) / own.reduce((sum, { cases }) => sum + cases, 0);
  return {
    adapters: share(rows.filter(({ wanted }) => wanted !== "none")),
    unrelated: share(rows.filter(({ group }) => group === "unrelated")),
  };
}

const cards = new Map(
  readdirSync(ADAPTERS)
    .map((name) => [name, readCard(join(ADAPTERS, name))] as const)
    .filter(([, { auto, examples }]) => auto && examples.length > 0),
);

describe("the choice of adapters", () => {
  it("is right for the held-out cases and for unrelated prompts, as docs/adapters.md tells", async () => {
    const rows = await rowsOf(cards);
    const { adapters, unrelated } = shares(rows);
    assert.ok(adapters >= 0.95, `${adapters}`);
    assert.ok(unrelated >= 0.9, `${unrelated}`);
    const told = readFileSync(fromRoot("docs/adapters.md"), "utf8").split("\n");
    for (const line of autoTable(rows).split("\n")) {
      const [group = "", , , right = ""] = line.split(/ {2,}/);
      const cells = told.find((other) => other.startsWith(`${group} `))?.split(/ {2,}/);
      // Another processor rounds differently, and what is at the threshold falls on its other side.
      const off = Math.abs(Number.parseFloat(cells?.[3] ?? "") - Number.parseFloat(right));
      assert.ok(line.startsWith("prompts of") || off <= 1, line);
    }
  });

  it("takes an adapter for a task that the encoder never saw by its card alone", async () => {
    const file = fromRoot("models/eval/arithmetic-examples.json");
    const prompts = JSON.parse(readFileSync(file, "utf8")) as string[];
    const examples = prompts.map((content) => [{ role: "user", content }]);
    const rows = await rowsOf(new Map([...cards, ["arithmetic", { ...NO_CARD, examples }]]));
    const own = rows.find(({ group }) => group === "arithmetic")!;
    assert.ok(own.right / own.cases >= 0.85, `${own.right} of ${own.cases}`);
    const { adapters, unrelated } = shares(rows);
    assert.ok(adapters >= 0.9 && unrelated >= 0.9, `${adapters} ${unrelated}`);
  });
});
