import { readFileSync } from "node:fs";

const PACKAGE = new URL("../../package.json", import.meta.url); // from dist/src

/** Of this package. */
export const VERSION = (JSON.parse(readFileSync(PACKAGE, "utf8")) as { version: string }).version;
