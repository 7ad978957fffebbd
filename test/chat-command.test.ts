import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readFileSync, rmSync, statSync } from "node:fs";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, type TestContext, test } from "node:test";
import { mixOf } from "../src/scheduler/mix.js";
import { apiKey, type Setup, serve, until } from "./harness.js";
import { MAIN, TINY } from "./support/command.js";
import { CTRL_C, CTRL_D, noTerminals, PseudoTerminal, UP } from "./support/pseudo-terminal.js";

/** `smore chat` as people run it, against the fake model and with a tiny one of its own. */

const REPLY = "Grüß dich! 👋";

/** Fills the clipboard, clears the screen in one byte's sequence, and returns the cursor. */
const HOSTILE = "a\u001b]52;c;eA==\u0007\u009b2J\u007fb\tc\nd";

async function piped(args: readonly string[], input: string, env: Record<string, string> = {}) {
  const child = spawn(process.execPath, [MAIN, "chat", ...args], {
    env: { ...process.env, ...env },
  });
  const text = { out: "", err: "" };
  child.stdout.setEncoding("utf8").on("data", (chunk: string) => {
    text.out += chunk;
  });
  child.stderr.setEncoding("utf8").on("data", (chunk: string) => {
    text.err += chunk;
  });
  child.stdin.end(input);
  const [code] = await once(child, "close");
  return { code, ...text };
}

function scripted(test: TestContext, setup: Setup = {}) {
  return serve(test, { reply: () => REPLY, ...setup });
}

describe("smore chat through pipes", () => {
  test("answers what comes in, and writes nothing else", async (test) => {
    const { url, generator } = await scripted(test);
    assert.deepEqual(await piped(["--url", `${url}/`], "hi\n"), {
      code: 0,
      out: `${REPLY}\n`,
      err: "",
    });
    const prompt = Buffer.from(generator.requests[0]!.prompt).toString();
    assert.match(prompt, /^<user>hi\n<assistant>$/);
  });

  test("a message stands before what is piped; the system message and the adapter are told", async (test) => {
    const { url, generator } = await scripted(test);
    const args = ["--url", url, "--to", "tuned", "--system", "Be brief.", "Sum", "up:"];
    assert.equal((await piped(args, "one\ntwo\n")).out, `${REPLY}\n`);
    const [request] = generator.requests;
    assert.deepEqual(request?.mix, mixOf(1));
    const prompt = Buffer.from(request.prompt).toString();
    assert.match(prompt, /<system>Be brief\.\n<user>Sum up:\n\none\ntwo\n<assistant>$/);
  });

  test("sampling options reach the server", async (test) => {
    const { url, generator } = await scripted(test);
    await piped(["--url", url, "--temperature", "0.5", "--max-tokens", "3"], "hi");
    assert.equal(generator.requests[0]?.maxTokens, 3);
    assert.equal(generator.requests[0]?.sampling.temperature, 0.5);
  });

  test("the environment may name the server and its key", async (test) => {
    const { url } = await scripted(test, { options: { apiKeys: [apiKey("sk-right")] } });
    const env = { SMORE_URL: url, SMORE_KEY: "sk-right" };
    assert.equal((await piped([], "hi", env)).out, `${REPLY}\n`);
  });

  test("what goes wrong is one line and exit code 1", async (test) => {
    const { url } = await scripted(test, { options: { apiKeys: [apiKey("sk-right")] } });
    const { code, out, err } = await piped(["--url", url, "--key", "sk-wrong"], "hi");
    assert.deepEqual([code, out], [1, ""]);
    assert.match(err, /^smore: Incorrect API key provided\. \(--key KEY or SMORE_KEY\)\n$/);

    const key = ["--key", "sk-right"];
    const unknown = await piped(["--url", url, ...key, "--to", "tunde"], "hi");
    assert.equal(unknown.code, 1);
    assert.equal(unknown.err, "smore: --to tunde: no such model or adapter; did you mean tuned?\n");

    const nobody = await piped(["--url", "http://127.0.0.1:1"], "hi");
    assert.equal(nobody.code, 1);
    assert.match(
      nobody.err,
      /^smore: http:\/\/127\.0\.0\.1:1: the server cannot be reached: .+; start one with .* --model MODEL\n$/,
    );
  });

  test("an answer that fails half way is told, with exit code 1", async (test) => {
    const failure = { after: 3, code: "engine_failed" as const, message: "The engine failed." };
    const { url } = await scripted(test, { failure });
    const { code, err } = await piped(["--url", url], "hi");
    assert.equal(code, 1);
    assert.match(err, /^smore: The engine failed\.\n$/);
  });

  test("what answers and is no model server is told in one line", async (test) => {
    const stranger = createServer((_, response) => response.end("<h1>It works!</h1>"));
    await once(stranger.listen(0, "127.0.0.1"), "listening");
    test.after(() => stranger.close());
    const { port } = stranger.address() as AddressInfo;
    const { code, err } = await piped(["--url", `http://127.0.0.1:${port}`], "hi");
    assert.equal(code, 1);
    assert.equal(err, "smore: the server's answer is no JSON: <h1>It works!</h1>\n");
  });

  test("wrong usage is exit code 2", async () => {
    for (const args of [[], ["--model", "x", "--url", "http://x"], ["--adapter", "a=b", "hi"]]) {
      const { code, err } = await piped(args, "");
      assert.equal(code, 2, err);
    }
  });

  const own = process.env.SMORE_TEST_MODEL;
  const skip = own === undefined && "SMORE_TEST_MODEL names no model";
  test("a model of its own answers", { skip }, async () => {
    const question = "What is the capital of France? Answer in one sentence.";
    const args = ["--model", own!, "--threads", "2", "--temperature", "0", question];
    const { code, out, err } = await piped(args, "");
    assert.equal(code, 0, err);
    assert.match(out, /Paris/);
  });

  test("what a model of its own cannot do is told", async () => {
    const args = ["--model", join(TINY, "model"), "--threads", "1", "--max-tokens", "4"];
    const adapter = ["--adapter", `other=${join(TINY, "adapters/lora")}`, "--to", "other"];
    const env = { SMORE_KV_MEMORY: "16MiB", SMORE_ADAPTER_MEMORY: "16MiB" };
    const { code, err } = await piped([...args, ...adapter], "hi", env);
    // The tiny models have no tokenizer: what the server says of that is what is told.
    assert.equal(code, 1);
    assert.match(err, /^smore: messages is not supported: .*tokenizer/m);
  });
});

