import assert from "node:assert/strict";
import {
  appendFileSync,
  cpSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, describe, test } from "node:test";
import { inflateSync } from "node:zlib";
import { isExclaveError } from "../../errors.ts";
import { findBirthRecord, formatBirthRecord } from "./birth-record.ts";
import { changeOneDay } from "./changes.ts";
import { compareRecords } from "./compare.ts";
import { csvFields, csvRow } from "./csv.ts";
import { type GeneratedRegisters, generateRegisters, type RegisterSizes } from "./registers.ts";

const sizes: RegisterSizes = {
  births: 900,
  marriages: 500,
  deaths: 400,
  identities: 3000,
  titles: 300,
  scans: 5,
};
const seed = 20260316;

const base = mkdtempSync(join(tmpdir(), "exclave-demo-"));
after(() => rmSync(base, { recursive: true, force: true }));
let made = 0;

function fresh(ofSeed = seed): { directory: string; generated: GeneratedRegisters } {
  const directory = join(base, String(made++));
  return { directory, generated: generateRegisters(directory, ofSeed, sizes) };
}

function copyOf(directory: string): string {
  const copy = join(base, String(made++));
  cpSync(directory, copy, { recursive: true });
  return copy;
}

function filesOf(directory: string): string[] {
  return readdirSync(directory, { recursive: true, encoding: "utf8" })
    .filter((path) => statSync(join(directory, path)).isFile())
    .sort();
}

const linesOf = (path: string): string[] => readFileSync(path, "utf8").split("\n");

const { directory: original, generated } = fresh();

describe("the generator", () => {
  test("gives the same bytes for the same seed", () => {
    const again = fresh();
    assert.deepEqual(again.generated, generated);
    assert.deepEqual(compareRecords(original, again.directory).differences, []);
  });

  test("gives other people for another seed", () => {
    const other = fresh(seed + 1);
    const differing = compareRecords(original, other.directory).differences;
    assert.ok(differing.length > 100);
    assert.notEqual(other.generated.sought.name, generated.sought.name);
  });

  test("counts what it wrote", () => {
    const { records, files, bytes } = compareRecords(original, original);
    assert.equal(files, filesOf(original).length);
    assert.equal(files, generated.files);
    assert.equal(bytes, generated.bytes);
    assert.equal(
      records,
      Object.values(generated.records).reduce((sum, count) => sum + count),
    );
  });

  test("writes rows as wide as their header", () => {
    for (const path of filesOf(original).filter((name) => name.endsWith(".csv"))) {
      const [header, ...rows] = linesOf(join(original, path)).slice(0, -1);
      const width = csvFields(header!).length;
      for (const row of rows) {
        assert.equal(csvFields(row).length, width, `${path}: ${row}`);
        assert.equal(csvRow(csvFields(row)), `${row}\n`);
      }
    }
  });

  test("draws scans that a PNG reader accepts", () => {
    const png = readFileSync(join(original, "land-titles/scans/deed-00001.png"));
    const [width, height] = [png.readUInt32BE(16), png.readUInt32BE(20)];
    const packedBytes = png.readUInt32BE(33);
    const pixels = inflateSync(png.subarray(41, 41 + packedBytes));
    assert.equal(pixels.length, (width + 1) * height);
    assert.ok(png.length > 60_000 && png.length < 400_000, `${png.length} bytes`);
  });
});

describe("a day of changes", () => {
  const changed = copyOf(original);
  const day = changeOneDay(changed, seed);
  const before = filesOf(original);
  const now = filesOf(changed);
  const kept = before.filter((path) => now.includes(path));
  const differing = kept.filter(
    (path) => !readFileSync(join(original, path)).equals(readFileSync(join(changed, path))),
  );

  test("changes exactly the files that it says", () => {
    const added = now.filter((path) => !before.includes(path));
    assert.equal(added.filter((path) => path.endsWith(".json")).length, day.birthsAdded);
    assert.equal(added.filter((path) => path.endsWith(".png")).length, day.scansAdded);
    assert.equal(added.length, day.filesAdded);
    assert.deepEqual(
      before.filter((path) => !now.includes(path)),
      [day.deleted],
    );
    assert.equal(day.filesDeleted, 1);
    const corrected = differing.filter((path) => path.endsWith(".json"));
    assert.equal(corrected.length, day.birthsCorrected);
    assert.equal(differing.length, day.filesChanged);
  });

  test("edits and appends exactly the rows that it says", () => {
    let edited = 0;
    let appended = 0;
    for (const path of differing.filter((name) => !name.endsWith(".json"))) {
      const old = linesOf(join(original, path)).slice(0, -1);
      const rows = linesOf(join(changed, path)).slice(0, -1);
      edited += old.filter((row, at) => row !== rows[at]).length;
      appended += rows.length - old.length;
    }
    assert.equal(edited, day.rowsEdited);
    assert.equal(appended, day.rowsAppended);
  });

  test("is the same day for the same seed", () => {
    const again = copyOf(original);
    assert.deepEqual(changeOneDay(again, seed), day);
    assert.deepEqual(compareRecords(changed, again).differences, []);
  });

  test("leaves the person alone whom the demo looks up", () => {
    const { recordNumber } = generated.sought;
    assert.deepEqual(
      findBirthRecord(changed, recordNumber),
      findBirthRecord(original, recordNumber),
    );
  });
});

