import assert from "node:assert/strict";
import {
  closeSync,
  ftruncateSync,
  linkSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  rmSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { randomBytes } from "../../test/support/random.ts";
import { loadNative } from "../platform/native.ts";
import { type Looked, lookAtFiles } from "./content.ts";

const base = mkdtempSync(join(tmpdir(), "exclave-sample-"));
after(() => rmSync(base, { recursive: true, force: true }));
const native = loadNative();
let made = 0;

function folder(): string {
  const path = join(base, `${made++}`);
  mkdirSync(path);
  return path;
}

async function look(
  paths: readonly string[],
  options: { readonly sampleBytesMax?: number; readonly seed?: string } = {},
): Promise<Looked> {
  const roots = paths.map((path) => ({
    path,
    native,
    excludes: (name: string) => name === "left-out",
    oneFileSystem: false,
  }));
  const { sampleBytesMax = 64e6, seed = "a" } = options;
  return lookAtFiles(roots, { sampleBytesMax, seed, onProgress: () => undefined });
}

test("what fits the sample is read whole: what compresses, what does not, what comes twice", async () => {
  const path = folder();
  writeFileSync(join(path, "random"), randomBytes("a", 3_000_000));
  writeFileSync(join(path, "again"), randomBytes("a", 3_000_000));
  writeFileSync(join(path, "text"), "Ana Ical,1994-03-28\n".repeat(100_000));
  writeFileSync(join(path, "left-out"), randomBytes("b", 3_000_000));
  const { content, sample, found } = await look([path]);
  assert.equal(sample.complete, true);
  assert.equal(sample.readBytes, 8_000_000);
  assert.equal(content.contentBytes, 8_000_000);
  assert.equal(found.files, 3);
  assert.equal(sample.entries, 4);
  assert.equal(sample.nameBytes, "random".length + "again".length + "text".length);
  // The random once, and of the text little: a frame that begins with what will not compress is kept as it is.
  assert.ok(
    sample.storedBytes > 3_000_000 && sample.storedBytes < 4_000_000,
    `${sample.storedBytes}`,
  );
});

test("of more than that, so much is read and no more, and the same seed reads the same", async () => {
  const path = folder();
  for (let i = 0; i < 12; i++) {
    const text = Buffer.from(`${i} is not random\n`.repeat(60_000));
    const bytes = i % 2 === 0 ? randomBytes(`${i}`, text.length) : text;
    writeFileSync(join(path, `${i}`), bytes);
  }
  const options = { sampleBytesMax: 4 * 1024 * 1024 };
  const one = await look([path], { ...options, seed: "a" });
  const same = await look([path], { ...options, seed: "a" });
  const other = await look([path], { ...options, seed: "b" });
  assert.equal(one.sample.complete, false);
  assert.equal(one.sample.readBytes, options.sampleBytesMax);
  assert.deepEqual(one, same);
  assert.notEqual(one.sample.storedBytes, other.sample.storedBytes);
  for (const { content } of [one, other]) {
    assert.ok(content.storedPerByte > 0.2 && content.storedPerByte < 0.9);
  }
});

test("a hard-linked file is read once, and holes are not read", async (t) => {
  const path = folder();
  writeFileSync(join(path, "one"), randomBytes("c", 100_000));
  linkSync(join(path, "one"), join(path, "two"));
  const fd = openSync(join(path, "sparse"), "w");
  writeSync(fd, randomBytes("d", 65_536), 0, 65_536, 8_388_608);
  ftruncateSync(fd, 32_000_000);
  closeSync(fd);
  const { sample, found } = await look([path]);
  assert.equal(found.bytes, 32_200_000);
  assert.equal(sample.filledFiles, 2);
  if (!native) return t.diagnostic("holes are not seen here: no native library");
  assert.equal(found.contentBytes, 100_000 + 65_536);
  assert.equal(sample.readBytes, found.contentBytes);
});

test("several roots are one content, and a root may be a file of the same name as one in another", async () => {
  const [one, two] = [folder(), folder()];
  mkdirSync(join(one, "same"));
  writeFileSync(join(one, "same", "same"), "a");
  writeFileSync(join(two, "same"), "bb");
  const { content, sample } = await look([join(one, "same"), join(two, "same")]);
  assert.equal(content.contentBytes, 3);
  assert.equal(sample.unreadable, 0);
  assert.equal(sample.entries, 3);
});

test("an empty directory is nothing to compress", async () => {
  const { content, sample } = await look([folder()]);
  assert.equal(sample.complete, true);
  assert.deepEqual(content, {
    entries: 1,
    nameBytes: 0,
    contentBytes: 0,
    chunks: 0,
    storedPerByte: 1,
  });
});
