import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { MOST_ITEMS, MOST_LEVELS, MOST_VALUES, readJson, TooManyError } from "./read.js";

/** The value and how many steps it took. */
function read(text: string | Buffer): { value: unknown; steps: number } {
  const work = readJson(Buffer.from(text as string));
  for (let steps = 1; ; steps++) {
    const step = work.next();
    if (step.done) return { value: step.value, steps };
  }
}

/** Both read the same, or both refuse, what UTF-8 carries of `given`: no half of a surrogate pair. */
function agree(given: string): void {
  const text = Buffer.from(given).toString();
  let expected: unknown;
  try {
    expected = JSON.parse(text);
  } catch {
    assert.throws(() => read(text), SyntaxError, text);
    return;
  }
  assert.deepEqual(read(text).value, expected, text);
}

const space = fc.stringMatching(/^[ \t\r\n]{0,3}$/);

test("it reads what JSON.parse reads", () => {
  const json = fc.tuple(space, fc.json({ maxDepth: 6 }), space).map((parts) => parts.join(""));
  fc.assert(fc.property(json, agree));
});

test("it refuses what JSON.parse refuses", () => {
  const json = fc.json({ maxDepth: 3 });
  const cut = fc.tuple(json, fc.nat(), fc.nat(), fc.constantFrom(...'[]{}",:\\u0e+-.1 \n\u0001é'));
  fc.assert(
    fc.property(cut, ([text, at, gone, put]) => {
      const from = at % (text.length + 1);
      agree(text.slice(0, from) + put + text.slice(from + (gone % 3)));
    }),
    { numRuns: 2000 },
  );
});

test("numbers, escapes and names as the standard has them", () => {
  const texts = [
    ...[
      "0",
      "-0",
      "00",
      "01",
      "-",
      "+1",
      "1.",
      ".5",
      "1.5e-3",
      "1E+400",
      "-1e",
      "9007199254740993",
    ],
    ...["123456789012345678901234567890", "1 2", "0x10", "NaN", "Infinity", "nul", "nulll", "true"],
    ...['"\\ud83d\\ude00"', '"\\ud83d"', '"\\u12"', '"\\x"', '"\\"', '"a\u0000b"', '"\u2028"'],
    ...[
      '{"__proto__":1}',
      '{"a":1,"a":2}',
      "{1:2}",
      '{"a"}',
      '{"a":}',
      "{,}",
      "[,]",
      "[1,]",
      "[1 2]",
    ],
    ...["", " ", "[", "]", "{", "}", '"', "[]]", "[[]", '{"a":1,}', "\ufeff", "\u00a01"],
  ];
  for (const text of texts) agree(text);
});

test("a mark of the byte order is skipped at the beginning alone", () => {
  assert.deepEqual(read('\ufeff{"a":"\ufeffb"}').value, { a: "\ufeffb" });
});

test("long texts keep their characters and escapes whole, wherever they are cut", () => {
  const text = 'aé€😀\\"\n'.repeat(5000);
  for (let shift = 0; shift < 16; shift++) {
    const shifted = "x".repeat(shift) + text;
    assert.equal(read(JSON.stringify(shifted)).value, shifted);
  }
});

test("escapes by number stay whole wherever a long text is cut", () => {
  for (const unit of ["\\u00e9", "\\ud83d\\ude00"]) {
    const text = unit.repeat(30_000 / unit.length);
    for (let shift = 0; shift < 12; shift++) agree(`["${"x".repeat(shift)}${text}"]`);
  }
});

test("long texts of any escapes are read and refused as JSON.parse does", () => {
  const units = ["x", "é", "😀", "\\u00e9", "\\ud83d", "\\ude00", "\\u005c", "\\u0022", "\\n"];
  const text = fc.array(fc.constantFrom(...units, '\\"', "\\\\"), { minLength: 1, maxLength: 12 });
  const fault = fc.constantFrom("", "", '"', "\\", "\\u", "\\u00", "\\uD8", "\\x", "\n");
  fc.assert(
    fc.property(text, fc.nat(16), fc.nat(24), fault, (some, shift, at, put) => {
      const whole = "x".repeat(shift) + some.join("").repeat(20_000 / some.join("").length);
      const cut = (8 << 10) - 12 + at;
      agree(`"${whole}"`);
      agree(`"${whole.slice(0, cut)}${put}${whole.slice(cut)}"`);
      agree(`"${whole.slice(0, cut)}${put}`);
    }),
  );
});

test("escapes that are none are refused before a long text is cut, whatever characters follow", () => {
  for (const fault of ["\\", "\\u", "\\u0", "\\uD8", "\\u00e", "\\x"]) {
    for (const unit of ["é", "€", "😀", "x"]) {
      for (let at = (8 << 10) - 24; at < (8 << 10) + 12; at++) {
        agree(`"${"x".repeat(at)}${fault}${unit.repeat(20)}"`);
      }
    }
  }
});

test("what is no UTF-8 is refused", () => {
  for (const bytes of [[0xff], [0xc3], [0xe2, 0x82], [0xed, 0xa0, 0x80]]) {
    assert.throws(() => read(Buffer.from([0x22, ...bytes, 0x22])), TypeError);
  }
});

test("no step reads more than a few kilobytes", () => {
  const size = 1 << 18;
  const bodies = [
    `[${"[   ],".repeat(size / 6)}1]`,
    `[${"1,".repeat(size / 2)}1]`,
    `"${"x".repeat(size)}"`,
    `"${"\\n".repeat(size / 2)}"`,
    " ".repeat(size),
    `[${'{"a":1.25},'.repeat(size / 11)}1]`,
  ];
  for (const body of bodies) {
    const work = readJson(Buffer.from(body));
    let steps = 0;
    try {
      while (work.next().done !== true) steps++;
    } catch {
      // blanks alone are no JSON
    }
    assert.ok(steps >= size / (16 << 10), `${steps} steps for ${body.slice(0, 20)}`);
  }
});

test("values deeper and lists and objects of more than any request needs are refused", () => {
  assert.throws(() => read(`[${"1,".repeat(MOST_ITEMS)}1]`), TooManyError);
  agree("[".repeat(MOST_LEVELS) + "]".repeat(MOST_LEVELS));
  assert.throws(() => read("[".repeat(MOST_LEVELS + 1)), TooManyError);
  const lists = (count: number) => `[${"[],".repeat(count - 2)}[]]`;
  agree(lists(MOST_VALUES));
  assert.throws(() => read(lists(MOST_VALUES + 1)), TooManyError);
  const members = Array.from({ length: MOST_VALUES + 1 }, (_, i) => `"${i}":1`);
  assert.throws(() => read(`{${members.join()}}`), TooManyError);
});
