import { JinjaTemplate } from "./jinja-template.js";
import { TemplateThread } from "./template-thread.js";
import type { ChatMessage, ChatTemplate, RenderOptions } from "./text.js";
import { type ToolFormat, toolFormatOf } from "./tool-format.js";

/** Messages and tools that are rendered at once, in a millisecond at most; more on another thread. */
const RENDERED_AT_ONCE = 32;

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
    const size = messages.length + (options.tools?.length ?? 0);
    if (size > RENDERED_AT_ONCE) return this.#thread.render(messages, options);
    return this.#template.render(messages, options);
  }
}
