import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { fixtureText } from "../../test/support/text-fixtures.js";
import { ApiError } from "../errors.js";
import { JinjaChatTemplate } from "./chat-template.js";
import { renderContinued } from "./continued.js";

const options = { addGenerationPrompt: false };
const conversation = (last: string) => [
  { role: "user", content: "hi" },
  { role: "assistant", content: last },
];

test("the default model's template leaves the last message open, whatever it says", async () => {
  const { template } = fixtureText("smollm2");
  const render = (messages: Parameters<typeof template.render>[0]) =>
    template.render(messages, options);
  const opening = await template.render(conversation("x").slice(0, 1), {
    addGenerationPrompt: true,
  });
  const texts = fc.oneof(fc.string(), fc.constantFrom("<|im_end|>", "im", " a ", ""));
  await fc.assert(
    fc.asyncProperty(texts, async (last) => {
      assert.equal(await renderContinued(conversation(last), render), opening + last);
    }),
  );
});

test("blanks at the end go where the template trims messages", async () => {
  const source = "{% for m in messages %}[{{ m.role }}] {{ m.content | trim }}</s>\n{% endfor %}";
  const template = new JinjaChatTemplate(source, {});
  const text = await renderContinued(conversation("one, two, "), (messages) =>
    template.render(messages, options),
  );
  assert.equal(text, "[user] hi</s>\n[assistant] one, two,");
});

test("a template that does not show the last message is told", async () => {
  const template = new JinjaChatTemplate("{{ messages[0].content }}", {});
  await assert.rejects(
    renderContinued(conversation("x"), (messages) => template.render(messages, options)),
    (error) => error instanceof ApiError && error.code === "invalid_messages",
  );
});
