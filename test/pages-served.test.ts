import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { fileURLToPath } from "node:url";
import type { Browser } from "puppeteer-core";
import { noBrowser, openBrowser, openPage, says } from "./support/browser.js";
import { serve } from "./support/command.js";

/** The playground with the default model and its adapter, as users get them. */

const MODEL = process.env.SMORE_TEST_MODEL;
const ADAPTER = fileURLToPath(new URL("../../models/adapters/function-calls", import.meta.url));
const skip = MODEL === undefined ? "SMORE_TEST_MODEL is not set" : noBrowser();

/** Two panes side by side have answered. */
const BOTH = `document.querySelectorAll('.answer[data-state="done"]').length === 2`;

/** The tree is the selected token's. */
const SHOWN = `document.querySelector("#tree svg").ariaLabel.includes(document.querySelector("#token-name").textContent)`;

describe("the playground with the default model", { skip }, () => {
  let browser: Browser;
  before(async () => {
    browser = await openBrowser();
  });
  after(() => browser.close());

  test("the way of real tokens through the trained tree is shown", async (test) => {
    const names = ["--served-model-name", "base", "--adapter", `function-calls=${ADAPTER}`];
    const { url } = await serve(test, ["--model", MODEL!, ...names]);
    const page = await openPage(test, browser);
    await page.goto(url);
    await says(page, "#state[data-phase=ready]", /base, 1 adapter/);
    await says(page, "#memory", /function-calls.*on disk until it is asked for/);

    await page.click("#compare");
    await page.click("#sampling summary");
    await page.focus("#sampling-temperature");
    await page.keyboard.press("Home");
    await page.type("#message", "Set a 25 minute timer.");
    await page.keyboard.press("Enter");
    await page.waitForFunction(BOTH, { timeout: 60_000 });
    await says(
      page,
      ".pane:last-child .pieces",
      /\{"name": "set_timer", "arguments": \{"minutes": 25\}\}/,
    );

    // Four experts at each of two levels, two chosen below each node, in layers 12 to 29.
    await page.waitForSelector("#tree svg");
    assert.equal((await page.$$("#tree .node")).length, 8);
    assert.equal((await page.$$("#tree .edge")).length, 2 + 4);
    const layers = await page.$$eval("#layer option", (options) =>
      options.map(({ textContent }) => textContent),
    );
    assert.deepEqual(
      layers,
      Array.from({ length: 18 }, (_, i) => String(12 + i)),
    );
    assert.equal((await page.$$("#heat .cell")).length, 18 * (4 + 4));
    const ways = new Set<string | null>();
    for (const piece of await page.$$(".pane:last-child .piece")) {
      await piece.click();
      await page.waitForFunction(SHOWN);
      const told = await page.$eval("#tree svg", (tree) => tree.getAttribute("aria-label"));
      ways.add(told!.slice(told!.indexOf("Level 1")));
    }
    assert.ok(ways.size > 10, `tokens take ways of their own: ${ways.size}`);

    await page.click(".pane:first-child .piece");
    await says(page, "#routing-note", /^base has no experts to choose between/);
    await says(page, "#memory", /function-calls.*in memory/);
  });
});
