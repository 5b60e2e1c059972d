import assert from "node:assert/strict";
import { existsSync, readdirSync, readlinkSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { temporaryFolder } from "../../test/support/places.ts";
import { noise } from "../../test/support/vault.ts";
import { PageFile } from "./page-file.ts";

const PAGE_BYTES = 4096;
const LIMITS = { pageBytes: PAGE_BYTES, bytesMax: 16 * PAGE_BYTES, diskShare: 1 };

function opened(t: TestContext): { readonly file: PageFile; readonly path: string } {
  const path = join(temporaryFolder(t), "pages");
  return { file: new PageFile(path, LIMITS), path };
}

/** What a link points to; nothing when it is gone. */
function linkOf(path: string): string {
  try {
    return readlinkSync(path);
  } catch {
    return "";
  }
}

async function assertHolds(file: PageFile, page: number, bytes: Uint8Array): Promise<void> {
  const got = new Uint8Array(bytes.length);
  await file.read(page, 0, got);
  assert.deepEqual(got, bytes);
}

test("what is written to pages is read back, whole and in part, in whichever order", async (t) => {
  const { file } = opened(t);
  const pages = [2, 0, 7, 1].map((page) => ({ page, bytes: noise(PAGE_BYTES, page) }));
  await Promise.all(pages.map(({ page, bytes }) => file.write(page, bytes)));
  for (const { page, bytes } of pages) {
    await assertHolds(file, page, bytes);
    const part = new Uint8Array(100);
    await file.read(page, 1234, part);
    assert.deepEqual(part, bytes.subarray(1234, 1334));
  }
  await file.write(0, noise(PAGE_BYTES, 99));
  await assertHolds(file, 0, noise(PAGE_BYTES, 99));
  await assertHolds(file, 1, noise(PAGE_BYTES, 1));
  await file.close();
});

test("of a page its beginning can be written", async (t) => {
  const { file } = opened(t);
  await file.write(3, noise(10, 1));
  await assertHolds(file, 3, noise(10, 1));
  await file.close();
});

test("no page is given to two, and what is given back is given again", async (t) => {
  const { file } = opened(t);
  assert.equal(file.pagesMax, 16);
  const taken = Array.from({ length: 16 }, () => file.take());
  assert.equal(new Set(taken).size, 16);
  assert.ok(taken.every((page) => page !== undefined && page < 16));
  assert.equal(file.take(), undefined);
  file.giveBack(5);
  file.giveBack(11);
  assert.deepEqual(new Set([file.take(), file.take()]), new Set([5, 11]));
  assert.equal(file.take(), undefined);
  await file.close();
});

test("it is no larger than its share of what is free", async (t) => {
  const path = join(temporaryFolder(t), "pages");
  const file = new PageFile(path, { ...LIMITS, diskShare: 0 });
  assert.equal(file.pagesMax, 0);
  assert.equal(file.take(), undefined);
  await file.close();
});

test("its name is gone while it is open", {
  skip: process.platform === "win32" && "a file that is open keeps its name on Windows",
}, async (t) => {
  const { file, path } = opened(t);
  assert.ok(!existsSync(path));
  await file.write(0, noise(PAGE_BYTES, 1));
  await assertHolds(file, 0, noise(PAGE_BYTES, 1));
  await file.close();
  assert.deepEqual(readdirSync(join(path, "..")), []);
});

test("nobody else may read it", {
  skip: process.platform !== "linux" && "the file of a descriptor is looked up in /proc",
}, async (t) => {
  const { file, path } = opened(t);
  const modes = readdirSync("/proc/self/fd")
    .map((fd) => `/proc/self/fd/${fd}`)
    .filter((fd) => linkOf(fd).startsWith(path))
    .map((fd) => statSync(fd).mode & 0o777);
  assert.deepEqual(modes, [0o600]);
  await file.close();
});

test("what has its name already is replaced", async (t) => {
  const path = join(temporaryFolder(t), "pages");
  writeFileSync(path, "left over", { mode: 0o644 });
  const file = new PageFile(path, LIMITS);
  await file.write(0, noise(PAGE_BYTES, 1));
  await assertHolds(file, 0, noise(PAGE_BYTES, 1));
  await file.close();
  assert.ok(!existsSync(path));
});

test("where there is no folder it throws what the file system says, and leaves nothing", (t) => {
  const folder = temporaryFolder(t);
  assert.throws(() => new PageFile(join(folder, "none", "pages"), LIMITS), { code: "ENOENT" });
  assert.deepEqual(readdirSync(folder), []);
});
