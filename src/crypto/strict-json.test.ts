import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { z } from "zod";
import { isExclaveError } from "../errors.ts";
import { concat, utf8 } from "./bytes.ts";
import { encodeJson, type JsonValue, parseStrictJson } from "./strict-json.ts";

const runs = process.env.SLOW === "1" ? 100_000 : 2_000;

/** The same value with ordinary prototypes, to compare with what JSON.parse gives. */
const ordinary = (value: JsonValue): unknown => JSON.parse(JSON.stringify(value));

const value: fc.Arbitrary<JsonValue> = fc.letrec<{ value: JsonValue }>((tie) => ({
  value: fc.oneof(
    { depthSize: "small", withCrossShrink: true },
    fc.boolean(),
    fc.maxSafeInteger().map((n) => n + 0),
    fc.string({ unit: "binary" }),
    fc.array(tie("value")),
    fc.dictionary(
      fc.string({ unit: "binary" }).filter((name) => name !== "__proto__"),
      tie("value"),
      { noNullPrototype: true },
    ),
  ),
})).value;

test("what is encoded is what JSON.stringify writes, and reads back", () => {
  fc.assert(
    fc.property(value, (v) => {
      const bytes = encodeJson(v);
      assert.deepEqual(bytes, utf8(JSON.stringify(v)));
      assert.deepEqual(ordinary(parseStrictJson(bytes)), JSON.parse(JSON.stringify(v)));
    }),
    { numRuns: runs },
  );
});

test("text that is accepted means what JSON.parse says, whatever its white space and escapes", () => {
  const alphabet = [
    ...Array.from('{}[]:,"\\u0019-+.eE tfn\n/bdD8'),
    "true",
    "false",
    "null",
    '"a"',
    "\\ud83d",
    "\\ude00",
    "é",
    "\u0000",
  ];
  let accepted = 0;
  fc.assert(
    fc.property(fc.array(fc.constantFrom(...alphabet), { maxLength: 14 }), (parts) => {
      const text = parts.join("");
      let parsed: JsonValue;
      try {
        parsed = parseStrictJson(utf8(text));
      } catch (error) {
        assert.ok(isExclaveError(error, "malformed"));
        return;
      }
      accepted++;
      assert.deepEqual(ordinary(parsed), JSON.parse(text));
    }),
    { numRuns: 10 * runs },
  );
  assert.ok(accepted > 20, `only ${accepted} texts were accepted, so nothing was compared`);
});

test("a text with one byte altered is refused or still means what JSON.parse says", () => {
  fc.assert(
    fc.property(value, fc.nat(), fc.nat(255), (v, at, byte) => {
      const bytes = encodeJson(v);
      bytes[at % bytes.length] = byte;
      try {
        const parsed = parseStrictJson(bytes);
        assert.deepEqual(ordinary(parsed), JSON.parse(new TextDecoder().decode(bytes)));
      } catch (error) {
        assert.ok(isExclaveError(error, "malformed"), String(error));
      }
    }),
    { numRuns: runs },
  );
});

const REFUSED: Readonly<Record<string, string>> = {
  empty: "",
  "white space only": " \n",
  null: "null",
  "null inside": '{"a":null}',
  "a fraction": "1.5",
  "a fraction of zero": "1.0",
  "an exponent": "1e3",
  "minus zero": "-0",
  "a leading zero": "01",
  "a leading zero after minus": "-01",
  "a plus sign": "+1",
  "minus alone": "-",
  "2^53": "9007199254740992",
  "-2^53": "-9007199254740992",
  "a long integer": "1".repeat(400),
  "a duplicate name": '{"a":1,"a":1}',
  "a duplicate name by escape": '{"a":1,"\\u0061":2}',
  "a duplicate name deep inside": '[{"x":{"b":1,"b":2}}]',
  __proto__: '{"__proto__":{}}',
  "__proto__ by escape": '{"\\u005f_proto__":{}}',
  "a trailing comma": "[1,]",
  "a trailing comma in an object": '{"a":1,}',
  "two values": "1 2",
  "a trailing zero byte": "1\u0000",
  "a byte order mark": "\ufeff1",
  "a no-break space": "\u00a01",
  "a comment": "1//",
  "single quotes": "'a'",
  "an unquoted name": "{a:1}",
  "a lone high surrogate": '"\\ud800"',
  "a lone low surrogate": '"\\udc00"',
  "surrogates in the wrong order": '"\\udc00\\ud800"',
  "a lone surrogate in a name": '{"\\ud800":1}',
  "a raw control character": '"\n"',
  "the last control character": '"\u001f"',
  "an unknown escape": '"\\x41"',
  "a short escape": '"\\u12"',
  "a signed escape": '"\\u+123"',
  "an open string": '"abc',
  "an open escape": '"\\',
  "an open array": "[1",
  "an open object": '{"a":1',
  "a missing colon": '{"a" 1}',
  "a wrong word": "trux",
  "a longer word": "truex",
  NaN: "NaN",
};

