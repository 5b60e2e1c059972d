import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { test } from "node:test";
import fc from "fast-check";
import { utf8 } from "../crypto/bytes.ts";
import { isExclaveError } from "../errors.ts";
import { BASE32_ALPHABET } from "./base32.ts";
import {
  decodeShareLine,
  decodeShareText,
  encodeShareText,
  SHARE_TEXT_BYTES_MAX,
} from "./share-text.ts";

const runs = process.env.SLOW === "1" ? 20_000 : 500;
const contents = fc.uint8Array({ minLength: 1, maxLength: 130 });

const refused = (error: unknown) =>
  isExclaveError(error, "altered") || isExclaveError(error, "malformed");

test("a text is what the format says", () => {
  const bytes = Uint8Array.from({ length: 23 }, (_, i) => i * 11);
  assert.equal(
    encodeShareText(bytes),
    "  1: 005H C89C 6X14 TP33 DSWR 93WT MPRB QHPH = 4T\n  2: VKKZ 4 = GY\nEND: YWCS KH",
  );
});

test("any bytes come back, of every length that is allowed", () => {
  fc.assert(
    fc.property(contents, (bytes) => {
      assert.deepEqual(decodeShareText(encodeShareText(bytes)), bytes);
    }),
    { numRuns: runs },
  );
  const largest = new Uint8Array(randomBytes(SHARE_TEXT_BYTES_MAX));
  assert.deepEqual(decodeShareText(encodeShareText(largest)), largest);
  for (const length of [0, SHARE_TEXT_BYTES_MAX + 1]) {
    assert.throws(() => encodeShareText(new Uint8Array(length)), { code: "bug" });
  }
});

test("case, spaces, dashes, empty lines, look-alikes and left-out numbers do not matter", () => {
  fc.assert(
    fc.property(contents, fc.infiniteStream(fc.nat(5)), (bytes, noise) => {
      const next = () => noise.next().value as number;
      const typed = encodeShareText(bytes)
        .split("\n")
        .flatMap((line) => {
          const [number = "", rest = ""] = line.split(":");
          const body = Array.from(rest, (character) => {
            if (next() === 0) return character.toLowerCase();
            if (character === " ") return ["", "-", " \u2014 ", "\t", "\u00a0", " "][next()]!;
            if (character === "0") return ["o", "O", "0"][next() % 3]!;
            if (character === "1") return ["l", "I", "i", "L"][next() % 4]!;
            return character;
          }).join("");
          const head = number !== "END" && next() === 0 ? "" : `${number.replace("1", "l")} : `;
          return next() === 0 ? [head + body, "   "] : [head + body];
        })
        .join(next() === 0 ? "\r\n" : "\n");
      assert.deepEqual(decodeShareText(typed), bytes);
    }),
    { numRuns: runs },
  );
});

/** Where the characters of a text stand that carry something. */
function places(text: string): readonly number[] {
  return [...text.matchAll(/[0-9A-HJKMNP-TV-Z]/g)].map(({ index }) => index);
}

test("every change of a single character is found, and its line named", () => {
  fc.assert(
    fc.property(contents, fc.nat(), fc.integer({ min: 1, max: 31 }), (bytes, where, by) => {
      const text = encodeShareText(bytes);
      const all = places(text);
      const at = all[where % all.length]!;
      const value = BASE32_ALPHABET.indexOf(text[at]!);
      const other = BASE32_ALPHABET.charAt((value + by) % 32);
      const changed = text.slice(0, at) + other + text.slice(at + 1);
      assert.throws(() => decodeShareText(changed), refused);
      const line = text.slice(0, at).split("\n").length;
      const isData =
        line < text.split("\n").length && text.lastIndexOf(":", at) > text.lastIndexOf("\n", at);
      if (!isData) return;
      assert.throws(
        () => decodeShareText(changed),
        (error) => error instanceof Error && error.message.startsWith(`Line ${line} `),
      );
    }),
    { numRuns: 4 * runs },
  );
});

test("every change of a single character of one full line is found by the line's own check", () => {
  const [line = ""] = encodeShareText(randomBytes(20)).split("\n");
  const start = line.indexOf(":") + 1;
  for (let at = start; at < line.length; at++) {
    if (line[at] === " " || line[at] === "=") continue;
    for (const other of BASE32_ALPHABET) {
      if (other === line[at]) continue;
      const changed = line.slice(0, at) + other + line.slice(at + 1);
      assert.throws(() => decodeShareLine(changed, 1), { code: "altered" });
    }
  }
});

