import type { Schema } from "./json-schema-fields.js";

/**
 * Whether no value fits two of several schemas, as far as can be seen at once: they differ in type, or
 * in the constants that a property required by both may have. Only then is oneOf the same as anyOf.
 */
export function areDisjoint(
  branches: readonly unknown[],
  resolve: (ref: unknown) => unknown,
): boolean {
  const schemas = branches.map((branch) => followed(branch, resolve));
  return schemas.every((a, i) => schemas.slice(i + 1).every((b) => differ(a, b, resolve)));
}

const MOST_REFERENCES = 8;

function followed(branch: unknown, resolve: (ref: unknown) => unknown): Schema {
  let schema = branch;
  for (let i = 0; i < MOST_REFERENCES && isObject(schema) && schema.$ref !== undefined; i++) {
    schema = resolve(schema.$ref);
  }
  return isObject(schema) ? schema : {};
}

function differ(a: Schema, b: Schema, resolve: (ref: unknown) => unknown): boolean {
  const [constantsA, constantsB] = [constantsOf(a), constantsOf(b)];
  if (constantsA !== null && constantsB !== null) return noneShared(constantsA, constantsB);
  const [typesA, typesB] = [typesOf(a), typesOf(b)];
  if (typesA === null || typesB === null) return false;
  if (noneShared(typesA, typesB)) return true;
  if (typesA.join() !== "object" || typesB.join() !== "object") return false;
  return requiredOf(a)
    .filter((name) => requiredOf(b).includes(name))
    .some((name) => {
      const [inA, inB] = [a, b].map((schema) => {
        const { properties } = schema;
        return constantsOf(followed(isObject(properties) ? properties[name] : null, resolve));
      });
      return inA && inB && noneShared(inA, inB);
    });
}

function noneShared(a: readonly string[], b: readonly string[]): boolean {
  return !a.some((item) => b.includes(item));
}

function constantsOf(schema: Schema): readonly string[] | null {
  if (schema.const !== undefined) return [JSON.stringify(schema.const)];
  return Array.isArray(schema.enum) ? schema.enum.map((value) => JSON.stringify(value)) : null;
}

/** An integer is a number too. */
function typesOf(schema: Schema): readonly string[] | null {
  const type = schema.type ?? (schema.properties === undefined ? undefined : "object");
  if (type === undefined) return null;
  const types = (Array.isArray(type) ? type : [type]).map(String);
  return types.map((name) => (name === "integer" ? "number" : name));
}

function requiredOf(schema: Schema): readonly string[] {
  return Array.isArray(schema.required) ? schema.required.map(String) : [];
}

function isObject(value: unknown): value is Schema {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
