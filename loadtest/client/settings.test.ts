import assert from "node:assert/strict";
import { test } from "node:test";
import { parseOptions, UsageError } from "../../src/cli/options.js";
import { spreadValues } from "../options.js";
import { makeSamples } from "./dataset.js";
import { CLIENT_OPTIONS, SPREAD_FLAGS } from "./options.js";
import { seededRandom } from "./random.js";
import { readSettings } from "./settings.js";

const read = (line: string) =>
  parseOptions(CLIENT_OPTIONS, spreadValues(line.split(" "), SPREAD_FLAGS), {}).values;

test("flags of several values are read as vLLM's client reads them", () => {
  const options = read("--lora-modules a b c --goodput ttft:500 tpot:20.5 --num-prompts 3");
  assert.deepEqual(options.loraModules, ["a", "b", "c"]);
  assert.equal(options.numPrompts, 3);
  const { goodput } = readSettings(options);
  assert.deepEqual(
    [...goodput],
    [
      ["ttft", 500],
      ["tpot", 20.5],
    ],
  );
});

test("rates are numbers or inf, and a ramp takes the place of a rate", () => {
  assert.equal(readSettings(read("--request-rate inf")).pace.rate, Infinity);
  const { pace } = readSettings(read("--ramp-up-strategy linear --ramp-up-start-rps 2"));
  assert.deepEqual(pace.rampUp, { strategy: "linear", start: 2, end: 10 });
});

test("what cannot be obeyed is refused by its flag", () => {
  const refused = [
    ["--request-rate 0", /--request-rate must be a number more than 0, not "0"/],
    ["--request-rate 3 --ramp-up-strategy linear", /exclude each other/],
    ["--goodput itl:3", /--goodput must be/],
    ["--metric-percentiles 50,101", /--metric-percentiles/],
    ["--extra-body [1]", /--extra-body/],
    ["--dataset-name custom", /--dataset-path/],
    ["--dataset-name random --backend openai-chat", /use words/],
    ["--header x", /--header must be KEY=VALUE/],
  ] as const;
  for (const [line, message] of refused) {
    assert.throws(
      () => readSettings(read(line)),
      (error) => {
        assert.ok(error instanceof UsageError, line);
        assert.match(error.message, message);
        return true;
      },
    );
  }
});

test("prompts have the length asked for, within its range, after the prefix that all share", () => {
  const options = read(
    "--dataset-name random --random-input-len 20 --random-range-ratio 0.5 --random-prefix-len 4 --random-vocab-size 9",
  );
  const samples = makeSamples(200, options, seededRandom(1));
  const prompts = samples.map(({ prompt }) => prompt as readonly number[]);
  const lengths = prompts.map(({ length }) => length);
  assert.deepEqual([Math.min(...lengths), Math.max(...lengths)], [14, 34]);
  assert.ok(prompts.every((ids) => ids.every((id) => id >= 0 && id < 9)));
  assert.equal(new Set(prompts.map((ids) => ids.slice(0, 4).join())).size, 1);
  const words = makeSamples(1, read("--random-input-len 48"), seededRandom(1))[0]!.prompt as string;
  assert.equal(words.split(" ").length, 48);
});
