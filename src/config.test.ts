import assert from "node:assert/strict";
import { test } from "node:test";
import { UsageError } from "./cli/options.js";
import { readConfig } from "./config.js";

test("traces go where the option says, else where every OpenTelemetry program's variable does, else nowhere", () => {
  const endpoint = (args: readonly string[], variable?: string) =>
    readConfig(args, { OTEL_EXPORTER_OTLP_ENDPOINT: variable })?.otlpEndpoint;
  const option = ["--otlp-endpoint", "https://collector:4318/"];
  assert.equal(endpoint([]), null);
  assert.equal(endpoint([], ""), null);
  assert.equal(endpoint([], "http://everywhere:4318"), "http://everywhere:4318");
  assert.equal(endpoint(option, "http://everywhere:4318"), "https://collector:4318");
});

test("an address that is no collector's is refused by what gave it", () => {
  const refusal = (args: readonly string[], environment: Record<string, string>) => {
    try {
      return readConfig(args, environment);
    } catch (error) {
      assert.ok(error instanceof UsageError);
      return error.message;
    }
  };
  const wrong = 'must be the http or https URL of a collector, not "collector:4318"';
  const value = "collector:4318";
  assert.equal(refusal(["--otlp-endpoint", value], {}), `--otlp-endpoint ${wrong}`);
  assert.equal(refusal([], { SMORE_OTLP_ENDPOINT: value }), `SMORE_OTLP_ENDPOINT ${wrong}`);
  const everywhere = { OTEL_EXPORTER_OTLP_ENDPOINT: value };
  assert.equal(refusal([], everywhere), `OTEL_EXPORTER_OTLP_ENDPOINT ${wrong}`);
});
