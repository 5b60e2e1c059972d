import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { noise, tries } from "../../test/support/vault.ts";
import { isExclaveError } from "../errors.ts";
import {
  CONTENT_ITEMS_MAX,
  ContentWriter,
  compareEntryPaths,
  contentBytes,
  contentItems,
  decodeEntry,
  decodeExcerpt,
  type Entry,
  EntryDecoder,
  EntryEncoder,
  type EntryKind,
  type EntryRecord,
  entryPath,
  isEntryOf,
  PATH_BYTES_MAX,
  RecordSplitter,
} from "./entries.ts";

const malformed = (error: unknown): boolean => isExclaveError(error, "malformed");

const plain: Entry = {
  path: "",
  kind: "directory",
  mode: 0o755,
  uid: 0,
  gid: 0,
  userName: "",
  groupName: "",
  mtimeSec: 0,
  mtimeNsec: 0,
  ctimeSec: 0,
  ctimeNsec: 0,
  ino: 0n,
  dev: 0,
  size: 0,
  linkTarget: "",
  rdevMajor: 0,
  rdevMinor: 0,
  xattrs: [],
};
const directory = (path: string): Entry => ({ ...plain, path });
const file = (path: string): Entry => ({ ...plain, path, kind: "file" });

function encode(records: readonly (Entry | Uint8Array)[]): Uint8Array {
  const encoder = new EntryEncoder();
  for (const record of records) {
    if (record instanceof Uint8Array) encoder.content(record);
    else encoder.entry(record);
  }
  return Uint8Array.from(encoder.out.view());
}

/** All records of a stream that arrives in blocks of these sizes, over and over. */
function decode(
  stream: Uint8Array,
  blocks: readonly number[] = [stream.length + 1],
  options?: { readonly rootImplied: boolean },
): EntryRecord[] {
  const decoder = new EntryDecoder(options);
  const records: EntryRecord[] = [];
  for (let at = 0, i = 0; at < stream.length; i++) {
    const size = blocks[i % blocks.length]!;
    for (const record of decoder.push(stream.subarray(at, at + size))) {
      const { items } = record as { items?: Uint8Array };
      records.push(items ? { type: "content", items: Uint8Array.from(items) } : record);
    }
    at += size;
  }
  decoder.end();
  return records;
}

const refuses = (records: readonly (Entry | Uint8Array)[], what: string): void =>
  assert.throws(() => decode(encode(records)), malformed, what);
const accepts = (records: readonly (Entry | Uint8Array)[]): void => {
  assert.equal(decode(encode(records)).length, records.length);
};

/** A name as file systems have them: any bytes but "/" and NUL. */
const name = fc
  .oneof(
    fc.uint8Array({ minLength: 1, maxLength: 6 }),
    fc.uint8Array({ minLength: 255, maxLength: 255 }),
    fc
      .constantFrom(
        "a",
        "a.",
        "a-",
        "a b",
        "...",
        "..a",
        "\x01",
        "\x7f\x1b[0m",
        "\xff\xfe",
        "é",
        "\n",
      )
      .map((text) => Uint8Array.from(Buffer.from(text, "latin1"))),
  )
  .map((bytes) => Buffer.from(bytes.map((byte) => (byte === 0 || byte === 0x2f ? 0x2e : byte))))
  .map((bytes) => bytes.toString("latin1"))
  .filter((text) => text !== "." && text !== "..");

const binary = (maxLength: number) =>
  fc.uint8Array({ maxLength }).map((bytes) => Buffer.from(bytes).toString("latin1"));
const seconds = fc.oneof(fc.integer(), fc.integer({ min: -(2 ** 52), max: 2 ** 52 - 1 }));
const nanoseconds = fc.nat(999_999_999);
const number = fc.oneof(fc.nat(70_000), fc.nat(2 ** 32 - 1));

const plainObject = { noNullPrototype: true } as const;
const facts = fc.record(
  {
    mode: fc.nat(0o7777),
    uid: number,
    gid: number,
    userName: binary(40),
    groupName: binary(40),
    mtimeSec: seconds,
    mtimeNsec: nanoseconds,
    ctimeSec: seconds,
    ctimeNsec: nanoseconds,
    ino: fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }),
    dev: fc.maxSafeNat(),
    rdevMajor: number,
    rdevMinor: number,
    xattrs: fc.array(
      fc.record({ name: binary(60), value: fc.uint8Array({ maxLength: 200 }) }, plainObject),
      { maxLength: 3 },
    ),
  },
  plainObject,
);

