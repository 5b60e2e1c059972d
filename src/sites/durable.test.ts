import assert from "node:assert/strict";
import { existsSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import fc from "fast-check";
import { mountSmall, temporaryFolder } from "../../test/support/places.ts";
import { makeDirectoryDurably, syncDirectory, writeDurably, writeOnceDurably } from "./durable.ts";

test("a file is written from its parts, and the temporary one is gone", async (t) => {
  const folder = temporaryFolder(t);
  let run = 0;
  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.uint8Array({ maxLength: 5000 }), { maxLength: 20 }),
      async (parts) => {
        const path = join(folder, `file-${run++}`);
        await writeDurably(path, join(folder, "temporary"), parts);
        assert.ok(readFileSync(path).equals(Buffer.concat(parts)));
        assert.ok(!existsSync(join(folder, "temporary")));
      },
    ),
    { numRuns: process.env.SLOW ? 500 : 30 },
  );
});

test("more parts than one system call takes are all written", async (t) => {
  const folder = temporaryFolder(t);
  const parts = Array.from({ length: 5000 }, (_, i) => Buffer.from(`${i}\n`));
  await writeDurably(join(folder, "file"), join(folder, "temporary"), parts);
  assert.ok(readFileSync(join(folder, "file")).equals(Buffer.concat(parts)));
});

test("large parts are written whole, however they lie in memory and wherever the file is", async (t) => {
  const PAGE = 4096;
  // Where pages cannot be written past the cache (tmpfs, until lately), and where they can.
  const folders = [
    temporaryFolder(t),
    ...(existsSync("/dev/shm") ? [temporaryFolder(t, "/dev/shm")] : []),
  ];
  const memory = new Uint8Array(new SharedArrayBuffer(2 * 1024 * 1024));
  for (let i = 0; i < memory.length; i++) memory[i] = (i * 7 + (i >> 8) * 13) & 255;
  const lengths = [64 * PAGE - 1, 64 * PAGE, 64 * PAGE + 1, 65 * PAGE + 511, 300 * PAGE + 512];
  for (const folder of folders) {
    let run = 0;
    for (const length of lengths) {
      for (const start of [0, PAGE, 1, 512]) {
        const part = memory.subarray(start, start + length);
        for (const parts of [
          [part],
          [part, memory.subarray(3, 10_003)],
          [memory.subarray(5, 9), part],
        ]) {
          const path = join(folder, `large-${run++}`);
          await writeDurably(path, join(folder, "temporary"), parts);
          assert.ok(readFileSync(path).equals(Buffer.concat(parts)), `${length} at ${start}`);
          rmSync(path);
        }
      }
    }
  }
});

test("the file replaces what has its name in one step", async (t) => {
  const folder = temporaryFolder(t);
  await writeFile(join(folder, "file"), "before");
  await writeDurably(join(folder, "file"), join(folder, "temporary"), [Buffer.from("after")]);
  assert.equal(readFileSync(join(folder, "file"), "utf8"), "after");
});

test("written once, a file gives way to what has its name already", async (t) => {
  const folder = temporaryFolder(t);
  const write = (text: string) =>
    writeOnceDurably(join(folder, "file"), join(folder, "temporary"), [Buffer.from(text)]);
  assert.deepEqual([await write("first"), await write("second")], [true, false]);
  assert.equal(readFileSync(join(folder, "file"), "utf8"), "first");
  assert.deepEqual(readdirSync(folder), ["file"]);
});

test("when it cannot be renamed, the temporary file is gone and the old one untouched", async (t) => {
  const folder = temporaryFolder(t);
  await mkdir(join(folder, "file"));
  await writeFile(join(folder, "file", "inside"), "kept");
  await assert.rejects(
    writeDurably(join(folder, "file"), join(folder, "temporary"), [Buffer.from("x")]),
  );
  assert.deepEqual(readdirSync(folder), ["file"]);
  assert.equal(readFileSync(join(folder, "file", "inside"), "utf8"), "kept");
});

test("a temporary name that is taken is refused", async (t) => {
  const folder = temporaryFolder(t);
  await writeFile(join(folder, "temporary"), "somebody else's");
  await assert.rejects(
    writeDurably(join(folder, "file"), join(folder, "temporary"), [Buffer.from("x")]),
    { code: "EEXIST" },
  );
  assert.ok(!existsSync(join(folder, "file")));
});

test("a temporary file of somebody else's outlives the refusal", async (t) => {
  const folder = temporaryFolder(t);
  await writeFile(join(folder, "temporary"), "somebody else's");
  await assert.rejects(
    writeDurably(join(folder, "file"), join(folder, "temporary"), [Buffer.from("x")]),
  );
  assert.equal(readFileSync(join(folder, "temporary"), "utf8"), "somebody else's");
});

test("on a full disk it fails, and neither the file nor the temporary one stays", async (t) => {
  const disk = mountSmall(t, 256 * 1024);
  if ("why" in disk) {
    t.skip(disk.why);
    return;
  }
  const [path, temporary] = [join(disk.path, "file"), join(disk.path, "temporary")];
  // The first part fits, so that the write that fails comes after one that does not.
  const parts = [new Uint8Array(200_000), new Uint8Array(200_000)];
  await assert.rejects(writeDurably(path, temporary, parts), { code: "ENOSPC" });
  assert.deepEqual(readdirSync(disk.path), []);
  await writeDurably(path, temporary, [new Uint8Array(200_000)]);
  assert.equal(readFileSync(path).length, 200_000);
});

test("a directory is made once, and again is no error; a file in its place is one", async (t) => {
  const folder = temporaryFolder(t);
  await makeDirectoryDurably(join(folder, "made"));
  await makeDirectoryDurably(join(folder, "made"));
  assert.deepEqual(readdirSync(folder), ["made"]);
  await assert.rejects(makeDirectoryDurably(join(folder, "absent", "made")), { code: "ENOENT" });
  await writeFile(join(folder, "file"), "");
  await assert.rejects(makeDirectoryDurably(join(folder, "file")));
});

test("a directory that is not there cannot be made durable", async (t) => {
  await assert.rejects(syncDirectory(join(temporaryFolder(t), "absent")), { code: "ENOENT" });
});
