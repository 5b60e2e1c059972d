import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import {
  damage,
  logKey,
  memoryTree,
  ORIGIN,
  otherLogKey,
  survives,
  witnessKeys,
} from "../../test/support/ledger.ts";
import { concat, fromUtf8, utf8 } from "../crypto/bytes.ts";
import { addCosignatures, signCheckpoint } from "./checkpoint.ts";
import { cosign } from "./cosignature.ts";
import { logKeyFromSeed, verifierKeysOf, witnessKeyFromSeed } from "./log-key.ts";
import { formatNote, formatSignatureLine, formatVerifierKey, parseNote } from "./note.ts";
import { formatPolicy, isQuorum, type Policy, parsePolicy, verifyWitnessed } from "./policy.ts";

const malformed = { code: "malformed" };
const vkeys = (key: typeof logKey): readonly [string, string] => {
  const [one, two] = verifierKeysOf(key);
  return [formatVerifierKey(one), formatVerifierKey(two)];
};
/** Short keys, for policies that are only about names. */
const ed = (i: number): string =>
  vkeys(witnessKeyFromSeed(new Uint8Array(32).fill(100 + i), `w${i}`))[0];
const parse = (...lines: readonly string[]): Policy =>
  parsePolicy(utf8(lines.map((line) => `${line}\n`).join("")));
const logs = vkeys(logKey).map((key) => `log ${key}`);
const [a, b, c] = witnessKeys as [typeof logKey, typeof logKey, typeof logKey];
/** Every witness with both its keys, and two of the three. */
const twoOfThree = parse(
  ...logs,
  ...[a, b, c].flatMap((key, i) => [
    `witness ${i}-ed25519 ${vkeys(key)[0]}`,
    `witness ${i}-ml-dsa ${vkeys(key)[1]}`,
    `group ${i} all ${i}-ed25519 ${i}-ml-dsa`,
  ]),
  "group two 2 0 1 2",
  "quorum two",
);
const head = memoryTree(7).head(7);
const checkpoint = signCheckpoint(logKey, head, 500);
const cosigned = (...by: readonly (typeof logKey)[]): Uint8Array =>
  by.reduce((bytes, key, i) => {
    const lines = cosign(key, head, 600 + i)
      .map(formatSignatureLine)
      .join("");
    return addCosignatures(bytes, utf8(lines), verifierKeysOf(key));
  }, checkpoint);

/** The example of tlog-policy, with keys filled in. */
const EXAMPLE = [
  logs[0]!,
  "",
  `witness X1 ${ed(1)}`,
  `witness X2 ${ed(2)}`,
  `witness X3 ${ed(3)}`,
  "group X-witnesses 2 X1 X2 X3",
  "",
  `witness Y1 ${ed(4)}`,
  `witness Y2 ${ed(5)}`,
  `witness Y3 ${ed(6)}`,
  "group Y-witnesses any Y1 Y2 Y3",
  "",
  "group X-and-Y all X-witnesses Y-witnesses",
  "quorum X-and-Y",
];

test("the example of tlog-policy asks for two of the X and one of the Y witnesses", () => {
  const policy = parse(...EXAMPLE);
  const names = ["X1", "X2", "X3", "Y1", "Y2", "Y3"];
  for (let bits = 0; bits < 64; bits++) {
    const cosigners = names.filter((_, i) => (bits >> i) & 1);
    const x = cosigners.filter((name) => name.startsWith("X")).length;
    assert.equal(isQuorum(policy, cosigners), x >= 2 && cosigners.length > x, cosigners.join());
  }
  assert.equal(isQuorum(policy, ["X1", "X1", "Y1"]), false);
  assert.equal(isQuorum(policy, ["X-witnesses", "Y-witnesses", "X-and-Y"]), false);
});

