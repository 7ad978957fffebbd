let latest = 0;

/**
 * Memory of the process that is in RAM, in bytes. The system opens a file to tell: a process that may open
 * none more is told what it was before, since nobody's request hangs on it.
 */
export function residentMemory(): number {
  try {
    latest = process.memoryUsage.rss();
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code !== "EMFILE" && code !== "ENFILE") throw error;
  }
  return latest;
}
