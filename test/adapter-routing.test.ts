import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { complete, exitOf, refusal, serve, TINY } from "./support/command.js";

interface Level {
  readonly tokens: readonly number[];
  readonly evenness: number | null;
  readonly unused: number;
}

interface Told {
  readonly id: string;
  readonly levels: readonly (Level & { readonly experts: number; readonly active: number })[];
  readonly layers: readonly { readonly layer: number; readonly levels: readonly Level[] }[];
  readonly linears: readonly {
    readonly layer: number;
    readonly name: string;
    readonly levels: readonly (readonly number[])[];
  }[];
}

interface Consistency {
  readonly generations: number;
  readonly tokens: number;
  readonly segment: number;
  readonly levels: readonly {
    readonly srp: number;
    readonly experts_per_use: number;
    readonly cache: readonly {
      readonly experts: number;
      readonly sch: number;
      readonly lru: number;
    }[];
    readonly enough: number;
  }[];
}

const sum = (numbers: readonly number[]) => numbers.reduce((a, b) => a + b, 0);

test("how consistent the routing is comes from generations that are looked at, as smore inspect tells it", async (t) => {
  const { url } = await serve(t, ["--adapters-dir", join(TINY, "adapters")]);
  const address = `${url}/v1/adapters/smore-switch/routing`;
  const consistency = async () => {
    const told = (await (await fetch(address)).json()) as { consistency: Consistency | null };
    return told.consistency;
  };
  assert.equal(await consistency(), null);
  const body = { model: "smore-switch", prompt: [1, 2, 3, 4, 5], max_tokens: 40 };
  assert.equal((await complete(url, body)).status, 200);
  const sampled = await consistency();
  assert.deepEqual([sampled?.generations, sampled?.tokens, sampled?.segment], [1, 40, 16]);

  const folder = mkdtempSync(join(tmpdir(), "smore-routing-"));
  t.after(() => rmSync(folder, { recursive: true }));
  const file = join(folder, "answer.json");
  const answer = await complete(url, { ...body, return_routing: true });
  writeFileSync(file, await answer.text());
  const { code, output } = await exitOf(["inspect", file, "--routing"]);
  assert.equal(code, 0);
  const inspected = [...output.matchAll(/SRP over 16 tokens (\S+), with (\S+) experts/g)];
  assert.equal(inspected.length, sampled!.levels.length);
  for (const [i, [, srp, perUse]] of inspected.toReversed().entries()) {
    const level = sampled!.levels[i]!; // leaves first, as inspect tells the root first
    assert.ok(Math.abs(level.srp - Number(srp)) <= 1e-3, `${level.srp} ${srp}`);
    assert.ok(Math.abs(level.experts_per_use - Number(perUse)) <= 1e-2);
    const all = level.cache.at(-1)!;
    assert.deepEqual([all.sch, all.lru], [1, 1]);
    assert.ok(level.cache.some(({ experts }) => experts === level.enough));
  }
});

test("the routing of a served adapter is told by level, layer and linear", async (t) => {
  const { url } = await serve(t, ["--adapters-dir", join(TINY, "adapters")]);
  const ask = async (name: string) => {
    const answer = await fetch(`${url}/v1/adapters/${name}/routing`);
    assert.equal(answer.status, 200);
    return (await answer.json()) as Told;
  };
  const before = await ask("smore-switch");
  for (const { tokens, evenness, unused, experts } of before.levels) {
    assert.deepEqual([sum(tokens), evenness], [0, null]);
    assert.equal(unused, experts * before.linears.length);
  }
  const body = { model: "smore-switch", prompt: [1, 2, 3, 4, 5], max_tokens: 8 };
  assert.equal((await complete(url, body)).status, 200);
  const { id, levels, layers, linears } = await ask("smore-switch");
  assert.equal(id, "smore-switch");
  assert.ok(linears.length > layers.length && layers.length > 1);
  for (const [level, { tokens, evenness, unused, active }] of levels.entries()) {
    const trees = linears.map((linear) => linear.levels[level]!);
    assert.deepEqual(
      tokens,
      trees[0]!.map((_, e) => sum(trees.map((tree) => tree[e]!))),
    );
    assert.ok(evenness !== null && evenness > 0 && evenness <= 1);
    assert.equal(unused, trees.flat().filter((count) => count === 0).length);
    assert.ok(sum(trees[0]!) >= 12 * active, "12 rows took their experts");
    for (const tree of trees)
      assert.ok(sum(tree) >= 8 * active, "the last layer reads out some rows");
    const ofLayers = layers.map((layer) => layer.levels[level]!.tokens);
    assert.deepEqual(
      tokens,
      tokens.map((_, e) => sum(ofLayers.map((counts) => counts[e]!))),
    );
  }
  assert.equal((await ask("lora")).levels.length, 0);
  const unknown = await refusal(await fetch(`${url}/v1/adapters/legal/routing`));
  assert.deepEqual([unknown.status, unknown.code], [404, "adapter_not_found"]);
  assert.equal((await fetch(`${url}/v1/adapters/legal`)).status, 404);
});
