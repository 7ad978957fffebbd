/** Shows how far a long transfer is: a bar on a terminal, a line for each tenth elsewhere. */
export interface Progress {
  update(done: number): void;
  end(): void;
}

const BAR_WIDTH = 30;
const REDRAW_MS = 100;

export interface ProgressOutput {
  readonly isTTY?: boolean;
  write(text: string): unknown;
}

/** `total` in bytes; null while nobody knows it. */
export function createProgress(
  label: string,
  total: number | null,
  output: ProgressOutput = process.stderr,
): Progress {
  return output.isTTY === true ? bar(label, total, output) : lines(label, total, output);
}

function bar(label: string, total: number | null, output: ProgressOutput): Progress {
  const started = performance.now();
  let drawn = 0;
  let last = 0;
  const draw = (done: number) => {
    const seconds = Math.max((performance.now() - started) / 1000, 1e-3);
    const speed = `${megabytes(done / seconds)}/s`;
    if (total === null) {
      output.write(`\r${label} ${megabytes(done)} ${speed}\u001b[K`);
      return;
    }
    const share = Math.min(done / total, 1);
    const filled = Math.round(share * BAR_WIDTH);
    const cells = "█".repeat(filled) + "░".repeat(BAR_WIDTH - filled);
    const percent = `${Math.floor(share * 100)}%`.padStart(5);
    output.write(`\r${label} ${cells}${percent} of ${megabytes(total)} ${speed}\u001b[K`);
  };
  return {
    update(done) {
      last = done;
      if (performance.now() - drawn < REDRAW_MS) return;
      drawn = performance.now();
      draw(done);
    },
    end() {
      draw(last);
      output.write("\n");
    },
  };
}

function lines(label: string, total: number | null, output: ProgressOutput): Progress {
  let shown = 0;
  output.write(`${label}${total === null ? "" : ` (${megabytes(total)})`}\n`);
  return {
    update(done) {
      if (total === null) return;
      const tenth = Math.floor(Math.min(done / total, 1) * 10);
      if (tenth <= shown) return;
      shown = tenth;
      output.write(`${label}: ${tenth * 10}%\n`);
    },
    end() {},
  };
}

function megabytes(bytes: number): string {
  return `${(bytes / 1e6).toFixed(1)} MB`;
}
