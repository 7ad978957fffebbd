import type { TokenPiece } from "../choice.js";
import { lazyChatLogprobs, type TokenNames } from "../logprobs.js";
import type { CallDelta } from "../tool-calls.js";

/** The items of a Response's output, as they grow. */

export type ItemStatus = "in_progress" | "completed" | "incomplete" | "failed";

export interface MessageItem {
  readonly type: "message";
  readonly id: string;
  text: string;
  readonly pieces: TokenPiece[]; // those with log-probabilities
  status: ItemStatus;
}

export interface CallItem {
  readonly type: "function_call";
  readonly id: string;
  readonly call_id: string;
  readonly name: string;
  arguments: string;
  status: ItemStatus;
}

export type Item = MessageItem | CallItem;

export function newMessage(id: string): MessageItem {
  return { type: "message", id, text: "", pieces: [], status: "in_progress" };
}

export function newCall(id: string, opening: NonNullable<CallDelta["opening"]>): CallItem {
  const { id: call_id, name } = opening;
  return { type: "function_call", id, call_id, name, arguments: "", status: "in_progress" };
}

export function itemObject(item: Item, names: TokenNames): object {
  if (item.type === "function_call") return item;
  const { type, id, status } = item;
  return { type, id, status, role: "assistant", content: [partObject(item, names)] };
}

/** Plain, but for the lazy list of its log-probabilities. */
export function partObject({ text, pieces }: MessageItem, names: TokenNames) {
  const logprobs = lazyChatLogprobs(pieces, names).content;
  return { type: "output_text", text, annotations: [], logprobs };
}
