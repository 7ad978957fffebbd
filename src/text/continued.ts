import { randomBytes } from "node:crypto";
import { ApiError } from "../errors.js";
import type { ChatMessage } from "./text.js";

/**
 * A conversation whose last message is still open, so that the model goes on with it: what the template
 * writes of it up to that message's end. A word that nobody wrote marks the end, since the message's own
 * text may occur anywhere, in the template's words too. Rejects with ApiError("invalid_messages") when the
 * template does not show the message.
 */
export async function renderContinued(
  messages: readonly ChatMessage[],
  render: (messages: readonly ChatMessage[]) => Promise<string>,
): Promise<string> {
  const mark = `mark${randomBytes(12).toString("hex")}`;
  const last = messages.at(-1)!;
  const marked = { ...last, content: `${last.content}${mark} ` };
  const text = await render([...messages.slice(0, -1), marked]);
  const end = text.lastIndexOf(mark);
  if (end < 0) {
    const message =
      "The model's chat template does not show the last message, so it cannot be continued.";
    throw new ApiError("invalid_messages", { message, param: "messages" });
  }
  const open = text.slice(0, end);
  // Where a template trims messages, the model has seen none that ends with blanks.
  const trimmed = text[end + mark.length] !== " ";
  return trimmed ? open.trimEnd() : open;
}
