import { type AddressInfo, createServer } from "node:net";

const REASONS: Readonly<Record<string, string>> = {
  EADDRINUSE: "the port is in use; --port N takes another one, 0 any that is free",
  EACCES: "this user may not use the port; --port N takes another one, from 1024 on anybody may",
  EADDRNOTAVAIL: "this machine has no such address; --host 0.0.0.0 takes all that it has",
  ENOTFOUND: "there is no such host; --host takes an address of this machine",
  EAI_AGAIN: "the name of the host cannot be looked up now",
};

/** A port that nobody has: `port`, or any for 0. Rejects with an Error that says why there is none. */
export function freePort(host: string, port: number): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.once("error", ({ code = "", message }: NodeJS.ErrnoException) =>
      reject(new Error(REASONS[code] ?? message)),
    );
    server.listen({ host, port, exclusive: true }, () => {
      const { port: free } = server.address() as AddressInfo;
      server.close(() => resolve(free));
    });
  });
}

/** uWebSockets says only that it cannot listen; Node.js, asked for the same, says why. */
export function whyNotListening(host: string, port: number): Promise<string> {
  return freePort(host, port).then(
    () => "it was refused once; try again",
    ({ message }: Error) => message,
  );
}
