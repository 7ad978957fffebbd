import http from "node:http";
import type { Socket } from "node:net";

export interface Answer {
  readonly status: number;
  readonly text: string;
}

/**
 * Requests over connections that are kept. A server may close one that nobody used for a while in the very moment in
 * which a request goes out on it; HTTP lets a client ask again then (RFC 9112, 9.3.1). That is done once, over a new connection,
 * and counted: a server that closes those without an answer is at fault.
 */
export class KeptConnections {
  readonly #url: string;
  readonly #agent = new http.Agent({ keepAlive: true });
  /** Requests, and those of them that were sent again. */
  asked = 0;
  resent = 0;

  constructor(url: string) {
    this.#url = url;
  }

  get(path: string): Promise<Answer> {
    return this.#ask("GET", path, "");
  }

  post(path: string, body: string): Promise<Answer> {
    return this.#ask("POST", path, body);
  }

  async #ask(method: string, path: string, body: string): Promise<Answer> {
    this.asked += 1;
    const answer = await this.#attempt(method, path, body, this.#agent);
    if (answer !== null) return answer;
    this.resent += 1;
    return (await this.#attempt(method, path, body, false))!;
  }

  /** Null when a connection that had served before was closed before the first byte of the answer. */
  #attempt(
    method: string,
    path: string,
    body: string,
    agent: http.Agent | false,
  ): Promise<Answer | null> {
    return new Promise((resolve, reject) => {
      const length = Buffer.byteLength(body);
      const headers = { "content-type": "application/json", "content-length": length };
      const request = http.request(`${this.#url}${path}`, { method, agent, headers });
      let readBefore = 0;
      request.on("socket", (socket: Socket) => {
        readBefore = socket.bytesRead;
      });
      request.on("error", (error: NodeJS.ErrnoException) => {
        const closed = error.code === "ECONNRESET" || error.code === "EPIPE";
        const silent = request.socket?.bytesRead === readBefore;
        if (request.reusedSocket && closed && silent) resolve(null);
        else reject(error);
      });
      request.on("response", (response) => {
        let text = "";
        response.setEncoding("utf8").on("data", (part: string) => {
          text += part;
        });
        response.on("end", () => resolve({ status: response.statusCode ?? 0, text }));
        response.on("error", reject);
      });
      request.end(body);
    });
  }
}