type Facts = Omit<Entry, "path" | "kind" | "size" | "linkTarget">;
type Leaf = { readonly facts: Facts; readonly kind: EntryKind; readonly target: string };
type Tree = {
  readonly facts: Facts;
  readonly children: readonly (readonly [string, Tree | Leaf])[];
};

const { tree } = fc.letrec<{ tree: Tree; node: Tree | Leaf }>((tie) => ({
  tree: fc.record({
    facts,
    children: fc.uniqueArray(fc.tuple(name, tie("node")), { selector: ([n]) => n, maxLength: 6 }),
  }),
  node: fc.oneof(
    { depthSize: "small", withCrossShrink: true },
    fc.record({
      facts,
      kind: fc.constantFrom<EntryKind>(
        "file",
        "file",
        "symlink",
        "fifo",
        "char-device",
        "block-device",
        "hardlink",
      ),
      target: name,
    }),
    tie("tree"),
  ),
}));

/** The records of a tree in order; a file's content follows from its path. */
function flatten(node: Tree): (Entry | Uint8Array)[] {
  const entries: Entry[] = [];
  const visit = (path: string, one: Tree | Leaf): void => {
    if ("children" in one) {
      const numbers = { size: 0, rdevMajor: 0, rdevMinor: 0 };
      entries.push({ ...one.facts, ...numbers, path, kind: "directory", linkTarget: "" });
      for (const [child, below] of one.children) visit(path ? `${path}/${child}` : child, below);
    } else {
      const links = one.kind === "symlink" || one.kind === "hardlink";
      const size = one.kind === "file" ? path.length : 0;
      const device = one.kind === "char-device" || one.kind === "block-device";
      entries.push({
        ...one.facts,
        ...(device ? {} : { rdevMajor: 0, rdevMinor: 0 }),
        path,
        kind: one.kind,
        size,
        linkTarget: links ? one.target : "",
      });
    }
  };
  visit("", node);
  return entries
    .toSorted((a, b) => compareEntryPaths(a.path, b.path))
    .flatMap((entry) => {
      if (entry.kind !== "file" || entry.size % 2) return [entry];
      const writer = new ContentWriter();
      for (let i = 0; i < entry.size; i += 2) {
        if (i % 3) writer.hole(i + 1);
        else writer.chunk(noise(32, i), i + 1);
      }
      return [entry, ...writer.take()];
    });
}

test("streams put together of excerpts and of encoded records are the same bytes", () => {
  const cuts = fc.array(fc.integer({ min: 1, max: 5 }), { minLength: 1, maxLength: 5 });
  fc.assert(
    fc.property(tree, cuts, (root, cuts) => {
      const records = flatten(root);
      const whole = encode(records);
      const byExcerpts = new EntryEncoder();
      const excerpt = new EntryEncoder();
      let entries = 0;
      const move = (): void => {
        const taken = excerpt.take();
        const decoded = [...decodeExcerpt(taken.records)].filter(({ type }) => type === "entry");
        assert.equal(decoded.length, entries);
        byExcerpts.excerpt(taken);
        entries = 0;
      };
      for (const [i, record] of records.entries()) {
        if (record instanceof Uint8Array) {
          excerpt.content(record);
          continue;
        }
        if (entries >= cuts[i % cuts.length]!) move();
        excerpt.entry(record);
        entries++;
      }
      move();
      assert.ok(Buffer.from(byExcerpts.out.view()).equals(whole));

      const copied = new EntryEncoder();
      let previous = "";
      for (const raw of new RecordSplitter().push(whole)) {
        if (raw.type === "content") {
          copied.content(raw.body);
          continue;
        }
        const entry = decodeEntry(raw.body, previous);
        assert.equal(entryPath(raw.body, previous), entry.path);
        assert.ok(isEntryOf(raw.body, entry, previous));
        // Every third as if something else had come before it.
        if (entry.ino % 3n === 0n) copied.entry(entry);
        else copied.entryRecord(raw, entry.path, previous);
        previous = entry.path;
      }
      assert.ok(Buffer.from(copied.out.view()).equals(whole));
    }),
    tries(200),
  );
});

test("any tree of entries comes back, from blocks of any size", () => {
  const sizes = fc.array(
    fc.oneof(fc.integer({ min: 1, max: 9 }), fc.integer({ min: 1, max: 5000 })),
    {
      minLength: 1,
      maxLength: 10,
    },
  );
  let entries = 0;
  fc.assert(
    fc.property(tree, sizes, (node, blocks) => {
      const records = flatten(node);
      entries += records.length;
      const expected = records.map((record) =>
        record instanceof Uint8Array
          ? { type: "content", items: record }
          : { type: "entry", entry: record },
      );
      assert.deepEqual(decode(encode(records), blocks), expected);
    }),
    tries(150),
  );
  assert.ok(entries > 500, `only ${entries} records were tried`);
});

