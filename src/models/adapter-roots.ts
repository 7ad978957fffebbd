import { realpathSync } from "node:fs";
import { realpath } from "node:fs/promises";
import { join, resolve, sep } from "node:path";
import { ApiError } from "../errors.js";
import { ADAPTER_FILES } from "./adapter-files.js";
import { CARD_FILE } from "./card.js";
import { ModelError } from "./model-error.js";

/** Folders below which clients may load adapters. A symbolic link leads out only to where it is allowed. */
export class AdapterRoots {
  readonly #roots: readonly string[];

  /** Throws ModelError naming a folder that is not there. */
  constructor(folders: readonly string[]) {
    this.#roots = folders.map((folder) => {
      try {
        return realpathSync(folder);
      } catch {
        throw new ModelError(`--adapter-root: there is no folder "${folder}"`);
      }
    });
  }

  /** The folder without symbolic links. Throws ApiError unless it and its files are below a root. */
  async allow(path: string): Promise<string> {
    if (/\p{Cc}/u.test(path)) {
      const message = "lora_path must not hold control characters.";
      throw new ApiError("invalid_parameter", { message, param: "lora_path" });
    }
    const folder = await realpath(path).catch(() => null);
    this.#check(folder ?? resolve(path));
    if (folder === null) {
      const message = `There is no folder "${path}".`;
      throw new ApiError("adapter_not_found", { message, param: "lora_path" });
    }
    for (const name of [...ADAPTER_FILES, CARD_FILE]) {
      const file = await realpath(join(folder, name)).catch(() => null);
      if (file !== null) this.#check(file); // what is missing the engine tells, or nobody needs
    }
    return folder;
  }

  #check(path: string): void {
    if (this.#roots.some((root) => path.startsWith(root.endsWith(sep) ? root : root + sep))) return;
    throw new ApiError("adapter_path_not_allowed", { param: "lora_path" });
  }
}
