import { createRequire } from "node:module";
import { dirname, join } from "node:path";

/**
 * The part of uWebSockets.js that this server uses, and the loader of its native module. Two builds
 * are installed: one for current C libraries, one for glibc 2.36. The files are opened directly,
 * since a package's own loader would fall back to slow JavaScript without a word.
 */

/** Dies with the callback that got it: read what is needed at once. */
export interface UwsRequest {
  getHeader(lowerCaseName: string): string;
  getUrl(): string;
  getMethod(): string;
  forEach(visit: (name: string, value: string) => void): void;
}

/** Valid until it was ended or its abort handler ran. Outside its own callbacks, write inside `cork`. */
export interface UwsResponse {
  writeStatus(status: string): UwsResponse;
  writeHeader(name: string, value: string): UwsResponse;
  /** False: the socket could not take all of it; the rest is kept and sent by uWS. */
  write(chunk: string): boolean;
  end(body?: string, closeConnection?: boolean): UwsResponse;
  /** Without arguments: with any, 20.30 sends nothing at all. */
  endWithoutBody(): UwsResponse;
  /** Drops the connection; the abort handler runs. */
  close(): UwsResponse;
  onWritable(handler: (offset: number) => boolean): UwsResponse;
  onAborted(handler: () => void): UwsResponse;
  /** `chunk` is detached when the handler returns. */
  onData(handler: (chunk: ArrayBuffer, isLast: boolean) => void): UwsResponse;
  cork(write: () => void): UwsResponse;
  upgrade<UserData>(
    userData: UserData,
    key: string,
    protocol: string,
    extensions: string,
    context: unknown,
  ): void;
}

export interface UwsWebSocket<UserData> {
  /** 1: sent, 0: buffered, 2: dropped. */
  send(message: string): number;
  getBufferedAmount(): number;
  /** Sends a close frame. */
  end(code: number, reason: string): void;
  /** Drops the connection. */
  close(): void;
  getUserData(): UserData;
}

export interface UwsWebSocketBehavior<UserData> {
  readonly maxPayloadLength: number;
  readonly idleTimeout: number;
  readonly sendPingsAutomatically: boolean;
  readonly maxBackpressure: number;
  upgrade(response: UwsResponse, request: UwsRequest, context: unknown): void;
  open(socket: UwsWebSocket<UserData>): void;
  message(socket: UwsWebSocket<UserData>, message: ArrayBuffer, isBinary: boolean): void;
  /** Some of what was buffered has gone out. */
  drain(socket: UwsWebSocket<UserData>): void;
  close(socket: UwsWebSocket<UserData>, code: number): void;
}

export type UwsListenSocket = object;
type Handler = (response: UwsResponse, request: UwsRequest) => void;

export interface UwsApp {
  any(pattern: string, handler: Handler): UwsApp;
  ws<UserData>(pattern: string, behavior: UwsWebSocketBehavior<UserData>): UwsApp;
  listen(
    host: string,
    port: number,
    options: number,
    done: (socket: UwsListenSocket | false) => void,
  ): UwsApp;
  close(): UwsApp;
}

export interface Uws {
  App(): UwsApp;
  /** Throws when the files cannot be used. */
  SSLApp(files: { readonly cert_file_name: string; readonly key_file_name: string }): UwsApp;
  us_listen_socket_close(socket: UwsListenSocket): void;
  us_socket_local_port(socket: UwsListenSocket): number;
  /** Without it several servers can listen on one port, each getting a part of the connections. */
  readonly LIBUS_LISTEN_EXCLUSIVE_PORT: number;
  /** "silent" leaves out the header that advertises uWebSockets. */
  _cfg(option: "silent"): void;
}

const require = createRequire(import.meta.url);

/** Folder of each build's native files; a package's `exports` may hide them from `require`. */
const BUILDS: readonly (() => string)[] = [
  () => dirname(require.resolve("uws-current")),
  () => join(dirname(require.resolve("uws-glibc236/package.json")), "binaries"),
];

/** Throws one line that says what is needed when no build runs here. */
export function loadUws(builds = BUILDS): Uws {
  const { platform, arch, versions } = process;
  const file = `uws_${platform}_${arch}_${versions.modules}.node`;
  const reasons: string[] = [];
  for (const folder of builds) {
    try {
      const uws = require(join(folder(), file)) as Uws;
      uws._cfg("silent");
      return uws;
    } catch (error) {
      reasons.push(firstLine(error));
    }
  }
  throw new Error(
    `the HTTP server needs a native module that does not run here (${platform} ${arch}, Node.js ${versions.node}): ` +
      `use Node.js 20, 22 or 24 on Linux with glibc 2.38 or later, or Node.js 20 with glibc 2.36 (${reasons.join("; ")})`,
  );
}

function firstLine(error: unknown): string {
  const message = error instanceof Error ? error.message : String(error);
  return message.split("\n", 1)[0] ?? message;
}
