import { JinjaTemplate } from "./jinja-template.js";
import { TemplateThread } from "./template-thread.js";
import type { ChatMessage, ChatTemplate, RenderOptions } from "./text.js";
import { type ToolFormat, toolFormatOf } from "./tool-format.js";

/** Messages and tools that are rendered at once, in a millisecond at most; more on another thread. */
const RENDERED_AT_ONCE = 32;
/** The same of values in them, where so many characters of a text count as another one. */
const VALUES_AT_ONCE = 1000;
const CHARACTERS_PER_VALUE = 256;

/** The model's own template. */
export class JinjaChatTemplate implements ChatTemplate {
  readonly toolFormat: ToolFormat | null;
  readonly #template: JinjaTemplate;
  readonly #thread: TemplateThread;

  /** `specialTokens`: bos_token, eos_token and others that templates print. */
  constructor(source: string, specialTokens: Readonly<Record<string, string>>) {
    this.toolFormat = toolFormatOf(source);
    this.#template = new JinjaTemplate(source, specialTokens);
    this.#thread = new TemplateThread({ source, specialTokens });
  }

  async render(messages: readonly ChatMessage[], options: RenderOptions): Promise<string> {
    const { tools = [] } = options;
    const many = messages.length + tools.length > RENDERED_AT_ONCE;
    if (many || valuesIn([messages, tools], VALUES_AT_ONCE) >= VALUES_AT_ONCE) {
      return this.#thread.render(messages, options);
    }
    return this.#template.render(messages, options);
  }
}

/** Counted no further than `most`. */
function valuesIn(value: unknown, most: number): number {
  if (typeof value === "string") return 1 + Math.floor(value.length / CHARACTERS_PER_VALUE);
  if (typeof value !== "object" || value === null) return 1;
  let count = 1;
  for (const key in value) {
    count += valuesIn((value as Record<string, unknown>)[key], most - count);
    if (count >= most) return count;
  }
  return count;
}
