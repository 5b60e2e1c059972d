import assert from "node:assert/strict";
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import fc from "fast-check";
import { toFsPath } from "../../platform/names.ts";
import { loadNative } from "../../platform/native.ts";
import { compareEntryPaths } from "../../vault/entries.ts";
import { compileExcludes } from "./patterns.ts";
import { type WalkOptions, walk } from "./walk.ts";

const native = loadNative();
const isRoot = process.geteuid?.() === 0;

function inDirectory(body: (directory: string) => void): void {
  const directory = mkdtempSync(join(tmpdir(), "exclave-walk-"));
  try {
    body(directory);
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}

function make(root: string, paths: readonly string[]): void {
  for (const path of paths) {
    const parent = path.slice(0, path.lastIndexOf("/") + 1);
    mkdirSync(toFsPath(`${root}/${parent}`), { recursive: true });
    if (path !== parent) writeFileSync(toFsPath(`${root}/${path}`), "");
  }
}

function optionsWith(changed: Partial<WalkOptions> = {}): WalkOptions {
  return {
    excludes: () => false,
    oneFileSystem: false,
    native,
    onProblem: (path, kind, error) => assert.fail(`${path}: ${kind}: ${error.message}`),
    ...changed,
  };
}

function pathsOf(root: string, options = optionsWith()): string[] {
  return Array.from(walk(root, options), (item) => item.path);
}

test("a directory comes first, then all that is in it, then its next sibling", () => {
  inDirectory((root) => {
    make(root, ["a/x", "a!", "a.txt", "a/b/y", "\xff", "\x01", "a\nb", "B"]);
    const expected = ["", "\x01", "B", "a", "a/b", "a/b/y", "a/x", "a\nb", "a!", "a.txt", "\xff"];
    assert.deepEqual(pathsOf(root), expected);
    assert.deepEqual(pathsOf(`${root}/`), expected);
    assert.deepEqual(pathsOf(root, optionsWith({ native: undefined })), expected);
  });
});

test("the normative order is that of the components, bytewise", () => {
  const component = fc.oneof(
    fc.uint8Array({ minLength: 1, maxLength: 4 }).map((bytes) => {
      const name = Buffer.from(bytes).toString("latin1");
      return name.replaceAll("/", "0").replaceAll("\0", "1");
    }),
    fc.constantFrom("a", "a!", "a.", "a0", "a\x01", "ab"),
  );
  const path = fc.array(component, { maxLength: 4 }).map((components) => components.join("/"));
  fc.assert(
    fc.property(path, path, (a, b) => {
      assert.equal(Math.sign(compareEntryPaths(a, b)), compareComponents(a, b));
    }),
    { numRuns: 2000 },
  );
});

function compareComponents(a: string, b: string): number {
  const left = a === "" ? [] : a.split("/").map((name) => Buffer.from(name, "latin1"));
  const right = b === "" ? [] : b.split("/").map((name) => Buffer.from(name, "latin1"));
  for (const [i, name] of left.entries()) {
    const other = right[i];
    if (other === undefined) return 1;
    const order = Buffer.compare(name, other);
    if (order !== 0) return order;
  }
  return left.length < right.length ? -1 : 0;
}

test("what is walked is in the normative order", () => {
  const name = fc.constantFrom("a", "a!", "a-", "a.b", "b", "\x01", "\xe9", "a0");
  const paths = fc.array(
    fc.array(name, { minLength: 1, maxLength: 4 }).map((names) => names.map((n) => `${n}d`)),
    { maxLength: 12 },
  );
  fc.assert(
    fc.property(paths, (tree) => {
      inDirectory((root) => {
        make(
          root,
          tree.map((names) => `${names.join("/")}/`),
        );
        const walked = pathsOf(root);
        assert.deepEqual(walked, [...walked].sort(compareEntryPaths));
        const all = tree.flatMap((names) => names.map((_, i) => names.slice(0, i + 1).join("/")));
        assert.deepEqual(new Set(walked), new Set(["", ...all]));
      });
    }),
    { numRuns: 50 },
  );
});

test("names that are not UTF-8, hold a newline or controls, or are 255 bytes long are walked", () => {
  inDirectory((root) => {
    const names = ["\xff\xfe", "new\nline", "\x1b[31m", "y".repeat(255), "\xc3\xa9", " "];
    make(
      root,
      names.map((name) => `\xe9/${name}`),
    );
    assert.deepEqual(pathsOf(root), ["", "\xe9", ...names.sort().map((name) => `\xe9/${name}`)]);
  });
});

test("an excluded directory takes its subtree along", () => {
  inDirectory((root) => {
    make(root, ["keep/a.tmp", "keep/b", "cache/x/y", "keep/cache", "cached"]);
    const excludes = compileExcludes(["cache/", "*.tmp"]);
    const expected = ["", "cached", "keep", "keep/b", "keep/cache"];
    assert.deepEqual(pathsOf(root, optionsWith({ excludes })), expected);
  });
});

test("what vanishes during the walk is reported, and the walk goes on", () => {
  inDirectory((root) => {
    make(root, ["a", "b", "c/in", "d/in", "e.tmp", "f"]);
    const problems: string[] = [];
    const options = optionsWith({
      excludes: compileExcludes(["*.tmp"]),
      onProblem: (path, kind) => problems.push(`${kind} ${path}`),
    });
    const paths: string[] = [];
    for (const { path } of walk(root, options)) {
      paths.push(path);
      if (path === "a")
        for (const name of ["b", "c", "e.tmp"]) rmSync(join(root, name), { recursive: true });
      if (path === "d") rmSync(`${root}/d`, { recursive: true });
    }
    assert.deepEqual(paths, ["", "a", "d", "f"]);
    assert.deepEqual(problems, ["vanished b", "vanished c", "vanished d"]);
  });
});

test("a directory swapped for a symbolic link is not followed", () => {
  inDirectory((root) => {
    make(root, ["data/dir/inside", "outside/secret"]);
    const problems: string[] = [];
    const onProblem: WalkOptions["onProblem"] = (path, kind) => problems.push(`${kind} ${path}`);
    const paths: string[] = [];
    for (const { path } of walk(`${root}/data`, optionsWith({ onProblem }))) {
      paths.push(path);
      if (path !== "dir") continue;
      renameSync(`${root}/data/dir`, `${root}/moved`);
      symlinkSync(`${root}/outside`, `${root}/data/dir`);
    }
    assert.deepEqual(paths, ["", "dir"]);
    assert.deepEqual(problems, ["vanished dir"]);
  });
});

test("a symbolic link is an entry of its own", () => {
  inDirectory((root) => {
    make(root, ["dir/file"]);
    symlinkSync("dir", `${root}/link`);
    symlinkSync("link", `${root}/loop`);
    assert.deepEqual(pathsOf(root), ["", "dir", "dir/file", "link", "loop"]);
  });
});

test("an unreadable directory is reported and still an entry", () => {
  inDirectory((root) => {
    make(root, ["closed/in", "open"]);
    chmodSync(root, 0o755);
    chmodSync(`${root}/closed`, 0);
    const problems: string[] = [];
    const onProblem: WalkOptions["onProblem"] = (path, kind) => problems.push(`${kind} ${path}`);
    if (isRoot) process.seteuid?.(65534);
    try {
      assert.deepEqual(pathsOf(root, optionsWith({ onProblem })), ["", "closed", "open"]);
      assert.deepEqual(problems, ["unreadable closed"]);
      assert.throws(() => pathsOf(`${root}/closed`), { code: "usage" });
    } finally {
      if (isRoot) process.seteuid?.(0);
      chmodSync(`${root}/closed`, 0o700);
    }
  });
});

test("a root that is one file is one item under its own name", () => {
  inDirectory((root) => {
    make(root, ["one.db"]);
    assert.deepEqual(pathsOf(`${root}/one.db`), ["one.db"]);
  });
});

test("a root that is missing, a link or a device is refused, never an empty register", () => {
  inDirectory((root) => {
    symlinkSync(root, `${root}/link`);
    for (const path of [`${root}/missing`, `${root}/link`, "/dev/null"]) {
      assert.throws(() => pathsOf(path), { code: "usage" });
    }
  });
});

test("another file system is entered only when wanted", (t) => {
  if (!existsSync("/proc/self")) return t.skip("/proc is not mounted here");
  const excludes = (path: string) => path !== "proc" && path !== "proc/self";
  const crossing = optionsWith({ excludes });
  const staying = optionsWith({ excludes, oneFileSystem: true });
  assert.deepEqual(pathsOf("/", crossing), ["", "proc", "proc/self"]);
  assert.deepEqual(pathsOf("/", staying), ["", "proc"]);
});
