import { existsSync } from "node:fs";
import { createRequire } from "node:module";
import { fileURLToPath } from "node:url";
import { ABI_VERSION, type NativeModule } from "./native.js";

/** Where `npm run build` leaves the addon, seen from dist/src/engine. */
const ADDON = fileURLToPath(new URL("../../../build/Release/smore.node", import.meta.url));

let loaded: NativeModule | undefined;

/**
 * The native module, loaded once per process. Throws an Error of one line when it is missing, cannot
 * be loaded on this machine, or was built from another version of the border.
 */
export function nativeModule(path: string = ADDON): NativeModule {
  if (loaded) return loaded;
  if (!existsSync(path)) {
    throw new Error(`The native engine is missing: ${path}. Build it with: npm run build`);
  }
  const native = requireAddon(path);
  const version = native.abiVersion();
  if (version !== ABI_VERSION) {
    throw new Error(
      `The native engine ${path} speaks version ${version} of the border, ` +
        `this server ${ABI_VERSION}. Build it again with: npm run build`,
    );
  }
  loaded = native;
  return native;
}

function requireAddon(path: string): NativeModule {
  try {
    return createRequire(import.meta.url)(path) as NativeModule;
  } catch (error) {
    const reason = error instanceof Error ? error.message.split("\n")[0] : String(error);
    throw new Error(`The native engine ${path} cannot be loaded: ${reason}`);
  }
}
