import assert from "node:assert/strict";
import { closeSync, mkdtempSync, openSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { loadNative } from "./native.ts";

const native = loadNative();
const skip = native === undefined ? "koffi is not installed here" : false;

test("the native calls load wherever koffi does", (t) => {
  try {
    createRequire(import.meta.url)("koffi");
  } catch {
    t.skip("koffi is not installed here");
    return;
  }
  if (process.platform === "linux") assert.notEqual(loadNative(), undefined);
});

test("a failing call throws an error with the system's code and names the path", { skip }, () => {
  assert.throws(() => native?.lstatx("/does/not/exist"), { code: "ENOENT", syscall: "statx" });
  assert.throws(() => native?.fstatx(9999), { code: "EBADF" });
  assert.throws(() => native?.listXattrs("/does/not/exist"), { code: "ENOENT" });
  assert.throws(() => native?.mkfifo("/proc/x", 0o600), /proc\/x/);
});

test("a path with a NUL or beyond the kernel's length never reaches the kernel", { skip }, () => {
  assert.throws(() => native?.lstatx("/etc\0/passwd"), { code: "EINVAL" });
  assert.throws(() => native?.lstatx(`/${"a/".repeat(2048)}`), { code: "ENAMETOOLONG" });
});

test("chmod refuses a symbolic link instead of following it", { skip }, () => {
  const directory = mkdtempSync(join(tmpdir(), "exclave-native-"));
  try {
    writeFileSync(`${directory}/target`, "", { mode: 0o600 });
    symlinkSync("target", `${directory}/link`);
    assert.throws(() => native?.chmodNoFollow(`${directory}/link`, 0o777), { code: "ENOTSUP" });
    native?.chmodNoFollow(`${directory}/target`, 0o640);
    assert.equal((native?.lstatx(`${directory}/target`).getUint16(28, true) ?? 0) & 0o7777, 0o640);
  } finally {
    rmSync(directory, { recursive: true });
  }
});

test("seeking data past the end is -1, not an error", { skip }, () => {
  const directory = mkdtempSync(join(tmpdir(), "exclave-native-"));
  const fd = openSync(`${directory}/file`, "w+");
  try {
    writeFileSync(fd, "data");
    assert.equal(native?.seekData(fd, 0), 0);
    assert.equal(native?.seekHole(fd, 0), 4);
    assert.equal(native?.seekData(fd, 4), -1);
  } finally {
    closeSync(fd);
    rmSync(directory, { recursive: true });
  }
});
