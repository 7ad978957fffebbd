import assert from "node:assert/strict";
import { after, before, describe, type TestContext, test } from "node:test";
import type { Browser, Page } from "puppeteer-core";
import type { Lifecycle } from "../src/api/context.js";
import { FakeGenerator, fakeContext } from "../src/engine/fake.js";
import { NO_CARD } from "../src/models/card.js";
import { apiKey, type Setup, until } from "./harness.js";
import { noBrowser, openBrowser, says, textOf, type View } from "./support/browser.js";
import { DONE, openPlayground, openReadyPlayground, send } from "./support/playground.js";
import { routedAnswer } from "./support/routed-answer.js";

/** The playground in a real browser, in front of the fake model. */

let browser: Browser;

const open = (test: TestContext, setup: Setup = {}, view: View = {}) =>
  openPlayground(test, browser, setup, view);
const openReady = (test: TestContext, setup: Setup = {}, view: View = {}) =>
  openReadyPlayground(test, browser, setup, view);

/** Chats are answered by a recorded stream in place of the server's own. */
async function replay(page: Page, stream: string): Promise<void> {
  await page.setRequestInterception(true);
  page.on("request", (request) => {
    if (!request.url().endsWith("/v1/chat/completions")) return void request.continue();
    assert.equal(JSON.parse(request.postData() ?? "").return_routing, true);
    void request.respond({ status: 200, contentType: "text/event-stream", body: stream });
  });
}

