import { parentPort, workerData } from "node:worker_threads";
import { ApiError } from "../errors.js";
import { JinjaTemplate } from "./jinja-template.js";
import type { RenderAnswer, Rendered, RenderOrder, TemplateSource } from "./template-thread.js";

/** The thread that renders long conversations. */

const { source, specialTokens } = workerData as TemplateSource;
const template = new JinjaTemplate(source, specialTokens);
const port = parentPort!;

port.on("message", ({ id, json }: RenderOrder) => {
  const { messages, options } = JSON.parse(json) as Rendered;
  let answer: RenderAnswer;
  try {
    answer = { id, text: template.render(messages, options) };
  } catch (error) {
    if (!(error instanceof ApiError)) throw error;
    answer = { id, refusal: error.message };
  }
  port.postMessage(answer);
});
