import { createServer } from "node:net";

const REASONS: Readonly<Record<string, string>> = {
  EADDRINUSE: "the port is in use",
  EACCES: "this user may not use the port",
  EADDRNOTAVAIL: "this machine has no such address",
  ENOTFOUND: "there is no such host",
  EAI_AGAIN: "the name of the host cannot be looked up now",
};

/** uWebSockets says only that it cannot listen; Node.js, asked for the same, says why. */
export function whyNotListening(host: string, port: number): Promise<string> {
  return new Promise((resolve) => {
    const server = createServer();
    server.once("error", ({ code = "", message }: NodeJS.ErrnoException) =>
      resolve(REASONS[code] ?? message),
    );
    server.listen({ host, port, exclusive: true }, () => {
      server.close(() => resolve("it was refused once; try again"));
    });
  });
}
