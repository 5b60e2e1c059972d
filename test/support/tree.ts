/** Trees for tests: one with everything a file system can hold, and how to compare two. */
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import {
  chmodSync,
  closeSync,
  ftruncateSync,
  lchownSync,
  linkSync,
  lstatSync,
  mkdirSync,
  openSync,
  readdirSync,
  readlinkSync,
  readSync,
  symlinkSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import { displayName, toFsPath } from "../../src/platform/names.ts";
import { loadNative } from "../../src/platform/native.ts";
import { randomBytes } from "./random.ts";

export const isRoot = process.getuid?.() === 0;
const native = loadNative();

/** Everything about each entry that a restore must bring back, by path as people see it. */
export type Tree = Readonly<Record<string, string>>;

/** Describes what is at a path and below. Symbolic links are not followed. */
export function treeOf(root: string): Tree {
  const tree: Record<string, string> = {};
  const links = new Map<string, string>();
  const visit = (path: string): void => {
    const full = path === "" ? root : `${root}/${path}`;
    tree[displayName(path) || "."] = describe(full, path, links);
    if (!lstatSync(toFsPath(full)).isDirectory()) return;
    for (const name of readdirSync(toFsPath(full), { encoding: "latin1" }).sort()) {
      visit(path === "" ? name : `${path}/${name}`);
    }
  };
  visit("");
  return tree;
}

function describe(full: string, path: string, links: Map<string, string>): string {
  const stat = lstatSync(toFsPath(full), { bigint: true });
  const facts = [
    `mode ${stat.mode.toString(8)}`,
    `owner ${stat.uid}:${stat.gid}`,
    `mtime ${stat.mtimeNs}`,
  ];
  for (const name of native?.listXattrs(full).sort() ?? []) {
    // A security module's own labels come from where the file is.
    if (name.startsWith("security.")) continue;
    const value = Buffer.from(native?.getXattr(full, name) ?? []);
    facts.push(`${name}=${value.toString("hex")}`);
  }
  if (stat.isSymbolicLink()) {
    facts.push(`to ${JSON.stringify(readlinkSync(toFsPath(full), { encoding: "latin1" }))}`);
  }
  if (stat.isCharacterDevice() || stat.isBlockDevice()) facts.push(`device ${stat.rdev}`);
  if (stat.isFile()) {
    facts.push(`${stat.size} bytes`, `content ${contentOf(full)}`);
    if (stat.blocks * 512n < stat.size / 2n) facts.push("sparse");
    if (stat.nlink > 1n) {
      const first = links.get(`${stat.dev}:${stat.ino}`) ?? path;
      links.set(`${stat.dev}:${stat.ino}`, first);
      facts.push(`the same file as ${displayName(first)}`);
    }
  }
  return facts.join(", ");
}

/** Asserts that two trees are the same; shows what differs and nothing else. */
export function assertSameTree(actual: Tree, expected: Tree): void {
  const paths = [...new Set([...Object.keys(expected), ...Object.keys(actual)])];
  const different = paths.filter((path) => actual[path] !== expected[path]);
  const only = (tree: Tree): Tree =>
    Object.fromEntries(different.map((path) => [path, tree[path] ?? "absent"]));
  assert.deepEqual(only(actual), only(expected));
}

/** A hash of a file's content, in pieces, so that large files can be compared. */
function contentOf(path: string): string {
  const hash = createHash("sha256");
  const piece = Buffer.alloc(4 * 1024 * 1024);
  const fd = openSync(toFsPath(path), "r");
  try {
    for (let got = readSync(fd, piece); got > 0; got = readSync(fd, piece)) {
      hash.update(piece.subarray(0, got));
    }
  } finally {
    closeSync(fd);
  }
  return hash.digest("hex").slice(0, 32);
}

/** Makes a tree with one of everything, in an existing directory. */
export function makeRichTree(root: string): void {
  const at = (path: string): string | Buffer => toFsPath(`${root}/${path}`);
  for (const path of ["empty-dir", "dir", "dir/sub", "dir/sub/deep", "closed", "sticky"])
    mkdirSync(at(path));
  writeFileSync(at("plain.txt"), "plain\n");
  writeFileSync(at("empty"), "");
  writeFileSync(at("dir/one-byte"), "1");
  writeFileSync(at("dir/compressible"), "all alike ".repeat(50_000));
  writeFileSync(at("dir/large.bin"), randomBytes("large", 3 * 1024 * 1024 + 5));
  writeFileSync(at("dir/large-again.bin"), randomBytes("large", 3 * 1024 * 1024 + 5));
  writeFileSync(at("dir/sub/deep/file"), "deep");
  writeFileSync(at(Buffer.from("not utf-8 \xff\xfe\x80", "latin1").toString("latin1")), "bytes");
  writeFileSync(at(Buffer.from("Ünïcödé 島", "utf8").toString("latin1")), "letters");
  writeFileSync(at("n".repeat(255)), "longest name");
  writeFileSync(at("new\nline\tand\x1b[31m"), "controls");
  writeFileSync(at("-rf"), "looks like an option");
  writeFileSync(at("spaces  and 'quotes\" "), "shell");
  // Sorted by path components, not by bytes of the whole path: "a-b" and "a/…" show the difference.
  mkdirSync(at("a"));
  writeFileSync(at("a/b"), "in a");
  writeFileSync(at("a-b"), "beside a");
  writeFileSync(at("a.b"), "beside a, too");

  symlinkSync("plain.txt", at("link"));
  symlinkSync("dir", at("link-to-dir"));
  symlinkSync("/nowhere/at all", at("link-dangling"));
  symlinkSync(toFsPath("\xff/not utf-8"), at("link-bytes"));
  writeFileSync(at("dir/first-name"), randomBytes("linked", 10_000));
  linkSync(at("dir/first-name"), at("second-name"));
  linkSync(at("dir/first-name"), at("dir/sub/third-name"));
  makeSparse(
    `${root}/sparse`,
    [
      [0, "begin"],
      [5_000_000, "middle"],
    ],
    12_345_678,
  );
  makeSparse(`${root}/only-a-hole`, [], 3_000_000);

  native?.mkfifo(`${root}/fifo`, 0o600);
  if (isRoot) {
    native?.mknod(`${root}/null`, 0o020666, 1, 3);
    lchownSync(at("dir/sub"), 12_345, 54_321);
    lchownSync(at("link"), 12_345, 54_321);
    lchownSync(at("dir/sub/deep/file"), 12_345, 54_321);
  }
  native?.setXattr(`${root}/plain.txt`, "user.exclave.test", Buffer.from([0, 255, 10]));
  native?.setXattr(`${root}/plain.txt`, "user.empty", new Uint8Array());
  native?.setXattr(`${root}/dir`, "user.on-a-directory", Buffer.from("value"));
  if (isRoot) native?.setXattr(`${root}/link`, "trusted.on-a-link", Buffer.from("value"));
  for (const [path, mode] of [
    ["plain.txt", 0o604],
    ["dir/one-byte", 0o4755],
    ["dir/sub/deep/file", 0o000],
    ["sticky", 0o1777],
    ["closed", 0o500],
    ["dir/sub", 0o2750],
  ] as const) {
    chmodSync(at(path), mode);
  }
  const times = [
    ["plain.txt", 1_234_567_890, 123_456_789],
    ["empty", 1, 1],
    ["link", 1_600_000_000, 999_999_999],
    ["dir/one-byte", -86_400 * 365, 5],
    ["sparse", 4_102_444_800, 500],
    ["dir/sub/deep", 1_500_000_000, 7],
    ["dir/sub", 1_400_000_000, 0],
    ["", 1_300_000_000, 42],
  ] as const;
  for (const [path, sec, nsec] of times) {
    native?.utimensNs(path === "" ? root : `${root}/${path}`, undefined, { sec, nsec });
  }
}

/** Makes a file that has data only at these offsets. */
export function makeSparse(
  path: string,
  data: readonly (readonly [offset: number, content: string])[],
  bytes: number,
): void {
  const fd = openSync(path, "w");
  try {
    ftruncateSync(fd, bytes);
    for (const [offset, content] of data) writeSync(fd, content, offset);
  } finally {
    closeSync(fd);
  }
}
