/** Every error that a client can meet: code -> HTTP status, OpenAI type and default message. */

/** What ran out, in the words of OpenAI's answers with status 429. */
type LimitType = "requests" | "tokens" | "insufficient_quota";

interface ErrorRow {
  readonly status: number;
  readonly type: "invalid_request_error" | "server_error" | LimitType;
  readonly message: string;
  /** Seconds until a retry makes sense. */
  readonly retryAfter?: number;
  /** Bodies of these carry `code: null`, as OpenAI's do. */
  readonly nullCode?: true;
  /** What bodies carry as `code` in place of the key. */
  readonly bodyCode?: string;
}

const INVALID = "invalid_request_error";
const SERVER = "server_error";

export const ERRORS = {
  invalid_json: {
    status: 400,
    type: INVALID,
    message:
      "We could not parse the JSON body of your request. The server expects a JSON object in UTF-8.",
    nullCode: true,
  },
  invalid_parameter: { status: 400, type: INVALID, message: "A parameter has an invalid value." },
  invalid_adapter: { status: 400, type: INVALID, message: "This is not a usable adapter." },
  adapter_exists: { status: 400, type: INVALID, message: "The name is taken." },
  invalid_messages: {
    status: 400,
    type: INVALID,
    message: "The model's chat template refuses these messages.",
  },
  /** Every grammar comes from a client, and one that ends nowhere or takes too long would again. */
  grammar_failed: {
    status: 400,
    type: INVALID,
    message: "The grammar of the answer could not be followed.",
  },
  not_supported: { status: 400, type: INVALID, message: "This is not supported." },
  context_length_exceeded: {
    status: 400,
    type: INVALID,
    message: "The request exceeds this model's maximum context length.",
  },
  missing_api_key: {
    status: 401,
    type: INVALID,
    message:
      "You didn't provide an API key. Send it in the Authorization header: Authorization: Bearer YOUR_KEY",
    nullCode: true,
  },
  invalid_api_key: { status: 401, type: INVALID, message: "Incorrect API key provided." },
  origin_not_allowed: {
    status: 403,
    type: INVALID,
    message: "Pages of this origin may not open a WebSocket here (--cors-origin).",
  },
  admin_required: {
    status: 403,
    type: INVALID,
    message: 'This API key may not manage adapters: it lacks the scope "admin".',
  },
  not_found: { status: 404, type: INVALID, message: "There is nothing at this URL." },
  adapter_not_found: { status: 404, type: INVALID, message: "There is no such adapter." },
  model_not_found: { status: 404, type: INVALID, message: "The model does not exist." },
  method_not_allowed: {
    status: 405,
    type: INVALID,
    message: "This URL does not take that method.",
  },
  adapter_path_not_allowed: {
    status: 403,
    type: INVALID,
    message:
      "Adapters are only loaded from folders below an allowed root: " +
      "whoever starts the server allows one by --adapter-root PATH.",
  },
  request_timeout: {
    status: 408,
    type: INVALID,
    message: "The body of the request did not arrive in time.",
  },
  content_too_large: {
    status: 413,
    type: INVALID,
    message: "The body of the request is too large.",
  },
  upgrade_required: {
    status: 426,
    type: INVALID,
    message: "This URL speaks WebSocket only.",
  },
  rate_limit_exceeded: {
    status: 429,
    type: "requests",
    message: "Too many requests; try again later.",
    retryAfter: 1,
  },
  token_rate_limit_exceeded: {
    status: 429,
    type: "tokens",
    message: "Too many tokens; try again later.",
    retryAfter: 1,
    bodyCode: "rate_limit_exceeded",
  },
  insufficient_quota: {
    status: 429,
    type: "insufficient_quota",
    message: "The quota of this API key is used up.",
  },
  adapter_failed: { status: 500, type: SERVER, message: "The adapter could not be used." },
  not_finite: {
    status: 500,
    type: SERVER,
    message: "The model computed a value that is not finite (NaN or infinity).",
  },
  engine_failed: { status: 500, type: SERVER, message: "The engine failed." },
  engine_stopped: {
    status: 503,
    type: SERVER,
    message: "The engine has stopped; restart the server.",
  },
  loading: { status: 503, type: SERVER, message: "The model is still loading.", retryAfter: 2 },
  draining: { status: 503, type: SERVER, message: "The server is shutting down.", retryAfter: 1 },
  adapter_loading: {
    status: 503,
    type: SERVER,
    message: "The adapter is still being loaded; try again later.",
    retryAfter: 2,
  },
  adapter_memory_full: {
    status: 503,
    type: SERVER,
    message:
      "The memory for adapters has no room for this one beside those that are in use or pinned (--adapter-memory).",
    retryAfter: 10,
  },
  deadline_exceeded: {
    status: 504,
    type: SERVER,
    message: "The request was not complete within its time limit.",
  },
  overloaded: {
    status: 503,
    type: SERVER,
    message: "The server's queue is full; try again later.",
    retryAfter: 1,
  },
} as const satisfies Record<string, ErrorRow>;

export type ErrorCode = keyof typeof ERRORS;

export function isErrorCode(code: unknown): code is ErrorCode {
  return typeof code === "string" && Object.hasOwn(ERRORS, code);
}

export interface ApiErrorOptions {
  readonly message?: string;
  /** The field of the request that is wrong. */
  readonly param?: string;
  /** Whole seconds, in place of the table's. */
  readonly retryAfter?: number;
  readonly cause?: unknown;
}

export class ApiError extends Error {
  override readonly name = "ApiError";
  readonly code: ErrorCode;
  readonly param: string | null;
  readonly status: number;
  readonly retryAfter: number | null;

  constructor(code: ErrorCode, options: ApiErrorOptions = {}) {
    const row: ErrorRow = ERRORS[code];
    super(options.message ?? row.message, "cause" in options ? { cause: options.cause } : {});
    this.code = code;
    this.param = options.param ?? null;
    this.status = row.status;
    this.retryAfter = options.retryAfter ?? row.retryAfter ?? null;
  }
}

/** What failed as an ApiError. Unforeseen errors keep their text from the client: it goes to the log. */
export function toApiError(error: unknown): ApiError {
  if (error instanceof ApiError) return error;
  return new ApiError("engine_failed", { cause: error });
}

/** OpenAI's error object, the same in JSON bodies, stream events and WebSocket frames. */
export interface ErrorBody {
  readonly error: {
    readonly message: string;
    readonly type: string;
    readonly param: string | null;
    readonly code: string | null;
  };
}

export function errorBody(error: ApiError): ErrorBody {
  const row: ErrorRow = ERRORS[error.code];
  const code = row.nullCode === true ? null : (row.bodyCode ?? error.code);
  return { error: { message: error.message, type: row.type, param: error.param, code } };
}
