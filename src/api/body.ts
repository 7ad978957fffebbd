import { ApiError } from "../errors.js";
import { readJson, TooManyError } from "../json/read.js";
import { spread } from "../turns.js";
import { isJsonObject, type JsonObject } from "./schema.js";

/** Top-level fields of a body. */
const MAX_FIELDS = 256;

/** Bodies up to so many bytes are read in one go, which takes about a millisecond at most. */
const READ_AT_ONCE = 64 << 10;

/** The JSON object in a body; of a large one over turns of the event loop. Rejects with ApiError. */
export async function readBody(bytes: Buffer): Promise<JsonObject> {
  const value = bytes.length > READ_AT_ONCE ? await readLong(bytes) : readShort(bytes);
  if (!isJsonObject(value)) throw new ApiError("invalid_json");
  const fields = Object.keys(value).length;
  if (fields > MAX_FIELDS) {
    const message = `The body has ${fields} fields; at most ${MAX_FIELDS} are allowed.`;
    throw new ApiError("invalid_parameter", { message });
  }
  return value;
}

const utf8 = new TextDecoder("utf-8", { fatal: true });

/** JSON is UTF-8, and what is not must not be repaired in silence. */
function readShort(bytes: Buffer): unknown {
  try {
    return JSON.parse(utf8.decode(bytes));
  } catch (cause) {
    throw new ApiError("invalid_json", { cause });
  }
}

async function readLong(bytes: Buffer): Promise<unknown> {
  try {
    return await spread(readJson(bytes));
  } catch (cause) {
    if (!(cause instanceof TooManyError)) throw new ApiError("invalid_json", { cause });
    throw new ApiError("invalid_parameter", { message: cause.message, cause });
  }
}
