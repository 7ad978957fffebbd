import type { ApiError } from "../../errors.js";

/** Anthropic's names of what went wrong, by HTTP status. */
const TYPES: Readonly<Record<number, string>> = {
  401: "authentication_error",
  403: "permission_error",
  404: "not_found_error",
  413: "request_too_large",
  429: "rate_limit_error",
  500: "api_error",
  503: "overloaded_error",
  504: "timeout_error",
};

export function messagesError(error: ApiError) {
  const type = TYPES[error.status] ?? "invalid_request_error";
  return { type: "error", error: { type, message: error.message } };
}
