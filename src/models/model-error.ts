/** A model that cannot be found, fetched or read. The message is one line for whoever asked for it. */
export class ModelError extends Error {
  override readonly name = "ModelError";
}
