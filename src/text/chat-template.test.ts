import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { fixtureText, readFixture } from "../../test/support/text-fixtures.js";
import { ApiError } from "../errors.js";
import { JinjaChatTemplate } from "./chat-template.js";

const prompt = { addGenerationPrompt: true };

describe("the default model's chat template", () => {
  const { template, tokenizer } = fixtureText("smollm2");
  const { cases } = JSON.parse(readFixture("smollm2/golden.json"));

  it("renders the recorded conversations to the recorded text and ids", async () => {
    const chats = cases.filter((item: { kind: string }) => item.kind === "chat");
    assert.ok(chats.length > 0);
    for (const { text, rendered, prompt_ids, greedy_ids, greedy_text } of chats) {
      const prompted = await template.render([{ role: "user", content: text }], prompt);
      assert.equal(prompted, rendered);
      assert.deepEqual(await tokenizer.encode(prompted), prompt_ids);
      assert.equal(tokenizer.decode(greedy_ids), greedy_text);
    }
  });
});

describe("a chat template", () => {
  const user = (content: string) => ({ role: "user", content });

  it("refuses with its own words, as an error of the request", async () => {
    const source =
      "{% if messages[0].role == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}";
    const template = new JinjaChatTemplate(source, {});
    await assert.rejects(
      template.render([{ role: "system", content: "x" }], prompt),
      (error: unknown) =>
        error instanceof ApiError &&
        error.code === "invalid_messages" &&
        error.param === "messages" &&
        error.message.endsWith("System role not supported"),
    );
  });

  it("that cannot be parsed refuses every conversation and says why", async () => {
    const template = new JinjaChatTemplate("{% if %}", {});
    await assert.rejects(template.render([user("x")], prompt), /cannot be read .*v1\/completions/);
  });

  it("gets the model's special tokens, the tools and whether to begin an answer", async () => {
    const source =
      "{{ bos_token }}{% for m in messages %}{{ m.content }}{% endfor %}{% if tools %}{{ tools[0].name }}{% endif %}{% if add_generation_prompt %}>{% endif %}";
    const template = new JinjaChatTemplate(source, { bos_token: "<s>" });
    assert.equal(await template.render([user("a"), user("b")], prompt), "<s>ab>");
    const tools = [{ name: "f" }];
    assert.equal(
      await template.render([user("a")], { addGenerationPrompt: false, tools }),
      "<s>af",
    );
  });

  it("sees a developer's message as the system's where it does not know the word", async () => {
    const message = { role: "developer", content: "x" };
    const old = new JinjaChatTemplate("{{ messages[0].role }}", {});
    assert.equal(await old.render([message], prompt), "system");
    const aware = new JinjaChatTemplate("{# developer #}{{ messages[0].role }}", {});
    assert.equal(await aware.render([message], prompt), "developer");
  });

  describe("on a long conversation", () => {
    const long = Array.from({ length: 2000 }, (_, i) => user(`message ${i}, `));

    it("writes what it writes on a short one, on another thread", async () => {
      const source =
        "{% for m in messages %}{{ m.role }}: {{ m.content }}{% endfor %}{{ eos_token }}";
      const template = new JinjaChatTemplate(source, { eos_token: "</s>" });
      let turns = 0;
      let counting = setImmediate(function count() {
        turns += 1;
        counting = setImmediate(count);
      });
      const texts = await Promise.all(
        [long, long.toReversed()].map((all) => template.render(all, prompt)),
      );
      clearImmediate(counting);
      const expected = long.map(({ content }) => `user: ${content}`);
      assert.deepEqual(texts, [
        `${expected.join("")}</s>`,
        `${expected.toReversed().join("")}</s>`,
      ]);
      assert.ok(turns > 0, "the event loop went on meanwhile");
    });

    it("refuses with its own words, and goes on", async () => {
      const source = "{% if not tools %}{{ raise_exception('no tools') }}{% endif %}fine";
      const template = new JinjaChatTemplate(source, {});
      await assert.rejects(
        template.render(long, prompt),
        (error) => error instanceof ApiError && /no tools$/.test(error.message),
      );
      assert.equal(await template.render(long, { ...prompt, tools: [{}] }), "fine");
    });
  });
});
