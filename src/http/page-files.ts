import { createHash } from "node:crypto";
import { readdirSync, readFileSync } from "node:fs";
import { extname, join } from "node:path";
import { fileURLToPath } from "node:url";
import type { Header } from "./request.js";

/**
 * The playground as files in memory: read once at start, so that a request costs no I/O and can name
 * nothing else. Code is what TypeScript made of src/playground and src/client, one module per file.
 */

const SOURCES = new URL("../../../src/", import.meta.url); // from dist/src/http
const COMPILED = new URL("../", import.meta.url);
const PAGE = "/assets/playground/index.html";

const CONTENT_TYPES: Readonly<Record<string, string>> = {
  ".html": "text/html; charset=utf-8",
  ".css": "text/css; charset=utf-8",
  ".svg": "image/svg+xml",
  ".js": "text/javascript; charset=utf-8",
};

/** The page runs its own code and talks to its own server, and nobody can put it into a frame. */
const POLICY =
  "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; " +
  "base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

export class PageFile {
  readonly contentType: string;
  readonly text: string;
  readonly headers: readonly Header[];
  readonly #version: string;

  constructor(contentType: string, text: string) {
    this.contentType = contentType;
    this.text = text;
    this.#version = `"${createHash("sha256").update(text).digest("base64url").slice(0, 22)}"`;
    this.headers = [
      ["ETag", this.#version],
      ["Cache-Control", "no-cache"],
      ["Content-Security-Policy", POLICY],
      ["X-Content-Type-Options", "nosniff"],
      ["Referrer-Policy", "no-referrer"],
    ];
  }

  /** Whether a header If-None-Match names this version. */
  isKnown(versions: string): boolean {
    return versions
      .split(",")
      .some((version) => version.trim().replace(/^W\//, "") === this.#version);
  }
}

export class PageFiles {
  readonly #files: ReadonlyMap<string, PageFile>;

  private constructor(files: ReadonlyMap<string, PageFile>) {
    this.#files = files;
  }

  /** Throws when the build lacks them. */
  static read(): PageFiles {
    const files = new Map<string, PageFile>();
    const add = (base: URL, folder: string, extensions: readonly string[]) => {
      const path = fileURLToPath(new URL(folder, base));
      for (const name of readdirSync(path)) {
        if (!extensions.includes(extname(name)) || name.endsWith(".test.js")) continue;
        const text = readFileSync(join(path, name), "utf8");
        const type = CONTENT_TYPES[extname(name)]!;
        files.set(`/assets/${folder}/${name}`, new PageFile(type, text));
      }
    };
    add(SOURCES, "playground", [".html", ".css", ".svg"]);
    for (const folder of ["playground", "playground/view", "client"])
      add(COMPILED, folder, [".js"]);
    return new PageFiles(files);
  }

  /** What is at a path of the server. */
  find(path: string): PageFile | undefined {
    return this.#files.get(path === "/" ? PAGE : path);
  }
}