test("a quorum of one witness, of none, and of a group of one", () => {
  assert.equal(isQuorum(parse("quorum none"), []), true);
  const one = parse(`witness w ${ed(1)}`, `witness v ${ed(2)}`, "quorum w");
  assert.deepEqual([isQuorum(one, ["v"]), isQuorum(one, ["w"])], [false, true]);
  const group = parse(`witness w ${ed(1)}`, "group g all w", "quorum g");
  assert.deepEqual([isQuorum(group, []), isQuorum(group, ["w"])], [false, true]);
});

test("space, tabs, empty lines, comments, addresses and the order of lines change nothing", () => {
  const policy = parse(
    "# a comment",
    " \t# another",
    " \t",
    `\twitness \t w  ${ed(1)}\thttps://witness.example/ `,
    "quorum w",
    `log ${vkeys(logKey)[0]} https://ledger.example/`,
  );
  assert.equal(policy.witnesses[0]?.url, "https://witness.example/");
  assert.equal(policy.logs[0]?.url, "https://ledger.example/");
  assert.deepEqual(policy.groups, []);
  assert.equal(policy.quorum, "w");
});

test("names are compared as they are written: K is not the Kelvin sign", () => {
  const policy = parse(`witness K ${ed(1)}`, `witness \u212a ${ed(2)}`, "quorum \u212a");
  assert.deepEqual([isQuorum(policy, ["K"]), isQuorum(policy, ["\u212a"])], [false, true]);
  // White space to Unicode, and part of a name here.
  assert.equal(parse(`witness a\u00a0b ${ed(1)}`, "quorum none").witnesses[0]?.name, "a\u00a0b");
});

test("what tlog-policy excludes is refused", () => {
  const w = [`witness w ${ed(1)}`, `witness v ${ed(2)}`];
  for (const lines of [
    [],
    ["quorum"],
    ["quorum none none"],
    ["quorum none", "quorum none"],
    ["quorum w"],
    ["quorum w", ...w],
    ["Quorum none"],
    ["unknown line", "quorum none"],
    ["log", "quorum none"],
    [`log ${vkeys(logKey)[0]} https://a https://b`, "quorum none"],
    [`log ${vkeys(logKey)[0].slice(0, -1)}`, "quorum none"],
    ["witness w", "quorum none"],
    [`witness ${ed(1)}`, "quorum none"],
    [`witness w ${ed(1)} a b`, "quorum none"],
    [`witness none ${ed(1)}`, "quorum none"],
    [w[0]!, `witness w ${ed(2)}`, "quorum none"],
    [...w, "group w any v", "quorum none"],
    [...w, "group none any v", "quorum none"],
    [...w, "group g any", "quorum none"],
    [...w, "group g", "quorum none"],
    [...w, "group g any none", "quorum none"],
    [...w, "group g any g", "quorum none"],
    [...w, "group g any x", "quorum none"],
    [...w, "group g any h", "group h any w", "quorum none"],
    [...w, "group g any w w", "quorum none"],
    [...w, "group g any w", "group h any w", "quorum none"],
    [...w, "group g any w", "group h any g", "group i any g v", "quorum none"],
    ...["0", "3", "-1", "+1", "01", "1.0", "ALL", "", "99999999999"].map((k) => [
      ...w,
      `group g ${k} w v`,
      "quorum none",
    ]),
    [`log ${ed(1)}`, "quorum none"],
    [`witness w ${vkeys(logKey)[0]}`, "quorum none"],
    [...w, "quorum w # the comment is not on a line of its own"],
  ])
    assert.throws(() => parse(...lines), malformed, lines.join("\n").slice(-80));
});

test("a torn line, a control character and other than UTF-8 are refused", () => {
  assert.throws(() => parsePolicy(utf8(`witness w ${ed(1)}\nquorum w`)), malformed);
  assert.throws(() => parsePolicy(utf8("")), malformed);
  for (const bad of ["\r", "\0", "\u007f", "\u000b"])
    assert.throws(() => parse(`# ${bad}`, "quorum none"), malformed);
  assert.throws(
    () => parsePolicy(concat(utf8("# "), Uint8Array.of(0xff), utf8("\nquorum none\n"))),
    malformed,
  );
  assert.throws(() => parsePolicy(utf8("\ufeffquorum none\n")), malformed);
});

