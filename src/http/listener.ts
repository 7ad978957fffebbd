import { freePort, whyNotListening } from "./port-probe.js";
import { type CertificateFacts, checkTlsFiles, type TlsFiles } from "./tls.js";
import type { Uws, UwsApp, UwsListenSocket } from "./uws.js";

interface ListenerOptions {
  readonly uws: Uws;
  readonly host: string;
  readonly port: number; // 0 = any free one
  readonly tls: TlsFiles | null;
  /** Puts the routes on an app. */
  readonly route: (app: UwsApp) => void;
}

/**
 * The address that the server listens on. An app of uWebSockets keeps its certificate for life, so that
 * a new one comes with a new app, which shares the port until the old one has let go of it. Connections
 * stay with the app that accepted them; what an app without any costs is some kilobytes.
 */
export class Listener {
  readonly #options: ListenerOptions;
  readonly #apps: UwsApp[] = [];
  readonly #listening = new Set<UwsListenSocket>();
  #port = 0;

  constructor(options: ListenerOptions) {
    this.#options = options;
  }

  /** Resolves to the port. Rejects with an Error of one line. */
  async listen(): Promise<number> {
    const { uws, host, port, tls } = this.#options;
    try {
      if (tls !== null) checkTlsFiles(tls);
      // A port can only be shared by sockets that all agreed to: that nobody else has it is found out here.
      this.#port = tls === null ? port : await freePort(host, port);
      const socket = this.#open(tls);
      if (socket === null) throw new Error(await whyNotListening(host, port));
      this.#port = uws.us_socket_local_port(socket);
    } catch (error) {
      throw new Error(`cannot listen on ${host}:${port}: ${(error as Error).message}`);
    }
    return this.#port;
  }

  /** New connections get the certificate that `tls` holds now. Throws an Error of one line; all stays then as it is. */
  renewCertificate(tls: TlsFiles): CertificateFacts {
    const facts = checkTlsFiles(tls);
    const before = [...this.#listening];
    if (before.length === 0) return facts; // the server drains
    if (this.#open(tls) === null) throw new Error(`the port ${this.#port} cannot be shared`);
    // What waits to be accepted is reset by closing: so right after uWebSockets has accepted what came.
    setImmediate(() => {
      for (const socket of before) this.#stop(socket);
    });
    return facts;
  }

  stop(): void {
    for (const socket of this.#listening) this.#stop(socket);
  }

  /** Drops every connection. */
  close(): void {
    this.stop();
    for (const app of this.#apps) app.close();
  }

  #stop(socket: UwsListenSocket): void {
    if (this.#listening.delete(socket)) this.#options.uws.us_listen_socket_close(socket);
  }

  /** Null when the port is taken. */
  #open(tls: TlsFiles | null): UwsListenSocket | null {
    const { uws, host, route } = this.#options;
    const app =
      tls === null ? uws.App() : uws.SSLApp({ cert_file_name: tls.cert, key_file_name: tls.key });
    route(app);
    const sharing = tls === null ? uws.LIBUS_LISTEN_EXCLUSIVE_PORT : SHARED_PORT;
    let opened: UwsListenSocket | null = null;
    app.listen(host, this.#port, sharing, (socket) => {
      opened = socket === false ? null : socket; // before `listen` returns
    });
    if (opened === null) return null;
    this.#apps.push(app);
    this.#listening.add(opened);
    return opened;
  }
}

/** uWebSockets' LIBUS_LISTEN_DEFAULT. */
const SHARED_PORT = 0;
