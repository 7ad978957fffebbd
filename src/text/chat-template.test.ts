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
      const prompted = template.render([{ role: "user", content: text }], prompt);
      assert.equal(prompted, rendered);
      assert.deepEqual(await tokenizer.encode(prompted), prompt_ids);
      assert.equal(tokenizer.decode(greedy_ids), greedy_text);
    }
  });
});

describe("a chat template", () => {
  const user = (content: string) => ({ role: "user", content });

  it("refuses with its own words, as an error of the request", () => {
    const source =
      "{% if messages[0].role == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}";
    const template = new JinjaChatTemplate(source, {});
    assert.throws(
      () => template.render([{ role: "system", content: "x" }], prompt),
      (error: unknown) =>
        error instanceof ApiError &&
        error.code === "invalid_messages" &&
        error.param === "messages" &&
        error.message.endsWith("System role not supported"),
    );
  });

  it("that cannot be parsed refuses every conversation and says why", () => {
    const template = new JinjaChatTemplate("{% if %}", {});
    assert.throws(() => template.render([user("x")], prompt), /cannot be read .*v1\/completions/);
  });

  it("gets the model's special tokens, the tools and whether to begin an answer", () => {
    const source =
      "{{ bos_token }}{% for m in messages %}{{ m.content }}{% endfor %}{% if tools %}{{ tools[0].name }}{% endif %}{% if add_generation_prompt %}>{% endif %}";
    const template = new JinjaChatTemplate(source, { bos_token: "<s>" });
    assert.equal(template.render([user("a"), user("b")], prompt), "<s>ab>");
    const tools = [{ name: "f" }];
    assert.equal(template.render([user("a")], { addGenerationPrompt: false, tools }), "<s>af");
  });

  it("sees a developer's message as the system's where it does not know the word", () => {
    const message = { role: "developer", content: "x" };
    const old = new JinjaChatTemplate("{{ messages[0].role }}", {});
    assert.equal(old.render([message], prompt), "system");
    const aware = new JinjaChatTemplate("{# developer #}{{ messages[0].role }}", {});
    assert.equal(aware.render([message], prompt), "developer");
  });
});
