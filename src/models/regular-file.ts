import { closeSync, constants, fstatSync, openSync, readFileSync } from "node:fs";
import { getSystemErrorMap } from "node:util";
import { ModelError } from "./model-error.js";

/**
 * Opens a file for reading, of a model or to train with. A pipe or a device in its place would hold the event loop for
 * ever: it is refused. Throws ModelError, whose cause is what the system says of a file that cannot be opened.
 */
export function openRegularFile(path: string): number {
  // Without O_NONBLOCK a pipe would not even open before somebody writes to it.
  const fd = opened(path, constants.O_RDONLY | constants.O_NONBLOCK);
  if (fstatSync(fd).isFile()) return fd;
  closeSync(fd);
  throw new ModelError(`${path}: is not a regular file`);
}

function opened(path: string, flags: number): number {
  try {
    return openSync(path, flags);
  } catch (cause) {
    const { errno = 0, message } = cause as NodeJS.ErrnoException;
    const [, reason] = getSystemErrorMap().get(errno) ?? ["", message];
    throw new ModelError(`${path}: ${reason}`, { cause });
  }
}

export function readTextFile(path: string): string {
  const fd = openRegularFile(path);
  try {
    return readFileSync(fd, "utf8");
  } finally {
    closeSync(fd);
  }
}
