import { access } from "node:fs/promises";
import { join } from "node:path";

/** What the engine opens of an adapter's folder. */
export const ADAPTER_FILES = ["adapter_config.json", "adapter_model.safetensors"] as const;

/** How PEFT once saved weights: a pickle, which is a program and no data. */
const OLDER_WEIGHTS = "adapter_model.bin";

/** Why a folder that has an adapter's weights in the older format is not served; null where it has none, or both. */
export async function olderFormatFault(folder: string): Promise<string | null> {
  const [, weights] = ADAPTER_FILES;
  if (!(await exists(join(folder, OLDER_WEIGHTS))) || (await exists(join(folder, weights)))) {
    return null;
  }
  return (
    `${join(folder, OLDER_WEIGHTS)} is the format of older PEFT, a pickle, which is not read: ` +
    `make ${weights} of it, in its folder by ${CONVERT}`
  );
}

/** docs/adapters.md shows the same. */
export const CONVERT =
  'python3 -c "import torch; from safetensors.torch import save_file; ' +
  `w = torch.load('${OLDER_WEIGHTS}', map_location='cpu', weights_only=True); ` +
  "save_file({k: v.contiguous().clone() for k, v in w.items()}, 'adapter_model.safetensors')\"";

function exists(path: string): Promise<boolean> {
  return access(path).then(
    () => true,
    () => false,
  );
}
