import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { test } from "node:test";
import fc from "fast-check";
import { toHex, utf8 } from "../crypto/bytes.ts";
import { sha256 } from "../crypto/hash.ts";
import { isExclaveError } from "../errors.ts";
import { KIT_BYTES_MAX } from "./kit.ts";
import { joinKit, PART_TEXT_BYTES_MAX, splitKit } from "./kit-parts.ts";

const file = fc.uint8Array({ minLength: 1, maxLength: 3000 });

test("a part is what the format says", () => {
  const kit = utf8("kit");
  const check = toHex(sha256(utf8("exclave/v1 kit parts\0"), kit)).slice(0, 8);
  assert.deepEqual(splitKit(kit), [`exclave-kit 1/1 ${check} a2l0`]);
});

test("a file comes back from its parts, in any order and some of them twice", () => {
  fc.assert(
    fc.property(file, fc.infiniteStream(fc.nat()), (kit, noise) => {
      const parts = splitKit(kit).flatMap((part) =>
        noise.next().value! % 3 === 0 ? [` ${part}\n`, part] : [part],
      );
      const mixed = parts
        .map((part) => ({ part, key: noise.next().value! }))
        .sort((a, b) => a.key - b.key)
        .map(({ part }) => part);
      assert.deepEqual(joinKit(mixed), kit);
    }),
  );
});

test("every part fits its code, up to the largest file", () => {
  const largest = new Uint8Array(randomBytes(KIT_BYTES_MAX));
  const parts = splitKit(largest);
  for (const part of parts) assert.ok(utf8(part).length <= PART_TEXT_BYTES_MAX);
  assert.deepEqual(joinKit(parts), largest);
  assert.throws(() => splitKit(new Uint8Array(KIT_BYTES_MAX + 1)), { code: "bug" });
  assert.throws(() => splitKit(new Uint8Array()), { code: "bug" });
});

test("missing parts are named", () => {
  const parts = splitKit(new Uint8Array(4 * 576));
  assert.throws(() => joinKit([parts[2]!, parts[0]!]), /missing: 2, 4\./);
});

test("parts of two kits are not put together", () => {
  const one = splitKit(new Uint8Array(1000));
  const two = splitKit(new Uint8Array(1000).fill(1));
  assert.throws(() => joinKit([one[0]!, two[1]!]), /more than one kit/);
  const relabelled = two[1]!.replace(/ [0-9a-f]{8} /, ` ${one[0]!.split(" ")[2]} `);
  assert.throws(() => joinKit([one[0]!, relabelled]), { code: "altered" });
  assert.throws(() => joinKit([...one, relabelled]), /more than one kit/);
  const recounted = one[1]!.replace(" 2/2 ", " 3/3 ");
  assert.throws(() => joinKit([one[0]!, recounted]), /more than one kit/);
});

test("what is no part is refused", () => {
  const part = "exclave-kit 1/1 00000000 AAAA";
  for (const bad of [
    "",
    "https://example.org",
    part.replace("1/1", "2/1"),
    part.replace("1/1", "0/1"),
    part.replace("1/1", "1/99"),
    part.replace("1/1", "01/1"),
    part.replace("AAAA", "AA"),
    part.replace("AAAA", "AAB="),
    part.replace("AAAA", "A-_A"),
    `${part}${"A".repeat(PART_TEXT_BYTES_MAX)}`,
  ]) {
    assert.throws(() => joinKit([bad]), { code: "malformed" }, bad);
    if (!bad.includes("AAB=") && !bad.endsWith(" AA")) {
      assert.throws(() => joinKit([bad]), /not part of a kit/, bad);
    }
  }
  assert.throws(() => joinKit([part]), { code: "altered" });
  assert.throws(() => joinKit([]), { code: "malformed" });
  assert.throws(() => joinKit(Array.from({ length: 1000 }, () => part)), { code: "malformed" });
});

test("a changed character in any part is refused", () => {
  fc.assert(
    fc.property(
      file,
      fc.nat(),
      fc.nat(),
      fc.string({ minLength: 1, maxLength: 1 }),
      (kit, p, c, to) => {
        const parts = [...splitKit(kit)];
        const which = p % parts.length;
        const part = parts[which]!;
        const at = c % part.length;
        fc.pre(part[at] !== to);
        parts[which] = part.slice(0, at) + to + part.slice(at + 1);
        assert.throws(
          () => joinKit(parts),
          (error) => isExclaveError(error, "malformed") || isExclaveError(error, "altered"),
        );
      },
    ),
    { numRuns: 500 },
  );
});