test("a public key is in one line only, whatever name, id and type it has there", () => {
  const seed = new Uint8Array(32).fill(50);
  const asLog = vkeys(logKeyFromSeed(seed, "log"));
  const asWitness = vkeys(witnessKeyFromSeed(seed, "witness"));
  const renamed = vkeys(witnessKeyFromSeed(seed, "renamed"));
  for (const lines of [
    [`log ${asLog[0]}`, `log ${asLog[0]}`],
    [`log ${asLog[0]}`, `log ${vkeys(logKeyFromSeed(seed, "other"))[0]}`],
    [`witness w ${asWitness[0]}`, `witness v ${asWitness[0]}`],
    [`witness w ${asWitness[1]}`, `witness v ${renamed[1]}`],
    [`log ${asLog[0]}`, `witness w ${asWitness[0]}`],
    [`log ${asLog[1]}`, `witness w ${asLog[1]}`],
    [`witness w ${asWitness[1]}`, `log ${asLog[1]}`],
  ])
    assert.throws(() => parse(...lines, "quorum none"), malformed);
  assert.equal(parse(...asLog.map((key) => `log ${key}`), "quorum none").logs.length, 2);
});

test("32 logs, witnesses and groups are read, and 33 of any are not", () => {
  const key = (i: number): typeof logKey => logKeyFromSeed(new Uint8Array(32).fill(i), `log${i}`);
  const logLines = Array.from({ length: 33 }, (_, i) => `log ${vkeys(key(i))[0]}`);
  const witnessLines = Array.from({ length: 33 }, (_, i) => `witness w${i} ${ed(i)}`);
  const groups = Array.from(
    { length: 33 },
    (_, i) => `group g${i} any ${i === 0 ? "w0" : `g${i - 1}`}`,
  );
  const of = (l: number, w: number, g: number) => () =>
    parse(
      ...logLines.slice(0, l),
      ...witnessLines.slice(0, w),
      ...groups.slice(0, g),
      "quorum none",
    );
  assert.equal(of(32, 32, 32)().groups.length, 32);
  for (const one of [of(33, 1, 1), of(1, 33, 1), of(1, 1, 33)]) assert.throws(one, malformed);
  assert.throws(() => parsePolicy(utf8(`#${"a".repeat(256 * 1024)}\nquorum none\n`)), malformed);
});

test("a policy is written as it is read, and not when a name or address would smuggle in a line", () => {
  for (const policy of [parse(...EXAMPLE), twoOfThree, parse("quorum none")]) {
    const text = formatPolicy(policy);
    assert.deepEqual(formatPolicy(parsePolicy(text)), text);
    assert.deepEqual(parsePolicy(text).groups, policy.groups);
  }
  const policy = parse(...EXAMPLE);
  const bug = { code: "bug" };
  const [log] = policy.logs;
  const [witness, ...others] = policy.witnesses;
  for (const bad of [
    { ...policy, quorum: "nobody" },
    { ...policy, quorum: "" },
    { ...policy, logs: [{ ...log!, url: `https://a\nwitness z ${ed(9)}` }] },
    { ...policy, witnesses: [{ ...witness!, name: "X 1" }, ...others] },
    { ...policy, groups: [{ name: "g", threshold: 2, members: ["X1"] }] },
    { ...policy, groups: [...policy.groups].reverse() },
  ])
    assert.throws(() => formatPolicy(bad), bug);
});

