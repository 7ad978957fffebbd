import { ENGINE_OPTIONS, type EngineConfig } from "../config.js";
import { nativeModule } from "../engine/engine.js";
import type { NativeConfig, NativeEngine, NativeModule } from "../engine/native.js";
import { createProgress, type Progress, type ProgressOutput } from "../models/progress.js";
import { CommandError } from "./command.js";
import { bytesOf, flagName, type MemorySize, UsageError, usableMemory } from "./options.js";

/** The addon; what is wrong with it is one line for the user. */
export function native(): NativeModule {
  try {
    return nativeModule();
  } catch (error) {
    throw new CommandError((error as Error).message);
  }
}

/** Loads the engine with its progress on `output`. */
export async function loadEngine(
  config: EngineConfig,
  modelPath: string,
  onProgress: (share: number, what: string) => void = () => {},
  profile = false,
  output: ProgressOutput = process.stderr,
): Promise<NativeEngine> {
  let progress: Progress | null = null;
  let complete = false;
  try {
    const engine = await native().loadEngine(
      nativeConfig(config, modelPath, profile, memoryOf(config)),
      (done, total, what) => {
        progress ??= createProgress("Loading", total, output);
        progress.update(done);
        onProgress(total > 0 ? done / total : 0, what);
      },
    );
    complete = true;
    return engine;
  } catch (error) {
    const { code, message } = error as Error & { code?: string };
    throw code === "invalid_argument" ? new UsageError(withFlag(message)) : error;
  } finally {
    (progress as Progress | null)?.end(complete);
  }
}

/** The engine names an option by its key; the user knows its flag. */
function withFlag(message: string): string {
  const key = Object.keys(ENGINE_OPTIONS).find((candidate) => message.startsWith(`${candidate} `));
  return key === undefined ? message : flagName(key) + message.slice(key.length);
}

/** Bytes of the host and of where the model is computed. */
interface MachineMemory {
  readonly host: number;
  readonly device: number;
}

function memoryOf(config: EngineConfig): MachineMemory {
  const host = usableMemory();
  const device = native().deviceMemory(config.device, config.kernelPath ?? "") ?? host;
  return { host, device };
}

/** What is left of a size: shares are shares of that memory, bytes are no more than it. */
function fitting(key: keyof EngineConfig, size: MemorySize, memory: number): number {
  const bytes = bytesOf(size, memory);
  if (bytes >= 1 && bytes <= memory) return bytes;
  throw new UsageError(
    `${flagName(key)} must be above 0 and at most the memory of ${memory} bytes, not ${bytes}`,
  );
}

function nativeConfig(
  config: EngineConfig,
  modelPath: string,
  profile: boolean,
  memory: MachineMemory,
): NativeConfig {
  const onDevice: keyof EngineConfig =
    config.gpuAdapterMemory === null ? "adapterMemory" : "gpuAdapterMemory";
  return {
    modelPath,
    device: config.device,
    threads: config.threads,
    maxModelLen: config.maxModelLen ?? 0,
    maxBatch: config.maxBatch,
    maxBatchTokens: config.maxBatchTokens,
    kvMemory: fitting("kvMemory", config.kvMemory, memory.device),
    adapterMemory: fitting("adapterMemory", config.adapterMemory, memory.host),
    gpuAdapterMemory: fitting(
      onDevice,
      config.gpuAdapterMemory ?? config.adapterMemory,
      memory.device,
    ),
    gpuProducts: config.gpuProducts,
    cublaslt: config.cublaslt ?? "",
    maxLoadedAdapters: config.maxLoadedAdapters,
    activations: config.activations,
    adapterDtype: config.adapterDtype,
    quantize: config.quantize,
    profile,
    kernelPath: config.kernelPath ?? "",
  };
}