test("paths compare as their components do, byte by byte", () => {
  const path = fc.array(name, { maxLength: 4 }).map((names) => names.join("/"));
  const split = (text: string): Buffer[] =>
    text === "" ? [] : text.split("/").map((part) => Buffer.from(part, "latin1"));
  const byComponents = (a: Buffer[], b: Buffer[]): number => {
    for (let i = 0; i < Math.min(a.length, b.length); i++) {
      const order = Buffer.compare(a[i]!, b[i]!);
      if (order !== 0) return order;
    }
    return Math.sign(a.length - b.length);
  };
  fc.assert(
    fc.property(path, path, (a, b) => {
      assert.equal(Math.sign(compareEntryPaths(a, b)), byComponents(split(a), split(b)));
    }),
    tries(500),
  );
  // Where comparing whole strings would go wrong: these bytes sort below "/".
  assert.ok(compareEntryPaths("a/b", "a.b") < 0);
  assert.ok(compareEntryPaths("a/b", "a\x01") < 0);
  assert.ok(compareEntryPaths("a", "a/b") < 0);
});

test("entries out of order, or twice, are refused", () => {
  const root = directory("");
  accepts([root, file("a"), file("b")]);
  refuses([root, file("b"), file("a")], "unsorted");
  refuses([root, file("a"), file("a")], "a duplicate");
  refuses([root, root], "two roots");
  refuses([root, directory("a"), file("a.b"), file("a/b")], "a subtree after its sibling");
  accepts([root, directory("a"), file("a/b"), file("a.b")]);
  refuses([file("a"), root], "the root last");
});

test("paths that could lead out of the target are refused", () => {
  const root = directory("");
  for (const path of [
    "..",
    ".",
    "../a",
    "/a",
    "/",
    "a//b",
    "a/",
    "a/../b",
    "a/..",
    "a/.",
    "./a",
    "a\0",
    "\0",
    "a/b\0c",
  ]) {
    refuses([root, file(path)], JSON.stringify(path));
    refuses([root, directory(path)], JSON.stringify(path));
    refuses([root, directory("a"), file(path)], JSON.stringify(path));
    refuses([root, { ...file("z"), kind: "hardlink", linkTarget: path }], JSON.stringify(path));
  }
  refuses([root, { ...file("z"), kind: "hardlink", linkTarget: "" }], "a link to the root");
  // What only looks like it is a name like any other.
  accepts([root, file("..."), file("..a"), file("a..")]);
});

test("an entry lies only in a directory that came before it", () => {
  const root = directory("");
  for (const kind of ["file", "symlink", "fifo", "char-device", "hardlink"] as const) {
    const links = kind === "symlink" || kind === "hardlink";
    const parent: Entry = { ...file("a"), kind, linkTarget: links ? "x" : "" };
    refuses([root, parent, file("a/b")], `a child of a ${kind}`);
    refuses([root, directory("d"), { ...parent, path: "d/a" }, file("d/a/b")], `deep, ${kind}`);
  }
  refuses([root, file("a/b")], "no parent");
  refuses([root, directory("a"), file("b/c")], "another's child");
  refuses([root, directory("a"), file("a/b/c")], "no grandparent");
  refuses([root, directory("a"), directory("b"), file("b/c"), file("b/c/d")], "below a file");
  refuses([directory("a")], "a directory without the root");
  refuses([file("a"), file("b")], "two files without the root");
  refuses([file("a/b")], "one file in no directory");
  refuses([{ ...plain, kind: "symlink", linkTarget: "/" }], "the root as a symlink");
  refuses([file("")], "the root as a file");
});

test("a part that is one file is that file alone", () => {
  const writer = new ContentWriter();
  writer.hole(5);
  accepts([{ ...file("dump"), size: 5 }, ...writer.take()]);
});

test("an excerpt may leave the root out, and nothing else", () => {
  const excerpt = (records: readonly Entry[]): number =>
    decode(encode(records), undefined, { rootImplied: true }).length;
  assert.equal(excerpt([directory("a"), file("a/b")]), 2);
  assert.throws(() => excerpt([file("a/b")]), malformed);
});