test("a checkpoint that both log keys and a quorum signed is believed, and says who saw it when", () => {
  const { head: read, logSeconds, cosigners } = verifyWitnessed(cosigned(a, c), twoOfThree);
  assert.deepEqual(read, head);
  assert.equal(logSeconds, 500);
  assert.deepEqual(cosigners, [
    { witness: "0-ed25519", keyName: a.name, seconds: 600 },
    { witness: "0-ml-dsa", keyName: a.name, seconds: 600 },
    { witness: "2-ed25519", keyName: c.name, seconds: 601 },
    { witness: "2-ml-dsa", keyName: c.name, seconds: 601 },
  ]);
});

test("too few witnesses, half of a witness, or one witness many times are no quorum", () => {
  const untrusted = { code: "untrusted" };
  assert.throws(() => verifyWitnessed(checkpoint, twoOfThree), untrusted);
  assert.throws(() => verifyWitnessed(cosigned(a), twoOfThree), untrusted);
  const note = parseNote(cosigned(a, b));
  const without = (i: number): Uint8Array =>
    formatNote({ ...note, signatures: note.signatures.filter((_, j) => j !== i) });
  for (const i of [2, 3, 4, 5])
    assert.throws(() => verifyWitnessed(without(i), twoOfThree), untrusted);
  const repeated = [...note.signatures.slice(0, 4), ...cosign(a, head, 1), ...cosign(a, head, 2)];
  assert.throws(
    () => verifyWitnessed(formatNote({ ...note, signatures: repeated }), twoOfThree),
    untrusted,
  );
});

test("every log line of the origin must have signed: neither half of the log's key is enough", () => {
  const note = parseNote(cosigned(a, b));
  for (const i of [0, 1]) {
    const half = formatNote({ ...note, signatures: note.signatures.filter((_, j) => j !== i) });
    assert.throws(() => verifyWitnessed(half, twoOfThree), { code: "untrusted" });
  }
  const onlyEd25519 = parse(logs[0]!, "quorum none");
  const half = formatNote({ ...note, signatures: note.signatures.slice(0, 1) });
  assert.deepEqual(verifyWitnessed(half, onlyEd25519).head, head);
});

test("a log that the policy does not name is not believed, and one that it names besides does no harm", () => {
  const other = logKeyFromSeed(new Uint8Array(32).fill(60), "ledger.example/other");
  const policy = parse(...vkeys(other).map((key) => `log ${key}`), "quorum none");
  assert.throws(() => verifyWitnessed(checkpoint, policy), { code: "untrusted" });
  assert.throws(() => verifyWitnessed(checkpoint, parse("quorum none")), { code: "untrusted" });
  const both = parse(...logs, ...vkeys(other).map((key) => `log ${key}`), "quorum none");
  assert.equal(verifyWitnessed(checkpoint, both).head.origin, ORIGIN);
  const impostor = parse(...vkeys(otherLogKey).map((key) => `log ${key}`), "quorum none");
  assert.throws(() => verifyWitnessed(checkpoint, impostor), { code: "untrusted" });
});

test("damaged policies are read or refused, and damaged checkpoints never gain witnesses", () => {
  const text = utf8(EXAMPLE.map((line) => `${line}\n`).join(""));
  fc.assert(
    fc.property(fc.nat(), fc.nat(), fc.nat(255), (kind, at, value) => {
      survives(() => parsePolicy(damage(text, kind, at, value)));
    }),
    { numRuns: 1500 },
  );
  const enough = cosigned(a, b);
  fc.assert(
    fc.property(fc.nat(), fc.nat(), fc.nat(255), (kind, at, value) => {
      const bytes = damage(enough, kind, at, value);
      if (survives(() => verifyWitnessed(bytes, twoOfThree)) === "read") {
        const { head: read, cosigners } = verifyWitnessed(bytes, twoOfThree);
        assert.deepEqual(read, head);
        assert.equal(cosigners.length, 4);
      }
    }),
    { numRuns: 400 },
  );
  assert.ok(fromUtf8(enough).length > 10_000);
});
