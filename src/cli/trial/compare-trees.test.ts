import assert from "node:assert/strict";
import {
  chmodSync,
  cpSync,
  linkSync,
  lutimesSync,
  mkdirSync,
  mkdtempSync,
  rmSync,
  symlinkSync,
  unlinkSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { loadNative } from "../../platform/native.ts";
import { compareTrees } from "./compare-trees.ts";

const base = mkdtempSync(join(tmpdir(), "exclave-compare-"));
after(() => rmSync(base, { recursive: true, force: true }));
const old = new Date("1994-03-28T06:05:00Z");
let made = 0;

/** An original, and a copy of it that is the same in everything, then changed by `alter`. */
function trees(alter: (copy: string, original: string) => void) {
  const original = join(base, `${made}`);
  const copy = join(base, `${made++}-restored`);
  mkdirSync(join(original, "books"), { recursive: true });
  writeFileSync(join(original, "books", "a.csv"), "a".repeat(3_000_000));
  writeFileSync(join(original, "books", "b.csv"), "b");
  linkSync(join(original, "books", "b.csv"), join(original, "books", "c.csv"));
  symlinkSync("books", join(original, "link"));
  cpSync(original, copy, { recursive: true, preserveTimestamps: true, verbatimSymlinks: true });
  unlinkSync(join(copy, "books", "c.csv"));
  linkSync(join(copy, "books", "b.csv"), join(copy, "books", "c.csv"));
  for (const root of [original, copy]) {
    utimesSync(join(root, "books", "b.csv"), old, old);
    utimesSync(join(root, "books", "a.csv"), old, old);
    lutimesSync(join(root, "link"), old, old);
    utimesSync(join(root, "books"), old, old);
    utimesSync(root, old, old);
  }
  alter(copy, original);
  return { original, copy };
}

async function compare(
  alter: (copy: string, original: string) => void,
  options: { readonly protectedAtMs?: number; readonly excused?: readonly string[] } = {},
) {
  const { original, copy } = trees(alter);
  return compareTrees({
    original,
    restored: copy,
    native: loadNative(),
    excludes: () => false,
    oneFileSystem: false,
    // In the future: nothing counts as changed since, unless a test says so.
    protectedAtMs: options.protectedAtMs ?? Date.now() + 60_000,
    leftOut: new Set(),
    excused: new Set(options.excused),
    onProgress: () => undefined,
  });
}

/** Changes a file, and gives its directory its old time back. */
const within =
  (change: (books: string) => void) =>
  (copy: string): void => {
    change(join(copy, "books"));
    utimesSync(join(copy, "books"), old, old);
  };

test("a true copy has no difference, and all of it was compared", async () => {
  const result = await compare(() => undefined);
  assert.deepEqual(result.differences, []);
  assert.deepEqual(
    { entries: result.entries, files: result.files, bytes: result.bytes },
    { entries: 6, files: 3, bytes: 3_000_002 },
  );
});

const cases: readonly { what: string; alter: (copy: string) => void; says: RegExp }[] = [
  {
    what: "a byte",
    alter: within((books) => {
      writeFileSync(join(books, "a.csv"), `${"a".repeat(2_999_999)}x`);
      utimesSync(join(books, "a.csv"), old, old);
    }),
    says: /^books\/a\.csv differs after byte 2097152$/,
  },
  {
    what: "a length",
    alter: within((books) => writeFileSync(join(books, "a.csv"), "a")),
    says: /^books\/a\.csv had 3000000 bytes and has 1$/,
  },
  {
    what: "a missing file",
    alter: within((books) => unlinkSync(join(books, "a.csv"))),
    says: /^books\/a\.csv is missing$/,
  },
  {
    what: "a file too many",
    alter: within((books) => writeFileSync(join(books, "z.csv"), "z")),
    says: /^books\/z\.csv is not in the original$/,
  },
  {
    what: "a permission",
    alter: (copy) => chmodSync(join(copy, "books", "a.csv"), 0o600),
    says: /^books\/a\.csv had the permissions \d+ and has 600$/,
  },
  {
    what: "a time",
    alter: (copy) => utimesSync(join(copy, "books"), old, new Date()),
    says: /^books has another modification time$/,
  },
  {
    what: "a link's target",
    alter: (copy) => {
      unlinkSync(join(copy, "link"));
      symlinkSync("elsewhere", join(copy, "link"));
      lutimesSync(join(copy, "link"), old, old);
      utimesSync(copy, old, old);
    },
    says: /^link points elsewhere$/,
  },
  {
    what: "a hard link that became a copy",
    alter: within((books) => {
      unlinkSync(join(books, "c.csv"));
      writeFileSync(join(books, "c.csv"), "b");
      utimesSync(join(books, "c.csv"), old, old);
    }),
    says: /^books\/c\.csv is not the same file as its other names$/,
  },
];
for (const { what, alter, says } of cases) {
  test(`${what} is found and named`, async () => {
    const { differences } = await compare(alter);
    assert.equal(differences.length, 1, differences.join("; "));
    assert.match(differences[0]!, says);
  });
}

test("what changed here after it was protected proves nothing, and is counted apart", async () => {
  const since = Date.now() - 60_000;
  const result = await compare(
    (_copy, original) => {
      writeFileSync(join(original, "books", "a.csv"), "new");
      writeFileSync(join(original, "later.csv"), "later");
      unlinkSync(join(original, "link"));
    },
    { protectedAtMs: since },
  );
  assert.deepEqual(result.differences, []);
  assert.ok(result.changedSince >= 3);
});

test("metadata that the restore said it could not set is no difference; content always is", async () => {
  const excused = ["books/a.csv"];
  const mode = await compare((copy) => chmodSync(join(copy, "books", "a.csv"), 0o600), { excused });
  assert.deepEqual([mode.differenceCount, mode.metadataExcused], [0, 1]);
  const content = await compare(
    within((books) => writeFileSync(join(books, "a.csv"), "x".repeat(3_000_000))),
    { excused },
  );
  assert.equal(content.differenceCount, 1);
});
