import fc from "fast-check";

/** Bodies that were right until something in them changed: they get past the first checks. */

type Json = unknown;

interface Change {
  readonly kind: "replace" | "remove" | "add" | "repeat";
  /** Which of the places in the body, counted around. */
  readonly place: number;
  readonly name: string;
  readonly value: Json;
}

const ODD_VALUES = fc.constantFrom<Json>(
  ...[
    null,
    true,
    false,
    0,
    -0,
    1,
    -1,
    1.5,
    2 ** 31,
    2 ** 53,
    1e300,
    1e-40,
    5e-324,
    "",
    " ",
    "fake",
    "tuned",
  ],
  ...["\ud800", "\u0000", "<|257|>", "auto", "none", "required", "function", "text", "user"],
  ...["#", "root ::= root", '{"type":"object"}', "(a", "../..", [], {}, [[]], [{}], ["a", 1]],
  ...[{ __proto__: null, type: "function" }, { $ref: "#" }, { type: "json_schema" }],
);

const change: fc.Arbitrary<Change> = fc.record({
  kind: fc.constantFrom("replace", "replace", "remove", "add", "repeat"),
  place: fc.nat(),
  name: fc.constantFrom("__proto__", "constructor", "type", "x", "content", "name", "n", "stream"),
  value: fc.oneof(ODD_VALUES, ODD_VALUES, fc.jsonValue({ maxDepth: 2 })),
});

/** One of `bodies` with up to three changes anywhere in it. */
export function mutated<T>(bodies: readonly (readonly [T, object])[]): fc.Arbitrary<[T, Json]> {
  const changes = fc.array(change, { maxLength: 3 });
  return fc
    .tuple(fc.constantFrom(...bodies), changes)
    .map(([[about, body], list]) => [about, list.reduce<Json>(changed, structuredClone(body))]);
}

interface Place {
  readonly holder: Record<string, Json>;
  readonly key: string;
}

function changed(body: Json, { kind, place, name, ...to }: Change): Json {
  const value = structuredClone(to.value); // never shared: it may be changed next
  const places = placesIn(body);
  if (places.length === 0) return body;
  const { holder, key } = places[place % places.length]!;
  const old = holder[key];
  if (kind === "remove") {
    if (Array.isArray(holder)) holder.splice(Number(key), 1);
    else delete holder[key];
  } else if (kind === "repeat" && Array.isArray(holder)) {
    holder.push(structuredClone(old));
  } else if (kind === "add" && typeof old === "object" && old !== null && !Array.isArray(old)) {
    // As JSON.parse would: a member of that name, whatever it means to JavaScript.
    Object.defineProperty(old, name, {
      value,
      enumerable: true,
      writable: true,
      configurable: true,
    });
  } else {
    holder[key] = value;
  }
  return body;
}

function placesIn(value: Json): Place[] {
  if (typeof value !== "object" || value === null) return [];
  const holder = value as Record<string, Json>;
  return Object.keys(holder).flatMap((key) => [{ holder, key }, ...placesIn(holder[key])]);
}
