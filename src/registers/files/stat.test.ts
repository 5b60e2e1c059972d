import assert from "node:assert/strict";
import {
  appendFileSync,
  closeSync,
  lutimesSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  rmSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { loadNative } from "../../platform/native.ts";
import { fstatFile, isUnchanged, lstatFile } from "./stat.ts";

const native = loadNative();
const skip = native === undefined ? "koffi is not installed here" : false;

function inDirectory<T>(body: (directory: string) => T): T {
  const directory = mkdtempSync(join(tmpdir(), "exclave-stat-"));
  try {
    return body(directory);
  } finally {
    rmSync(directory, { recursive: true });
  }
}

test("statx and Node's lstat tell the same of every kind of entry", { skip }, () => {
  inDirectory((directory) => {
    const file = `${directory}/file`;
    const old = `${directory}/old`;
    const link = `${directory}/link`;
    writeFileSync(file, "0123456789", { mode: 0o640 });
    truncateSync(file, 5_000_000_000);
    writeFileSync(old, "");
    lutimesSync(old, new Date(-1500), new Date(-1500));
    symlinkSync("nowhere", link);
    mkdirSync(`${directory}/sub`, { mode: 0o1755 });
    native?.mkfifo(`${directory}/fifo`, 0o600);
    const paths = [directory, file, old, link, `${directory}/sub`, `${directory}/fifo`];
    for (const path of [...paths, "/dev/null", "/dev/tty", "/proc/self"]) {
      assert.deepEqual(lstatFile(path, native), lstatFile(path, undefined), path);
    }
    assert.equal(lstatFile(file, native).size, 5_000_000_000);
    assert.equal(lstatFile(old, native).mtimeSec, -2);
    assert.equal(lstatFile(old, native).mtimeNsec, 500_000_000);
    assert.equal(lstatFile(link, native).kind, "symlink");
    assert.equal(lstatFile("/dev/null", native).rdevMinor, 3);
  });
});

test("a socket is told apart", async () => {
  const directory = mkdtempSync(join(tmpdir(), "exclave-stat-"));
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(`${directory}/s`, resolve));
  assert.equal(lstatFile(`${directory}/s`, native).kind, "socket");
  await new Promise((resolve) => server.close(resolve));
  rmSync(directory, { recursive: true });
});

for (const [name, calls] of [
  ["native", native],
  ["node:fs", undefined],
] as const) {
  test(`a file that grows while it is open is seen as changed (${name})`, () => {
    inDirectory((directory) => {
      const path = `${directory}/file`;
      writeFileSync(path, "before");
      const fd = openSync(path, "r");
      try {
        const before = fstatFile(fd, calls);
        assert.ok(isUnchanged(before, lstatFile(path, calls)));
        appendFileSync(path, " and after");
        assert.ok(!isUnchanged(before, fstatFile(fd, calls)));
      } finally {
        closeSync(fd);
      }
    });
  });

  test(`an entry that is gone throws ENOENT (${name})`, () => {
    assert.throws(() => lstatFile("/does/not/exist", calls), { code: "ENOENT" });
  });
}
