import { createPrivateKey, type KeyObject, X509Certificate } from "node:crypto";
import { unwatchFile, watchFile } from "node:fs";
import { createSecureContext } from "node:tls";
import { readTextFile } from "../models/regular-file.js";
import type { Log } from "./options.js";

/** Where the certificate (with its chain) and its key are, both PEM. */
export interface TlsFiles {
  readonly cert: string;
  readonly key: string;
}

/** What a pair of files holds, for the log. */
export interface CertificateFacts {
  readonly subject: string;
  readonly validTo: string;
}

/** uWebSockets says only that it cannot use them. Throws an Error of one line that names the file. */
export function checkTlsFiles({ cert, key }: TlsFiles): CertificateFacts {
  const [certText, keyText] = [readTextFile(cert), readTextFile(key)];
  const certificate = parsed(`${cert}: is no certificate in PEM`, () => {
    if (!certText.includes("-----BEGIN ")) throw new Error("DER is none");
    return new X509Certificate(certText);
  });
  const privateKey: KeyObject = parsed(
    `${key}: is no private key in PEM without a passphrase`,
    () => createPrivateKey(keyText),
  );
  if (!certificate.checkPrivateKey(privateKey)) {
    throw new Error(`${key}: is not the key of the certificate in ${cert}`);
  }
  parsed(`${cert}: its chain cannot be used`, () =>
    createSecureContext({ cert: certText, key: keyText }),
  );
  const { subject, validTo } = certificate;
  return { subject: subject?.replaceAll("\n", ", ") ?? "", validTo };
}

function parsed<Value>(fault: string, parse: () => Value): Value {
  try {
    return parse();
  } catch (cause) {
    throw new Error(fault, { cause });
  }
}

interface Renewal {
  readonly files: TlsFiles;
  /** Throws an Error of one line when the new pair is none. */
  readonly renew: (files: TlsFiles) => CertificateFacts;
  readonly log: Pick<Log, "error"> & { info(fields: object, message: string): void };
  /** Aborted when nothing is to be renewed any more. */
  readonly stop: AbortSignal;
}

/** Renews the certificate when its files change. The function that is returned does so at once. */
export function followCertificate({ files, renew, log, stop }: Renewal): () => void {
  const changed = () => {
    if (stop.aborted) return;
    try {
      log.info(renew(files), "the certificate is renewed");
    } catch (error) {
      const { message } = error as Error;
      log.error({ reason: message }, "the certificate stays as it is: the new one cannot be used");
    }
  };
  watchFiles([files.cert, files.key], changed, stop);
  return changed;
}

/** How often files are looked at, and how long they must lie still: a pair is written one by one. */
const LOOK_MS = 1000;

/**
 * Calls `changed` some seconds after one of the files has changed. Looks at the files by name, since
 * the usual ways to renew a certificate rename a file or turn a link that leads to it.
 */
function watchFiles(paths: readonly string[], changed: () => void, stop: AbortSignal): void {
  let settling: NodeJS.Timeout | undefined;
  const touched = () => {
    clearTimeout(settling);
    settling = setTimeout(changed, LOOK_MS);
  };
  for (const path of paths) watchFile(path, { interval: LOOK_MS, persistent: false }, touched);
  stop.addEventListener("abort", () => {
    clearTimeout(settling);
    for (const path of paths) unwatchFile(path, touched);
  });
}