test("every exchange of two neighbours in a line is found by the line's own check", () => {
  fc.assert(
    fc.property(contents, fc.nat(), (bytes, which) => {
      const lines = encodeShareText(bytes).split("\n").slice(0, -1);
      const number = 1 + (which % lines.length);
      const characters = lines[number - 1]!.replace(/^.*:|[ =]/g, "");
      for (let at = 0; at + 1 < characters.length; at++) {
        const [a, b] = [characters[at]!, characters[at + 1]!];
        if (a === b) continue;
        const changed = characters.slice(0, at) + b + a + characters.slice(at + 2);
        assert.throws(() => decodeShareLine(changed, number), { code: "altered" });
      }
    }),
    { numRuns: runs / 5 },
  );
});

test("a line in another one's place is found, with its number typed or without", () => {
  fc.assert(
    fc.property(
      fc.uint8Array({ minLength: 60, maxLength: 200 }),
      fc.nat(),
      fc.nat(),
      (bytes, i, j) => {
        const lines = encodeShareText(bytes).split("\n");
        const [a, b] = [i % (lines.length - 1), j % (lines.length - 1)];
        fc.pre(a !== b);
        [lines[a], lines[b]] = [lines[b]!, lines[a]!];
        const bare = lines.map((line) =>
          line.startsWith("END") ? line : line.replace(/^.*:/, ""),
        );
        for (const text of [lines, bare]) {
          assert.throws(
            () => decodeShareText(text.join("\n")),
            (error) => refused(error) && String(error).includes(`Line ${Math.min(a, b) + 1} `),
          );
        }
      },
    ),
    { numRuns: runs },
  );
});

test("a line that is missing, doubled or of another text is found", () => {
  const lines = encodeShareText(randomBytes(70)).split("\n");
  const other = encodeShareText(randomBytes(70)).split("\n");
  assert.equal(lines.length, 5);
  const without = (at: number) => lines.toSpliced(at, 1).join("\n");
  assert.throws(() => decodeShareText(without(0)), /Line 1 is missing/);
  assert.throws(() => decodeShareText(without(3)), { code: "altered" });
  assert.throws(() => decodeShareText(without(4)), /begins with END, is missing/);
  assert.throws(() => decodeShareText(lines.toSpliced(1, 0, lines[1]!).join("\n")), /Line 3 /);
  assert.throws(() => decodeShareText(lines.with(2, other[2]!).join("\n")), { code: "altered" });
  assert.throws(() => decodeShareText([...lines, lines[0]].join("\n")), /follows/);
  assert.throws(() => decodeShareText(lines[4]!), /nothing before/);
});

test("a short line between others is named, and a number may have zeros before it", () => {
  const long = encodeShareText(randomBytes(60)).split("\n");
  const short = encodeShareText(randomBytes(23)).split("\n");
  assert.throws(() => decodeShareText(long.with(1, short[1]!).join("\n")), /Line 2 is too short/);
  assert.equal(decodeShareLine(`0o2:${long[1]!.split(":")[1]}`, 2), decodeShareLine(long[1]!, 2));
});

test("a slip is reported by its line even where the end is missing too", () => {
  const lines = encodeShareText(randomBytes(70)).split("\n");
  const bad = lines[1]!.replace(/..$/, (check) => (check === "00" ? "11" : "00"));
  assert.throws(() => decodeShareText([lines[0], bad].join("\n")), /^ExclaveError: Line 2 /);
});

test("any other text is refused without anything else happening", () => {
  const fragment = fc.oneof(
    fc.string({ unit: "binary", maxLength: 30 }),
    fc.constantFrom("END:", "\n", "1:", " = ", "U", "0000 0000", "\u2028", ":"),
    fc.string({ unit: fc.constantFrom(...Array.from(BASE32_ALPHABET)), maxLength: 40 }),
  );
  fc.assert(
    fc.property(fc.array(fragment, { maxLength: 12 }), (parts) => {
      assert.throws(() => decodeShareText(parts.join("")), refused);
    }),
    { numRuns: 2 * runs },
  );
  assert.throws(() => decodeShareText("0".repeat(64 * 1024 + 1)), /far too long/);
  assert.throws(() => decodeShareText("0000\n".repeat(300)), /more than 205 lines/);
  assert.throws(() => decodeShareText("1: 00U0 = 00\nEND: 000000"), /never used/);
});

test("messages hold nothing of the text", () => {
  const text = encodeShareText(utf8("hunter2 hunter2 hunter2 hunter2"));
  for (let at = 0; at < text.length; at++) {
    const changed = text.slice(0, at) + text.slice(at + 1);
    try {
      decodeShareText(changed);
    } catch (error) {
      assert.ok(refused(error));
      assert.doesNotMatch(String(error), /[0-9A-HJKMNP-TV-Z]{4}/);
    }
  }
});