describe("the comparison", () => {
  const book = "national-identity/identities.csv";
  const cases: readonly [string, (copy: string) => void, RegExp][] = [
    [
      "a flipped byte past the first buffer",
      (copy) => {
        const bytes = readFileSync(join(copy, book));
        bytes[300_000]! ^= 1;
        writeFileSync(join(copy, book), bytes);
      },
      /^national-identity\/identities\.csv differs from byte 300000 on$/,
    ],
    [
      "a missing file",
      (copy) => rmSync(join(copy, generated.sought.path)),
      /SB-1994-\d+\.json is missing$/,
    ],
    ["an extra file", (copy) => writeFileSync(join(copy, "x.json"), ""), /^x\.json is not in the/],
    ["a file cut short", (copy) => truncateSync(join(copy, book), 9), /differs from byte 9 on$/],
    [
      "a file too long",
      (copy) => appendFileSync(join(copy, book), "x"),
      /differs from byte \d+ on$/,
    ],
  ];
  for (const [what, damage, sentence] of cases) {
    test(`finds ${what}, and nothing else`, () => {
      const copy = copyOf(original);
      damage(copy);
      const { differences, ...counts } = compareRecords(original, copy);
      assert.equal(differences.length, 1);
      assert.match(differences[0]!, sentence);
      const { differences: none, ...all } = compareRecords(original, original);
      assert.deepEqual(none, []);
      assert.deepEqual(counts, all);
    });
  }

  test("finds a folder that is missing or became a file", () => {
    const copy = copyOf(original);
    renameSync(join(copy, "land-titles"), join(copy, "land"));
    const { differences } = compareRecords(original, copy);
    assert.ok(differences.includes("land-titles/titles.csv is missing"));
    assert.ok(differences.includes("land is not in the original"));
    rmSync(join(copy, "land"), { recursive: true });
    writeFileSync(join(copy, "land-titles"), "");
    const [first] = compareRecords(original, copy).differences;
    assert.equal(first, "land-titles is no directory");
  });

  test("names a hundred differences and counts the rest", () => {
    const empty = mkdtempSync(join(base, "empty-"));
    const { differences, files } = compareRecords(original, empty);
    assert.equal(differences.length, 101);
    assert.match(differences[100]!, /^and \d+ more$/);
    assert.equal(files, generated.files);
  });

  test("does not call a missing original equal", () => {
    assert.throws(() => compareRecords(join(base, "nowhere"), original), /ENOENT/);
  });
});

describe("a birth record", () => {
  test("is found by its number and belongs to the person named", () => {
    const record = findBirthRecord(original, generated.sought.recordNumber);
    assert.equal(`${record.child.forenames} ${record.child.surname}`, generated.sought.name);
  });

  test("is refused by number, absence and form with different words", () => {
    const copy = copyOf(original);
    writeFileSync(join(copy, generated.sought.path), "{}");
    const refused = (number: string, code: "usage" | "unknown-name" | "malformed"): void =>
      assert.throws(
        () => findBirthRecord(copy, number),
        (error) => isExclaveError(error, code),
      );
    refused("../../etc/passwd", "usage");
    refused("SB-1994-999999", "unknown-name");
    refused(generated.sought.recordNumber, "malformed");
  });

  test("is shown as a block of 76 columns, whatever it holds", () => {
    const record = findBirthRecord(original, generated.sought.recordNumber);
    const hostile = {
      ...record,
      child: { ...record.child, forenames: `\u001b[2J ${"Long ".repeat(30)}${"x".repeat(200)}` },
      father: null,
      annotations: [{ on: "2026-03-17", text: "occupation corrected ".repeat(6), registrar: "A" }],
    };
    for (const one of [record, hostile]) {
      const text = formatBirthRecord(one);
      assert.deepEqual([...new Set(text.split("\n").map((line) => line.length))], [76]);
      assert.doesNotMatch(text, /[^\P{C}\n]/u);
      assert.match(text, new RegExp(record.recordNumber));
    }
  });
});
