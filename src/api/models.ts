import { ApiError } from "../errors.js";
import type { ApiContext, ServedModel } from "./context.js";

/** GET /v1/models and GET /v1/models/{id} */

function modelObject(model: ServedModel, context: ApiContext) {
  return {
    id: model.name,
    object: "model",
    created: model.created,
    owned_by: "smore",
    root: model.root,
    parent: model.parent,
    max_model_len: context.maxModelLen,
  };
}

export function listModels(context: ApiContext) {
  return {
    object: "list",
    data: context.models.list().map((model) => modelObject(model, context)),
  };
}

export function oneModel(name: string, context: ApiContext) {
  const model = context.models.find(name);
  if (model !== undefined) return modelObject(model, context);
  const message = `The model \`${name}\` does not exist.`;
  throw new ApiError("model_not_found", { message, param: "model" });
}