for (const [name, text] of Object.entries(REFUSED)) {
  test(`refused: ${name}`, () => {
    assert.throws(() => parseStrictJson(utf8(text)), { code: "malformed" });
  });
}

test("bytes that are not UTF-8 are refused", () => {
  assert.throws(() => parseStrictJson(Uint8Array.of(0x22, 0xff, 0x22)), { code: "malformed" });
});

test("the largest integers, surrogate pairs and every escape are taken", () => {
  assert.equal(parseStrictJson(utf8("9007199254740991")), Number.MAX_SAFE_INTEGER);
  assert.equal(parseStrictJson(utf8("-9007199254740991")), -Number.MAX_SAFE_INTEGER);
  assert.equal(parseStrictJson(utf8('"\\ud83d\\ude00"')), "😀");
  assert.equal(parseStrictJson(utf8(' "\\"\\\\\\/\\b\\f\\n\\r\\t\\u00E9" ')), '"\\/\b\f\n\r\té');
});

test("size and depth are bounded, before anything else is looked at", () => {
  const nested = (depth: number) => utf8("[".repeat(depth) + "]".repeat(depth));
  assert.doesNotThrow(() => parseStrictJson(nested(32)));
  assert.throws(() => parseStrictJson(nested(33)), { code: "malformed" });
  assert.throws(() => parseStrictJson(nested(100_000)), { code: "malformed" });
  assert.doesNotThrow(() => parseStrictJson(nested(100), { depthMax: 100 }));
  assert.doesNotThrow(() => parseStrictJson(utf8("123"), { bytesMax: 3 }));
  assert.throws(() => parseStrictJson(utf8("1234"), { bytesMax: 3 }), { code: "malformed" });
  assert.throws(() => parseStrictJson(new Uint8Array(1024 * 1024 + 1)), { code: "malformed" });
});

test("objects have no prototype, so no inherited name is mistaken for a member", () => {
  const parsed = parseStrictJson(utf8('{"constructor":1,"toString":2}')) as Record<string, unknown>;
  assert.deepEqual(Object.keys(parsed), ["constructor", "toString"]);
  assert.equal("hasOwnProperty" in parsed, false);
  assert.deepEqual(
    z.strictObject({ constructor: z.number(), toString: z.number() }).safeParse(parsed).success,
    true,
  );
  assert.equal(z.record(z.string(), z.number()).safeParse(parsed).success, true);
});

test("messages hold nothing of the text", () => {
  for (const text of ['{"secret":hunter2}', '"hunter2', '{"hunter2":1,"hunter2":2}']) {
    assert.throws(
      () => parseStrictJson(utf8(text)),
      (error) => error instanceof Error && !error.message.includes("hunter2"),
    );
  }
});

test("what the reader would refuse, or JSON.stringify would change, is not written", () => {
  class Thing {
    readonly a = 1;
  }
  const cyclic: unknown[] = [];
  cyclic.push(cyclic);
  const bad: readonly unknown[] = [
    null,
    undefined,
    1.5,
    -0,
    Number.NaN,
    2 ** 53,
    1n,
    Symbol("x"),
    () => 1,
    "\ud800",
    [undefined],
    Object.assign([], { length: 1 }),
    { a: undefined },
    { a: null },
    new Date(),
    new Map(),
    new Thing(),
    Uint8Array.of(1),
    { "\ud800": 1 },
    { ["__proto__"]: 1 },
    { toJSON: () => 1 },
    cyclic,
    "x".repeat(2 ** 20),
  ];
  for (const [i, v] of bad.entries())
    assert.throws(() => encodeJson(v), { code: "bug" }, `value ${i}`);
  assert.deepEqual(encodeJson({ b: [1, "é"], a: true }), utf8('{"b":[1,"é"],"a":true}'));
  assert.deepEqual(encodeJson(parseStrictJson(utf8('{"b":{}}'))), concat(utf8('{"b":{}}')));
});