test("content stands only behind a file", () => {
  const root = directory("");
  const writer = new ContentWriter();
  writer.hole(1);
  const [content] = writer.take();
  accepts([root, file("a"), content!, content!]);
  refuses([content!], "at the start");
  refuses([root, content!], "behind a directory");
  refuses([root, file("a"), directory("b"), content!], "behind a directory after a file");
  for (const kind of ["symlink", "hardlink", "fifo", "block-device"] as const) {
    const linkTarget = kind === "symlink" || kind === "hardlink" ? "x" : "";
    accepts([root, { ...file("a"), kind, linkTarget }]);
    refuses([root, { ...file("a"), kind, linkTarget }, content!], `behind a ${kind}`);
  }
});

test("a field that an entry of its kind does not have is refused", () => {
  const root = directory("");
  refuses([root, { ...file("a"), kind: "fifo", linkTarget: "x" }], "a fifo with a target");
  refuses([root, { ...file("a"), linkTarget: "x" }], "a file with a target");
  refuses([root, { ...file("a"), rdevMinor: 1 }], "a file with a device number");
  refuses([root, { ...file("a"), kind: "fifo", size: 1 }], "a fifo with a size");
  accepts([root, { ...file("a"), kind: "char-device", rdevMajor: 1, rdevMinor: 3 }]);
});

test("a stream that ends within a record is refused", () => {
  const stream = encode([directory(""), file("a"), file("b")]);
  const records: number[] = [];
  for (let end = 1; end < stream.length; end++) {
    try {
      records.push(decode(stream.subarray(0, end)).length);
    } catch (error) {
      assert.ok(malformed(error));
    }
  }
  assert.deepEqual(records, [1, 2], "only between records may it end");
});

test("fields out of their range are refused", () => {
  const root = directory("");
  refuses([{ ...root, mode: 0o10000 }], "a mode");
  refuses([{ ...root, uid: 2 ** 32 }], "a user");
  refuses([{ ...root, gid: 2 ** 32 }], "a group");
  refuses([{ ...root, mtimeNsec: 1e9 }], "nanoseconds");
  refuses([{ ...root, ctimeNsec: 1e9 }], "nanoseconds");
  refuses([{ ...root, ino: 2n ** 64n }], "an inode");
  refuses([{ ...root, userName: "u".repeat(4097) }], "a name");
  refuses([{ ...root, linkTarget: "u".repeat(PATH_BYTES_MAX + 1) }], "a target");
  refuses([root, file("u".repeat(PATH_BYTES_MAX + 1))], "a path");
  const xattr = { name: "user.a", value: new Uint8Array() };
  refuses([{ ...root, xattrs: Array.from({ length: 4097 }, () => xattr) }], "attributes");
  accepts([{ ...root, mode: 0o7777, xattrs: Array.from({ length: 4096 }, () => xattr) }]);
});

test("a path of shared parts grows no longer than a path may be", () => {
  // Each shares all of the one before and adds its own: no single record is long.
  const deep = Array.from({ length: 4 }, (_, i) =>
    directory("d".repeat(30_000).concat("/d".repeat(i * 9000))),
  );
  const stream = encode([directory(""), ...deep.slice(0, 1), ...deep.slice(3)]);
  assert.throws(() => decode(stream), /too long/);
});

/** A record with a body given byte by byte. */
const record = (tag: number, body: readonly number[]): Uint8Array =>
  Uint8Array.of(tag, body.length, ...body);

test("records of unknown types, padded or impossible lengths are refused", () => {
  const root = encode([directory("")]);
  const after = (bytes: Uint8Array): (() => unknown) => {
    return () => decode(Buffer.concat([root, bytes]));
  };
  assert.throws(after(record(0, [])), malformed);
  assert.throws(after(record(3, [1])), malformed);
  assert.throws(after(record(1, [])), malformed);
  assert.throws(after(record(1, [200, 1, 0])), malformed, "shares more than there is");
  assert.throws(after(Uint8Array.of(1, 0xff, 0xff, 0xff, 0xff, 0x7f)), malformed, "4 GiB");
  assert.throws(after(Uint8Array.of(1, 0x80, 0x80, 0x80, 0x80, 0x80, 0x00)), malformed);
  assert.throws(after(Uint8Array.of(1, 0x81, 0x80, 0x82, 0x02)), malformed, "beyond 4 MiB");
  // The same record with its length spelt longer would give one snapshot two spellings.
  const padded = Buffer.concat([Uint8Array.of(1, root[1]! | 0x80, 0), root.subarray(2)]);
  assert.throws(() => decode(padded), malformed, "a padded length");
  const body = encode([directory("")]).subarray(2);
  assert.throws(() => decode(record(1, [...body, 0])), malformed, "a byte left over");
});

