import { Template } from "@huggingface/jinja";
import { ApiError } from "../errors.js";
import type { ChatMessage, RenderOptions } from "./text.js";

/** The model's own template. What it raises goes to the client: it says which roles the model takes. */
export class JinjaTemplate {
  private readonly template: Template | Error;
  private readonly knowsDeveloper: boolean;
  private readonly specialTokens: Readonly<Record<string, string>>;

  /** `specialTokens`: bos_token, eos_token and others that templates print. */
  constructor(source: string, specialTokens: Readonly<Record<string, string>>) {
    this.template = parse(source);
    this.knowsDeveloper = source.includes("developer");
    this.specialTokens = specialTokens;
  }

  /** Throws ApiError("invalid_messages"). */
  render(messages: readonly ChatMessage[], options: RenderOptions): string {
    if (this.template instanceof Error) {
      const detail = oneLine(this.template);
      const message = `The model's chat template cannot be read (${detail}); use /v1/completions.`;
      throw new ApiError("invalid_messages", { message, param: "messages" });
    }
    try {
      return this.template.render({
        ...this.specialTokens,
        messages: messages.map((message) => this.withKnownRole(message)),
        add_generation_prompt: options.addGenerationPrompt,
        ...(options.tools === undefined ? {} : { tools: options.tools }),
      });
    } catch (error) {
      const message = `The model's chat template refuses these messages: ${oneLine(error)}`;
      throw new ApiError("invalid_messages", { message, param: "messages", cause: error });
    }
  }

  /** OpenAI's "developer" is what "system" was; templates older than the word know only that. */
  private withKnownRole(message: ChatMessage): ChatMessage {
    if (message.role !== "developer" || this.knowsDeveloper) return message;
    return { ...message, role: "system" };
  }
}

function parse(source: string): Template | Error {
  try {
    return new Template(source);
  } catch (error) {
    return error instanceof Error ? error : new Error(String(error));
  }
}

function oneLine(error: unknown): string {
  const text = error instanceof Error ? error.message : String(error);
  return text.replaceAll(/\s+/g, " ").trim();
}
