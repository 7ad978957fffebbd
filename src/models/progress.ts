/**
 * Shows how far something long is: a bar on a terminal; elsewhere a line at its beginning and its
 * end, and between them one for a tenth now and then.
 */
export interface Progress {
  update(done: number): void;
  /** Whether all was done; when not, somebody else says why. */
  end(complete: boolean): void;
}

const BAR_WIDTH = 30;
const REDRAW_MS = 100;
const SPEED_AFTER_MS = 500; // before that it would be a guess
const LINE_MS = 2000;

export interface ProgressOutput {
  readonly isTTY?: boolean;
  write(text: string): unknown;
}

/** `total` in bytes; null while nobody knows it. `now` in milliseconds. */
export function createProgress(
  label: string,
  total: number | null,
  output: ProgressOutput = process.stderr,
  now: () => number = () => performance.now(),
): Progress {
  return output.isTTY === true ? bar(label, total, output, now) : lines(label, total, output, now);
}

function bar(
  label: string,
  total: number | null,
  output: ProgressOutput,
  now: () => number,
): Progress {
  const started = now();
  let drawn = Number.NEGATIVE_INFINITY;
  let last = 0;
  const draw = (done: number) => {
    const ms = now() - started;
    const speed = ms < SPEED_AFTER_MS ? "" : ` ${megabytes((1000 * done) / ms)}/s`;
    output.write(
      `\r${label} ${total === null ? megabytes(done) : cells(done, total)}${speed}\u001b[K`,
    );
  };
  draw(0);
  return {
    update(done) {
      last = done;
      if (now() - drawn < REDRAW_MS) return;
      drawn = now();
      draw(done);
    },
    end(complete) {
      draw(complete ? (total ?? last) : last);
      output.write("\n");
    },
  };
}

function cells(done: number, total: number): string {
  const share = Math.min(done / total, 1);
  const filled = Math.round(share * BAR_WIDTH);
  const percent = `${Math.floor(share * 100)}%`.padStart(5);
  return `${"█".repeat(filled)}${"░".repeat(BAR_WIDTH - filled)}${percent} of ${megabytes(total)}`;
}

function lines(
  label: string,
  total: number | null,
  output: ProgressOutput,
  now: () => number,
): Progress {
  const started = now();
  let shown = 0;
  let written = started;
  output.write(`${label}${total === null ? "" : ` (${megabytes(total)})`}\n`);
  return {
    update(done) {
      const tenth = total === null ? 0 : Math.floor((10 * done) / total);
      if (tenth <= shown || tenth >= 10 || now() - written < LINE_MS) return;
      shown = tenth;
      written = now();
      output.write(`${label}: ${tenth * 10}%\n`);
    },
    end(complete) {
      if (!complete) return;
      output.write(`${label}: done in ${((now() - started) / 1000).toFixed(1)} s\n`);
    },
  };
}

function megabytes(bytes: number): string {
  return `${(bytes / 1e6).toFixed(1)} MB`;
}