describe("the playground in Chromium", { skip: noBrowser() }, () => {
  before(async () => {
    browser = await openBrowser();
  });
  after(() => browser.close());

  test("an answer streams, is timed and is read out", async (test) => {
    const { page, generator } = await openReady(test, { tokenDelayMs: 2 });
    await send(page, "Where is the moon?");
    await says(page, DONE, /The moon is far\. It is round!/);
    assert.match(await textOf(page, ".speed"), /^TTFT \d+ ms · [\d.]+ tok\/s · \d+ tok$/);
    assert.equal(await textOf(page, "#announcer"), "It is round!");
    // What changes with every token must not be read out as well.
    const live = "output, [role=status], [role=log], [aria-live]";
    const told = await page.$$eval(live, (regions) => regions.map((region) => region.textContent));
    assert.ok(!told.some((text) => /TTFT|“/.test(text ?? "")), told.join());
    assert.deepEqual(generator.requests[0]?.mix, [], "the base is chosen");
    await send(page, "And the sun?");
    await page.waitForFunction(`document.querySelectorAll('${DONE}').length === 2`);
    const prompt = Buffer.from(generator.requests[1]!.prompt).toString();
    assert.match(
      prompt,
      /<user>Where is the moon\?\n<assistant>The moon is far.*\n<user>And the sun/,
    );
  });

  test("sampling, seed and system message reach the server", async (test) => {
    const { page, generator } = await openReady(test);
    await page.click("#sampling summary");
    await page.focus("#sampling-temperature");
    for (let i = 0; i < 6; i++) await page.keyboard.press("ArrowRight");
    await page.focus("#sampling-top_k");
    for (let i = 0; i < 3; i++) await page.keyboard.press("ArrowRight");
    await page.type("#seed", "42");
    await page.type("#system", "Be brief.");
    assert.match(await textOf(page, "#sampling-summary"), /temperature 0\.5 · top_k 3/);
    await send(page, "Hello");
    await says(page, DONE, /moon/);
    const [request] = generator.requests;
    assert.equal(request?.sampling.temperature, 0.5);
    assert.equal(request.sampling.topK, 3);
    assert.match(Buffer.from(request.prompt).toString(), /^<system>Be brief\.\n<user>Hello/);
  });

  test("the way of a token is drawn, for every token, layer and linear", async (test) => {
    const { page } = await openReady(test);
    await replay(page, routedAnswer("tuned", ["One", " two", " three"]));
    await send(page, "Count");
    await says(page, DONE, /One two three/);

    // While it streams the newest token is shown.
    await says(page, "#token-name", /“␣three”/);
    await page.click(".piece");
    await says(page, "#token-name", /“One”/);
    const label = () => page.$eval("#tree svg", (svg) => svg.getAttribute("aria-label"));
    assert.equal(
      await label(),
      "The way of the token “One” in layer 12, gate_proj. " +
        "Level 1: expert 0 with 0.75, expert 2 with 0.25. " +
        "Level 0: expert 0 below 0 with 0.70, expert 2 below 0 with 0.30, " +
        "expert 1 below 2 with 0.60, expert 3 below 2 with 0.40.",
    );
    assert.equal((await page.$$("#tree .node")).length, 8);
    assert.equal((await page.$$("#tree .node.taken")).length, 6);
    assert.equal((await page.$$("#tree .edge")).length, 6);

    await page.focus(".pieces");
    await page.keyboard.press("ArrowRight");
    await says(page, "#token-name", /“␣two”/);
    assert.equal(await textOf(page, '.piece[aria-selected="true"]'), " two");
    await page.select("#layer", "13");
    await page.select("#linear", "up_proj");
    await page.waitForSelector(
      '#tree svg[aria-label*="“␣two” in layer 13, up_proj. Level 1: expert 0"]',
    );

    await page.click("#next-token");
    await page.click("#next-token");
    await says(page, "#token-name", /“end”/);
    assert.equal(
      await page.$eval("#next-token", (button) => (button as { disabled?: boolean }).disabled),
      true,
    );
  });

  test("the heat map has every expert of every layer, and choosing a layer there moves the tree", async (test) => {
    const { page } = await openReady(test);
    await page.select(".pane select", "tuned");
    await replay(page, routedAnswer("tuned", ["One", " two", " three"]));
    await send(page, "Count");
    await says(page, DONE, /three/);
    await page.click(".piece");
    await says(page, "#heat-scope", /gate_proj, 4 tokens of tuned/);
    const cells = await page.$$eval("#heat .cell title", (titles) =>
      titles.map((title) => title.textContent),
    );
    assert.equal(cells.length, 2 * (4 + 4));
    // Over four tokens in turn each root expert is taken twice, of eight choices.
    assert.ok(cells.includes("layer 12, level 1, expert 3: 25 %"), cells.join());
    assert.equal((await page.$$("#heat .taken")).length, 2 * (2 + 4));
    assert.equal(await textOf(page, "#heat-most"), "25 %");
    const last = (await page.$$("#heat .cell")).at(-1)!;
    await last.click();
    await page.waitForSelector('#tree svg[aria-label*="layer 13"]');
  });

  test("without routing the page says that the server gave none", async (test) => {
    const { page } = await openReady(test);
    const plain = routedAnswer("tuned", ["One"]).replace(/,"routing":\{.*?\}(?=\}\]\})/g, "");
    assert.doesNotMatch(plain, /routing/);
    await replay(page, plain);
    await send(page, "Count");
    await says(page, DONE, /One/);
    await says(page, "#routing-note", /The server sent no routing with this answer\./);
    assert.equal(await page.$eval("#routing", (found) => found.hasAttribute("hidden")), true);
  });

  test("the base has no experts, and the page says so", async (test) => {
    const { page } = await openReady(test);
    const base = { adapters: [], layers: [], tokens: [{ id: 1, routes: [] }] };
    const chunk = { choices: [{ delta: { content: "Hi" }, finish_reason: null, routing: base }] };
    await replay(page, `data: ${JSON.stringify(chunk)}\n\ndata: [DONE]\n\n`);
    await send(page, "Hello");
    await says(page, "#routing-note", /has no experts to choose between/);
  });

  test("adapters that come and go can be chosen at once, and what was chosen stays", async (test) => {
    const context = (generator: FakeGenerator) => {
      const made = fakeContext(generator, {}, ["sql", "tuned"]);
      const { models } = made;
      const list = () => models.list().filter(({ name }) => served.includes(name));
      return { ...made, models: { ...models, list } };
    };
    let served = ["fake", "tuned"];
    const { page } = await openReady(test, { context });
    const shown = () =>
      page.$eval(".pane select", (select) => {
        const { value, options } = select as unknown as {
          value: string;
          options: { value: string }[];
        };
        return [value, ...[...options].map((option) => option.value)].join();
      });
    assert.equal(await shown(), "fake,fake,tuned");
    await page.select(".pane select", "tuned");
    served = ["fake", "sql", "tuned"];
    await says(page, "#state", /2 adapters/);
    assert.equal(await shown(), "tuned,fake,sql,tuned");
    served = ["fake", "sql"];
    await says(page, "#state", /1 adapter$/);
    assert.equal(await shown(), "fake,fake,sql");
  });

  test("an adapter's examples can be asked by a click, and stay in focus while the page looks anew", async (test) => {
    const context = (generator: FakeGenerator) => {
      const made = fakeContext(generator);
      const tuned = made.models.find("tuned")!;
      const told = (...contents: string[]) =>
        contents.map((content) => ({ role: "user", content }));
      const card = {
        ...NO_CARD,
        examples: [told("Where is my order?"), told("One.", "Two."), told("Be kind!")],
      };
      const adapters = () => [{ ...tuned, info: tuned.info!, card, pinned: false }];
      return { ...made, adapters: { ...made.adapters, adapters } };
    };
    const { page, generator } = await openReady(test, { context });
    assert.equal((await page.$$(".empty button")).length, 0, "the base has none");
    await page.select(".pane select", "tuned");
    await page.waitForSelector(".empty button");
    const shown = await page.$$eval(".empty button", (found) =>
      found.map(({ textContent }) => textContent),
    );
    assert.deepEqual(shown, ["Where is my order?", "Be kind!"]);
    await page.focus(".empty li:last-child button");
    await page.waitForResponse((response) => response.url().endsWith("/v1/adapters"));
    await page.waitForResponse((response) => response.url().endsWith("/v1/adapters"));
    await page.keyboard.press("Enter");
    await page.keyboard.press("Enter"); // in the message now
    await says(page, DONE, /moon/);
    const prompt = Buffer.from(generator.requests[0]!.prompt).toString();
    assert.match(prompt, /<user>Be kind!\n/);
  });

  test("what the server refuses stands below the answer in its own words", async (test) => {
    const { page } = await openReady(test, { capacity: 0 });
    await send(page, "Hello");
    await says(
      page,
      '.answer[data-state="failed"] [role=alert]',
      /^The server's queue is full; try again later\.$/,
    );
  });

  test("an answer that fails half way keeps what came and tells why", async (test) => {
    const failure = { after: 4, code: "engine_failed" as const, message: "The engine failed." };
    const { page } = await openReady(test, { failure });
    await send(page, "Hello");
    await says(page, '.answer[data-state="failed"]', /^The +The engine failed\.$/);
  });

  test("Escape stops the answer, and the next question knows what was said", async (test) => {
    const { page, generator } = await openReady(test, {
      tokenDelayMs: 25,
      reply: () => "a".repeat(400),
    });
    await send(page, "Hello");
    await page.waitForSelector(".piece");
    await page.keyboard.press("Escape");
    await says(page, '.answer[data-state="stopped"]', /Stopped\.$/);
    await until(() => generator.cancelled === 1, "the generation is cancelled");
    await send(page, "More");
    await until(() => generator.requests.length === 2, "the next question is asked");
    assert.match(
      Buffer.from(generator.requests[1]!.prompt).toString(),
      /<assistant>a+\n<user>More/,
    );
  });

  test("a server that asks for a key gets it from a form", async (test) => {
    const { page } = await open(test, { options: { apiKeys: [apiKey("sk-right")] } });
    await page.waitForSelector("#key-form:not([hidden])");
    assert.equal(await page.evaluate("document.activeElement.id"), "key");
    await page.keyboard.type("sk-wrong");
    await page.keyboard.press("Enter");
    await says(page, "#key-error", /^Incorrect API key provided\.$/);
    await page.$eval("#key", (field) => field.setAttribute("value", ""));
    await page.click("#key", { count: 3 });
    await page.keyboard.type("sk-right");
    await page.keyboard.press("Enter");
    await says(page, "#state[data-phase=ready]", /fake, 1 adapter/);
    assert.equal(await page.$eval("#key-form", (form) => form.hasAttribute("hidden")), true);
    await send(page, "Hello");
    await says(page, DONE, /moon/);
  });

  test("a server that still loads is shown with its progress, and used once it is ready", async (test) => {
    const context = fakeContext(new FakeGenerator());
    let lifecycle: Lifecycle = {
      phase: "loading",
      progress: 0.4,
      detail: "packing weights",
      context: null,
    };
    const { page } = await open(test, { options: { lifecycle: () => lifecycle } });
    await says(page, "#state[data-phase=loading]", /^loading 40 %, packing weights$/);
    lifecycle = { phase: "ready", progress: 1, detail: "", context };
    await says(page, "#state[data-phase=ready]", /fake, 1 adapter/);
  });

  for (const scheme of ["light", "dark"] as const) {
    test(`nothing is wider than a phone, and text can be read, in ${scheme}`, async (test) => {
      const { page } = await openReady(test, {}, { width: 360, height: 740, scheme });
      await replay(
        page,
        routedAnswer("tuned", ["Some", " words", " that-cannot-be-broken".repeat(6)]),
      );
      await page.click("#compare");
      await page.click("#sampling summary");
      await send(page, "Count");
      await says(page, DONE, /words/);
      await fits(page);
      await page.click("#inside-toggle");
      await page.waitForSelector("#tree svg");
      await fits(page);
      for (const [text, ground] of PAIRS) {
        const ratio = await contrast(page, text, ground);
        assert.ok(ratio >= 4.5, `${text} on ${ground}: ${ratio.toFixed(2)}`);
      }
    });
  }

  test("every control is reached by Tab, shows its focus and has a name", async (test) => {
    const { page } = await openReady(test);
    await replay(page, routedAnswer("tuned", ["One", " two"]));
    await send(page, "Count");
    await says(page, DONE, /One two/);
    await page.click(".piece");
    await page.evaluate("document.activeElement.blur(); window.getSelection().removeAllRanges()");
    await page.focus(".skip");
    const visited: string[] = [];
    for (let i = 0; i < 40 && visited.at(-1) !== "linear"; i++) {
      await page.keyboard.press("Tab");
      const { name, outline } = (await page.evaluate(FOCUSED)) as { name: string; outline: string };
      assert.notEqual(outline, "none", `${name} shows no focus`);
      visited.push(name);
    }
    assert.deepEqual(visited, [
      ...[
        "compare",
        "renew",
        "Model of Conversation",
        "Answer of fake; arrow keys select its tokens",
      ],
      ...["Sampling", "message", "send", "next-token", "layer", "linear"],
    ]);
    const tree = await page.accessibility.snapshot();
    const nameless = namelessControls(tree as AccessibleNode);
    assert.deepEqual(nameless, []);
  });
});