describe("smore chat at a terminal", { skip: noTerminals() }, () => {
  async function chat(test: TestContext, setup: Setup = {}, env: Record<string, string> = {}) {
    const served = await scripted(test, setup);
    const state = mkdtempSync(join(tmpdir(), "smore-chat-"));
    test.after(() => rmSync(state, { recursive: true }));
    const command = [process.execPath, MAIN, "chat", "--url", served.url];
    const start = () =>
      new PseudoTerminal(test, command, {
        env: { XDG_STATE_HOME: state, NO_COLOR: "", ...env },
      });
    return { ...served, state, start, terminal: start() };
  }

  test("streams, remembers what was said, switches the model and begins anew", async (test) => {
    const { terminal, generator } = await chat(test);
    await terminal.shows(/fake.*\/help[\s\S]*> /);
    await terminal.type("hi\r").shows(/Grüß dich! 👋\r\n[\s\S]*tokens.*the first after[\s\S]*> /);
    await terminal.type("/model tuned\r").shows(/talking to tuned[\s\S]*> /);
    await terminal.type("again\r").shows(/👋[\s\S]*the first after[\s\S]*> /);
    assert.deepEqual(generator.requests[1]?.mix, mixOf(1));
    assert.match(
      promptOf(generator.requests[1]!),
      /<user>hi\n<assistant>Grüß dich! 👋\n<user>again/,
    );

    await terminal
      .type("/model\r")
      .shows(/fake \(base\)\S*\r\n[\s\S]*\* tuned \(adapter\)[\s\S]*> /);
    await terminal.type("/reset\r").shows(/begun anew[\s\S]*> /);
    await terminal.type("/system Be brief.\r").shows(/system message set[\s\S]*> /);
    await terminal.type("third\r").shows(/👋[\s\S]*the first after[\s\S]*> /);
    assert.match(
      promptOf(generator.requests[2]!),
      /^<system>Be brief\.\n<user>third\n<assistant>$/,
    );

    await terminal.type("/modle\r").shows(/did you mean \/model\?[\s\S]*> /);
    terminal.type(CTRL_D);
    assert.equal(await terminal.exit(), 0);
  });

  test("ctrl-C stops the answer and not the program", async (test) => {
    const { terminal, generator } = await chat(test, {
      tokenDelayMs: 30,
      reply: () => "a".repeat(400),
    });
    await terminal.shows(/> /);
    await terminal.type("go\r").shows(/aaa/);
    await terminal.type(CTRL_C).shows(/stopped[\s\S]*> /);
    await until(() => generator.cancelled === 1, "the generation is cancelled");
    await terminal.type("more\r").shows(/aaa/);
    await terminal.type(CTRL_C).shows(/stopped[\s\S]*> /);
    assert.match(promptOf(generator.requests[1]!), /<assistant>a+\n<user>more/);
    await terminal.type(`a line not sent${CTRL_C}`).shows(/ctrl-D leaves[\s\S]*> /);
    terminal.type("/exit\r");
    assert.equal(await terminal.exit(), 0);
    assert.equal(generator.requests.length, 2);
  });

  test("lines typed earlier come back, and belong to their user alone", async (test) => {
    const { terminal, start, state, generator } = await chat(test);
    await terminal.shows(/> /);
    await terminal.type("remember me\r").shows(/👋[\s\S]*the first after[\s\S]*> /);
    terminal.type(CTRL_D);
    await terminal.exit();
    const file = join(state, "smore/chat-history");
    assert.equal(readFileSync(file, "utf8"), "remember me\n");
    assert.equal(statSync(file).mode & 0o777, 0o600);

    const again = start();
    await again.shows(/> /);
    await again.type(`${UP}\r`).shows(/👋[\s\S]*the first after[\s\S]*> /);
    assert.match(promptOf(generator.requests[1]!), /<user>remember me/);
  });

  test("a message of several lines stands between triple quotes", async (test) => {
    const { terminal, generator } = await chat(test);
    await terminal.shows(/> /);
    await terminal.type('"""one\r').shows(/… /);
    await terminal.type('two"""\r').shows(/👋[\s\S]*> /);
    assert.match(promptOf(generator.requests[0]!), /<user>one\ntwo\n/);
  });

  test("control characters in an answer are not the terminal's to follow", async (test) => {
    const { terminal, url } = await chat(test, { reply: () => HOSTILE }, { NO_COLOR: "1" });
    await terminal.shows(/> /);
    const shown = await terminal.type("hi\r").shows(/b\tc\r\nd[\s\S]*the first after/);
    assert.ok(
      shown.includes("a\ufffd]52;c;eA==\ufffd\ufffd2J\ufffdb\tc\r\nd"),
      JSON.stringify(shown),
    );
    terminal.type(CTRL_D);

    const one = [process.execPath, MAIN, "chat", "--url", url, "hi"];
    const shownAlone = await new PseudoTerminal(test, one).shows(/b\tc\r\nd/);
    assert.ok(shownAlone.endsWith("a\ufffd]52;c;eA==\ufffd\ufffd2J\ufffdb\tc\r\nd"));
    assert.equal(
      (await piped(["--url", url], "hi")).out,
      `${HOSTILE}\n`,
      "a pipe gets what was said",
    );
  });

  test("control characters in what a server complains of are not followed either", async (test) => {
    const server = createServer((_, response) => {
      response.writeHead(500, { "content-type": "application/json" });
      response.end(JSON.stringify({ error: { message: HOSTILE, code: null, param: null } }));
    }).listen(0, "127.0.0.1");
    test.after(() => server.close());
    await once(server, "listening");
    const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
    const one = [process.execPath, MAIN, "chat", "--url", url, "hi"];
    const shown = await new PseudoTerminal(test, one).shows(/smore: .*b\tc\r\nd/);
    assert.ok(shown.endsWith("smore: a\ufffd]52;c;eA==\ufffd\ufffd2J\ufffdb\tc\r\nd"));
    assert.equal((await piped(["--url", url], "hi")).err, `smore: ${HOSTILE}\n`);
  });

  test("NO_COLOR turns colours off", async (test) => {
    const coloured = await chat(test);
    assert.match(await coloured.terminal.shows(/> /), /\[33mfake/);
    const plain = await chat(test, {}, { NO_COLOR: "1" });
    assert.doesNotMatch(await plain.terminal.shows(/> /), /\[\d*m/);
  });

  test("what the server refuses is told and the chat goes on", async (test) => {
    const { terminal } = await chat(test, { capacity: 0 });
    await terminal.shows(/> /);
    await terminal.type("hi\r").shows(/queue is full[\s\S]*> /);
    terminal.type(CTRL_D);
    assert.equal(await terminal.exit(), 0);
  });
});

function promptOf({ prompt }: { readonly prompt: readonly number[] | Int32Array }): string {
  return Buffer.from([...prompt].filter((token) => token < 256)).toString();
}
