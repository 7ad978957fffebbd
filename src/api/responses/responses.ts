import type { Endpoint } from "../endpoint.js";
import type { Job } from "../job.js";
import { parseAsChat } from "../translate.js";
import { ResponseEncoder } from "./encode.js";
import { type Echo, FIELD_NAMES, parseResponseOrder } from "./input.js";

/** POST /v1/responses: OpenAI's newer API of conversations. Nothing is kept between requests. */

export interface ResponseJob extends Job {
  readonly repeated: Echo;
}

export const responses: Endpoint<ResponseJob> = {
  idPrefix: "resp_",
  operation: "chat",
  framing: "named",
  async parse(fields, context, alwaysStreams, admit) {
    const { chat, repeated } = parseResponseOrder(fields);
    const job = await parseAsChat(chat, FIELD_NAMES, context, alwaysStreams, admit);
    return { ...job, includeUsage: true, repeated };
  },
  encoder: (job, envelope, names) => new ResponseEncoder(job, envelope, names),
};
