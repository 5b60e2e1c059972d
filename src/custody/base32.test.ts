import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { utf8 } from "../crypto/bytes.ts";
import { isExclaveError } from "../errors.ts";
import { BASE32_ALPHABET, fromBase32, inGroups, normaliseBase32, toBase32 } from "./base32.ts";

test("bytes are written as known values", () => {
  assert.equal(toBase32(new Uint8Array()), "");
  assert.equal(toBase32(Uint8Array.of(0xff)), "ZW");
  assert.equal(toBase32(utf8("foobar")), "CSQPYRK1E8");
  assert.equal(toBase32(Uint8Array.of(0x00, 0x44, 0x32, 0x14, 0xc7)), "01234567");
});

test("any bytes come back from what is typed with other case, look-alikes and separators", () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 100 }), fc.infiniteStream(fc.nat(5)), (bytes, noise) => {
      const typed = Array.from(toBase32(bytes), (character) => {
        const { value } = noise.next();
        if (value === 0) return character.toLowerCase();
        if (value === 1) return ` ${character}`;
        if (value === 2) return `${character}\u2013`;
        if (character === "0") return value === 3 ? "o" : "O";
        if (character === "1") return value === 3 ? "l" : "I";
        return character;
      }).join("");
      assert.deepEqual(fromBase32(normaliseBase32(typed)), bytes);
    }),
  );
});

test("what is accepted is exactly what would have been written", () => {
  let accepted = 0;
  const text = fc
    .array(fc.constantFrom(...Array.from(BASE32_ALPHABET), "U", "o", "é"), { maxLength: 8 })
    .map((characters) => characters.join(""));
  fc.assert(
    fc.property(text, (typed) => {
      try {
        assert.equal(toBase32(fromBase32(typed)), typed);
        accepted++;
      } catch (error) {
        assert.ok(isExclaveError(error, "malformed"));
      }
    }),
    { numRuns: 2000 },
  );
  assert.ok(accepted > 20);
});

test("impossible lengths, stray bits and unused letters are refused", () => {
  for (const bad of ["0", "000", "000000", "01", "0U", "0u", "0O", "ſ0", "ıı"]) {
    assert.throws(() => fromBase32(bad), { code: "malformed" }, bad);
  }
  assert.throws(() => fromBase32(normaliseBase32("ßß")), { code: "malformed" });
});

test("groups are of four characters", () => {
  assert.equal(inGroups("ABCDEFGHJ", "-"), "ABCD-EFGH-J");
  assert.equal(inGroups("", "-"), "");
});