/** What has the focus, by id or else by name. */
const FOCUSED = `(() => {
  const { activeElement: found } = document;
  const name = found.id || found.getAttribute("aria-label") || found.firstChild.textContent.trim();
  return { name, outline: getComputedStyle(found).outlineStyle };
})()`;

/** Colours of text and what they stand on. */
const PAIRS = [
  ["--ink", "--ground"],
  ["--ink", "--sunken"],
  ["--muted", "--ground"],
  ["--muted", "--surface"],
  ["--on-accent", "--accent"],
  ["--fault", "--ground"],
] as const;

/** Contrast of two colours, as WCAG 2 defines it. */
async function contrast(page: Page, text: string, ground: string): Promise<number> {
  const luminances = await Promise.all([text, ground].map((name) => luminance(page, name)));
  const [dark = 0, light = 0] = luminances.sort((a, b) => a - b);
  return (light + 0.05) / (dark + 0.05);
}

async function luminance(page: Page, name: string): Promise<number> {
  const hex = String(
    await page.evaluate(
      `getComputedStyle(document.documentElement).getPropertyValue("${name}").trim()`,
    ),
  );
  const channels = [1, 3, 5].map((at) => Number.parseInt(hex.slice(at, at + 2), 16) / 255);
  const [red = 0, green = 0, blue = 0] = channels.map((value) =>
    value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4,
  );
  return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
}

/** No part of the page is cut off at its right side, but in panes that are swiped through. */
async function fits(page: Page): Promise<void> {
  const cut = await page.evaluate(`[...document.querySelectorAll("body *")]
    .filter((found) => !found.closest(".pane, .unseen") && found.getBoundingClientRect().right > innerWidth + 0.5)
    .map((found) => found.outerHTML.slice(0, 80))`);
  assert.deepEqual(cut, []);
  assert.equal(await page.evaluate("document.documentElement.scrollWidth"), 360);
}

interface AccessibleNode {
  readonly role: string;
  readonly name?: string;
  readonly children?: readonly AccessibleNode[];
}

const CONTROLS = ["button", "textbox", "combobox", "slider", "listbox", "image"];

function namelessControls({ role, name, children = [] }: AccessibleNode): string[] {
  const own = CONTROLS.includes(role) && (name ?? "") === "" ? [role] : [];
  return [...own, ...children.flatMap(namelessControls)];
}