test("content items come back, in records of bounded length", () => {
  const item = fc.oneof(
    fc.record(
      { type: fc.constant("hole" as const), bytes: fc.integer({ min: 1, max: 2 ** 40 }) },
      plainObject,
    ),
    fc.record(
      {
        type: fc.constant("chunk" as const),
        bytes: fc.integer({ min: 1, max: 2 ** 20 }),
        id: fc.uint8Array({ minLength: 32, maxLength: 32 }),
      },
      plainObject,
    ),
  );
  fc.assert(
    fc.property(fc.array(item, { maxLength: 40 }), fc.nat(3), (items, times) => {
      const writer = new ContentWriter();
      const all = Array.from({ length: times * 100 }, () => items).flat();
      for (const one of all) {
        if (one.type === "hole") writer.hole(one.bytes);
        else writer.chunk(one.id, one.bytes);
      }
      const records = writer.take();
      assert.equal(records.length, Math.ceil(all.length / CONTENT_ITEMS_MAX));
      const found = records.flatMap((bytes) => [...contentItems(bytes)]);
      assert.deepEqual(
        found.map((one) => (one.type === "chunk" ? { ...one, id: Uint8Array.from(one.id) } : one)),
        all,
      );
      assert.equal(
        records.reduce((sum, bytes) => sum + contentBytes(bytes), 0),
        all.reduce((sum, { bytes }) => sum + bytes, 0),
      );
      assert.deepEqual(writer.take(), [], "the writer is empty again");
    }),
    tries(40),
  );
});

test("content items that are empty, cut short, unknown or too many are refused", () => {
  const read = (bytes: Uint8Array) => () => [...contentItems(bytes)];
  assert.throws(read(Uint8Array.of(0, 0)), malformed, "an empty hole");
  assert.throws(read(Uint8Array.of(1, 0, ...new Uint8Array(32))), malformed, "an empty chunk");
  assert.throws(read(Uint8Array.of(2, 1)), malformed, "an unknown type");
  assert.throws(read(Uint8Array.of(1, 1, ...new Uint8Array(31))), malformed, "half an id");
  assert.throws(read(Uint8Array.of(0)), malformed, "no length");
  const many = new Uint8Array((CONTENT_ITEMS_MAX + 1) * 2).map((_, i) => i % 2);
  assert.equal([...contentItems(many.subarray(2))].length, CONTENT_ITEMS_MAX);
  assert.throws(read(many), malformed, "too many");
});

/** What whoever restores relies on, held against every record that a decoder lets through. */
function checkRules(records: readonly EntryRecord[]): void {
  const directories = new Set<string>();
  let previous: Entry | undefined;
  for (const one of records) {
    if (one.type === "content") {
      assert.equal(previous?.kind, "file");
      continue;
    }
    const { path, kind, linkTarget } = one.entry;
    if (previous) assert.ok(compareEntryPaths(previous.path, path) < 0);
    for (const text of kind === "hardlink" ? [path, linkTarget] : [path]) {
      if (text === "") continue;
      assert.ok(!text.includes("\0"));
      for (const part of text.split("/")) assert.ok(!["", ".", ".."].includes(part));
    }
    const parent = path.includes("/") ? path.slice(0, path.lastIndexOf("/")) : "";
    if (path === "") assert.equal(kind, "directory");
    else assert.ok(directories.has(parent) || (!previous && kind === "file" && parent === ""));
    if (kind === "directory") directories.add(path);
    assert.ok(Number.isSafeInteger(one.entry.size) && one.entry.size >= 0);
    previous = one.entry;
  }
}

test("altered streams are refused, or are streams that keep the rules", () => {
  const change = fc.tuple(fc.nat(), fc.nat(255), fc.constantFrom("set", "insert", "delete", "cut"));
  let refused = 0;
  let passed = 0;
  fc.assert(
    fc.property(tree, fc.array(change, { minLength: 1, maxLength: 3 }), (node, changes) => {
      let stream = [...encode(flatten(node))];
      for (const [where, byte, how] of changes) {
        const at = where % stream.length;
        if (how === "set") stream[at] = byte;
        else if (how === "insert") stream.splice(at, 0, byte);
        else if (how === "delete") stream.splice(at, 1);
        else stream = stream.slice(0, Math.max(1, at));
      }
      try {
        const records = decode(Uint8Array.from(stream), [100]);
        checkRules(records);
        for (const one of records)
          if (one.type === "content") for (const _ of contentItems(one.items));
        passed++;
      } catch (error) {
        if (!malformed(error)) throw error;
        refused++;
      }
    }),
    tries(400),
  );
  assert.ok(refused > 20 && passed > 20, `${refused} refused, ${passed} passed`);
});
