import assert from "node:assert/strict";
import {
  closeSync,
  fstatSync,
  ftruncateSync,
  mkdtempSync,
  openSync,
  rmSync,
  writeSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { loadNative } from "../../platform/native.ts";
import { dataExtents, mayHaveHoles } from "./holes.ts";
import { fstatFile } from "./stat.ts";

const native = loadNative();
const skip = native === undefined ? "koffi is not installed here" : false;
const MIB = 1_048_576;

function withFile(body: (fd: number) => void): void {
  const directory = mkdtempSync(join(tmpdir(), "exclave-holes-"));
  const fd = openSync(`${directory}/file`, "w+");
  try {
    body(fd);
  } finally {
    closeSync(fd);
    rmSync(directory, { recursive: true });
  }
}

test("only the data of a sparse file is yielded, in order", { skip }, (t) => {
  withFile((fd) => {
    writeSync(fd, Buffer.alloc(MIB, 1), 0, MIB, 8 * MIB);
    writeSync(fd, Buffer.alloc(MIB, 2), 0, MIB, 6_000 * MIB);
    ftruncateSync(fd, 7_000 * MIB);
    const stat = fstatFile(fd, native);
    const extents = [...dataExtents(fd, stat.size, native)];
    if (extents.length === 1) return t.skip("the file system here does not tell its holes");
    assert.ok(mayHaveHoles(stat));
    assert.deepEqual(extents, [
      { offset: 8 * MIB, length: MIB },
      { offset: 6_000 * MIB, length: MIB },
    ]);
    // A size from before the file grew bounds what is yielded.
    assert.deepEqual(
      [...dataExtents(fd, 8 * MIB + 100, native)],
      [{ offset: 8 * MIB, length: 100 }],
    );
  });
});

test("a file of nothing but a hole has no data", { skip }, () => {
  withFile((fd) => {
    ftruncateSync(fd, MIB);
    assert.deepEqual([...dataExtents(fd, MIB, native)], []);
  });
});

test("a dense file, and any file without the native module, is one stretch", () => {
  withFile((fd) => {
    writeSync(fd, Buffer.alloc(10_000, 1));
    const whole = [{ offset: 0, length: 10_000 }];
    assert.deepEqual([...dataExtents(fd, 10_000, native)], whole);
    assert.deepEqual([...dataExtents(fd, 10_000, undefined)], whole);
    assert.deepEqual([...dataExtents(fd, 0, undefined)], []);
    assert.deepEqual([...dataExtents(fd, 0, native)], []);
  });
});

test("a file that shrinks while it is read ends the stretches", { skip }, () => {
  withFile((fd) => {
    writeSync(fd, Buffer.alloc(MIB, 1));
    const { size } = fstatSync(fd);
    ftruncateSync(fd, 0);
    assert.deepEqual([...dataExtents(fd, size, native)], []);
  });
});
