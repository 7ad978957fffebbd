import { cpSync, rmSync, writeFileSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import { CARD_FILE } from "../../src/models/card.js";
import type { Scenario } from "./scenarios.js";

const NAME = "hold-long-card";

/** A copy of an adapter with a card of about 12 kB, beside it: the server may load what is there. */
export class LongCard {
  readonly scenario: Scenario;
  readonly #folder: string;

  constructor(adapter: string) {
    this.#folder = join(dirname(adapter), `.${basename(adapter)}-${NAME}`);
    cpSync(adapter, this.#folder, { recursive: true, dereference: true });
    writeFileSync(join(this.#folder, CARD_FILE), longCard());
    const named = { lora_name: NAME };
    this.scenario = {
      name: "an adapter with a long card",
      path: "/v1/load_lora_adapter",
      body: JSON.stringify({ ...named, lora_path: this.#folder }),
      status: 200,
      next: {
        name: "its end",
        path: "/v1/unload_lora_adapter",
        body: JSON.stringify(named),
        status: 200,
      },
    };
  }

  remove(): void {
    rmSync(this.#folder, { recursive: true });
  }
}

/** As many examples as are read. */
function longCard(): string {
  const examples = Array.from({ length: 64 }, (_, i) => {
    const asked = `${i}. ${"What would you say to somebody who asks? ".repeat(3)}`;
    return `  - messages:\n      - role: user\n        content: "${asked}"`;
  });
  return ["---", "task: Answers at length.", "widget:", ...examples, "---", ""].join("\n");
}
