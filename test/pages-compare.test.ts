import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import type { Browser } from "puppeteer-core";
import { mixOf } from "../src/scheduler/mix.js";
import { noBrowser, openBrowser, says, textOf } from "./support/browser.js";
import { DONE, openReadyPlayground, send } from "./support/playground.js";

/** Two models side by side in the playground, in a real browser in front of the fake model. */

let browser: Browser;

describe("the playground, comparing,", { skip: noBrowser() }, () => {
  before(async () => {
    browser = await openBrowser();
  });
  after(() => browser.close());

  test("one click sets an adapter beside the base, and both answer the same question", async (test) => {
    const { page, generator } = await openReadyPlayground(test, browser);
    await page.click("#compare");
    await send(page, "Hello");
    await page.waitForFunction(`document.querySelectorAll('${DONE}').length === 2`);
    const handles = generator.requests.map(({ mix }) => mix[0]?.handle ?? 0);
    assert.deepEqual(handles.sort(), [0, 1]);
    const followed = '.pane + .pane .piece[aria-selected="true"]';
    assert.equal(await textOf(page, followed), "!", "the adapter's tokens are followed");
    await page.click("#compare");
    assert.equal((await page.$$(".pane")).length, 1);
  });

  test("beside an adapter stands the base, and an empty chat says what its model is", async (test) => {
    const { page } = await openReadyPlayground(test, browser);
    await says(page, ".empty", /^Ask the base model something\.Choose an adapter above/);
    await page.select(".pane select", "tuned");
    await says(page, ".empty", /^Every token chooses its experts\./);
    await page.click("#compare");
    const chosen = await page.$$eval(".pane select", (selects) =>
      selects.map((select) => (select as unknown as { value: string }).value),
    );
    assert.deepEqual(chosen, ["tuned", "fake"]);
  });

  test("a comparison goes on from what was said, and tells who said it", async (test) => {
    const { page, generator } = await openReadyPlayground(test, browser, { tokenDelayMs: 5 });
    await send(page, "Where is the moon?");
    await page.waitForSelector("#compare:disabled");
    await says(page, DONE, /round!/);
    await page.click("#compare");
    await says(page, ".pane + .pane", /moon\?fake answered:The moon is far\. It is round!/);
    assert.equal(await page.$eval(".by", (found) => found.hasAttribute("hidden")), true);
    await page.click(".pane + .pane .piece");
    assert.equal(
      (await page.$$('.piece[aria-selected="true"]')).length,
      2,
      "one answer, seen twice",
    );
    await send(page, "And the sun?");
    await page.waitForFunction(`document.querySelectorAll('${DONE}').length === 4`);
    const [base, tuned] = generator.requests.slice(1);
    assert.deepEqual([base?.mix, tuned?.mix], [[], mixOf(1)]);
    assert.deepEqual(base?.prompt, tuned?.prompt);
    assert.match(Buffer.from(tuned!.prompt).toString(), /round!\n<user>And the sun/);
  });

  test("on a phone two panes are named above, and a tap or a swipe goes from one to the other", async (test) => {
    const { page } = await openReadyPlayground(test, browser, {}, { width: 360, height: 740 });
    const seen = (name: string) =>
      page.waitForFunction(
        `document.querySelector('.pane-switch [aria-pressed="true"]')?.textContent === "${name}"`,
      );
    const secondBegins = (left: string) =>
      page.waitForFunction(
        `document.querySelector(".pane + .pane").getBoundingClientRect().left ${left}`,
      );
    assert.equal(await page.$eval("#pane-switch", (found) => found.hasAttribute("hidden")), true);
    await page.click("#compare");
    await seen("fake");
    await secondBegins("< 340"); // its edge is in sight
    await page.click(".pane-switch button:last-child");
    await seen("tuned");
    await secondBegins("< 60");
    await page.evaluate("document.getElementById('panes').scrollTo(0, 0)");
    await seen("fake");
    await page.select(".pane + .pane select", "fake");
    assert.equal(await textOf(page, "#pane-switch"), "fakefake");
  });
});
