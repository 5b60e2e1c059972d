import assert from "node:assert/strict";
import { existsSync, readdirSync } from "node:fs";
import {
  chmod,
  mkdir,
  readFile,
  rename,
  rm,
  stat,
  symlink,
  utimes,
  writeFile,
} from "node:fs/promises";
import { dirname, join } from "node:path";
import { type TestContext, test } from "node:test";
import { mountSmall, temporaryFolder } from "../../test/support/places.ts";
import {
  code,
  listed,
  objectName,
  readText,
  type SubjectSite,
  testSite,
  text,
} from "./conformance.ts";
import { createDirectorySite, openDirectorySite, readDirectoryMarker } from "./directory.ts";
import { limited } from "./limit.ts";
import { retrying } from "./retry.ts";
import { OBJECT_KINDS, type Site } from "./site.ts";

const identity = { name: "kn", country: "KN", operator: "post", hazardZone: "KN" };
const MARKER = text('{"this":"site"}');

async function newSite(t: TestContext): Promise<SubjectSite & { readonly path: string }> {
  const path = join(temporaryFolder(t), "site");
  await createDirectorySite(path, MARKER);
  const reopen = () => openDirectorySite(path, identity);
  return {
    path,
    site: await reopen(),
    reopen,
    crash: async (_name, stored) => writeFile(join(path, "tmp", "0123456789ab"), stored),
  };
}

testSite("a site in a directory", newSite);

const wrap = (site: Site) => retrying(limited(site, 4), { attemptsMax: 3, firstDelayMs: 1 });

testSite("a site in a directory, retried and limited", async (t) => {
  const { site, reopen, crash } = await newSite(t);
  return {
    site: wrap(site),
    reopen: async () => wrap(await reopen()),
    ...(crash ? { crash } : {}),
  };
});

test("what is stored can be read by its owner alone", async (t) => {
  const { site, path } = await newSite(t);
  const name = objectName("shard", "private");
  await site.put(name, [text("x")]);
  const digest = name.slice("shard/".length);
  const file = join(path, "shard", digest.slice(0, 2), digest);
  for (const [place, mode] of [
    [file, 0o600],
    [dirname(file), 0o700],
    [path, 0o700],
  ] as const) {
    assert.equal((await stat(place)).mode & 0o777, mode, place);
  }
  assert.deepEqual(readdirSync(join(path, "tmp")), []);
});

test("a directory that is missing, unmounted, a file or no site does not open", async (t) => {
  const folder = temporaryFolder(t);
  await mkdir(join(folder, "mountpoint"));
  await writeFile(join(folder, "file"), "");
  for (const name of ["absent", "mountpoint", "file", "absent/below", "file/below"]) {
    const path = join(folder, name);
    await assert.rejects(openDirectorySite(path, identity), code("site-unavailable"), name);
    assert.equal(await readDirectoryMarker(path), undefined, name);
  }
  assert.deepEqual(readdirSync(join(folder, "mountpoint")), [], "nothing was made there");
});

test("a site that goes away while it is open is unavailable, and not just empty", async (t) => {
  const { site, path } = await newSite(t);
  const name = objectName("shard", "here");
  await site.put(name, [text("here")]);
  // As an unmounted disk looks: the mount point is there and has nothing in it.
  await rename(path, `${path}.away`);
  await mkdir(path);
  await assert.rejects(site.stat(name), code("site-unavailable"));
  await assert.rejects(site.read(name, 0, new Uint8Array(4)), code("site-unavailable"));
  await assert.rejects(listed(site, "shard"), code("site-unavailable"));
  await assert.rejects(site.put(name, [text("here")]), code("site-unavailable"));
  await assert.rejects(
    site.put(objectName("wrap", "new"), [text("lost")]),
    code("site-unavailable"),
  );
  assert.deepEqual(readdirSync(path), [], "nothing was written beneath the mount point");

  await rm(path, { recursive: true });
  await rename(`${path}.away`, path);
  assert.equal(await readText(site, name, 10), "here", "and when it is back, it serves again");
});

test("a site is made once; the same again is no error, another State's is refused", async (t) => {
  const { path, site } = await newSite(t);
  await site.put(objectName("shard", "kept"), [text("kept")]);
  await createDirectorySite(path, MARKER);
  await assert.rejects(
    createDirectorySite(path, text('{"another":"site"}')),
    code("foreign-state"),
  );
  assert.deepEqual(
    await readDirectoryMarker(path),
    await readFile(join(path, "exclave-site.json")),
  );
  assert.ok(MARKER.equals((await readDirectoryMarker(path)) ?? text("")));
  assert.equal(await readText(site, objectName("shard", "kept"), 10), "kept");
});

test("making a site that was cut short is completed by making it again", async (t) => {
  const path = join(temporaryFolder(t), "site");
  await mkdir(path);
  await mkdir(join(path, "tmp"));
  await mkdir(join(path, "shard"));
  await writeFile(join(path, "tmp", "ab12"), "half a marker");
  await assert.rejects(openDirectorySite(path, identity), code("site-unavailable"));
  await createDirectorySite(path, MARKER);
  const site = await openDirectorySite(path, identity);
  await site.put(objectName("site", "x"), [text("x")]);
});

test("a directory with other things in it does not become a site", async (t) => {
  const path = temporaryFolder(t);
  await writeFile(join(path, "thesis.odt"), "precious");
  await assert.rejects(createDirectorySite(path, MARKER), code("usage"));
  assert.deepEqual(readdirSync(path), ["thesis.odt"]);
});

test("an empty disk, with what its file system brings, becomes a site", async (t) => {
  const path = temporaryFolder(t);
  await mkdir(join(path, "lost+found"));
  await createDirectorySite(path, MARKER);
  await openDirectorySite(path, identity);
});

test("a copy of a site without its empty folders works like the site", async (t) => {
  const { path, site } = await newSite(t);
  const name = objectName("shard", "copied");
  await site.put(name, [text("copied")]);
  for (const folder of ["tmp", ...OBJECT_KINDS]) {
    if (readdirSync(join(path, folder)).length === 0)
      await rm(join(path, folder), { recursive: true });
  }
  const copy = await openDirectorySite(path, identity);
  assert.equal(await readText(copy, name, 10), "copied");
  for (const kind of OBJECT_KINDS) {
    assert.deepEqual(await listed(copy, kind), kind === "shard" ? [name] : []);
  }
  await copy.put(objectName("wrap", "new"), [text("new")]);
  assert.equal(await readText(copy, objectName("wrap", "new"), 10), "new");
});

test("strange files among the objects are not objects, and in nobody's way", async (t) => {
  const { path, site } = await newSite(t);
  const name = objectName("shard", "real");
  await site.put(name, [text("real")]);
  const fan = join(path, "shard", name.slice(6, 8));
  await writeFile(join(path, "shard", ".DS_Store"), "");
  await mkdir(join(path, "shard", "lost+found"));
  await writeFile(join(fan, "Thumbs.db"), "");
  await writeFile(join(fan, `${name.slice(6)} (conflicted copy)`), "");
  // A good name in the wrong fan-out folder is not where anyone would look for it.
  const misplaced = objectName("shard", "misplaced").slice(6);
  if (misplaced.slice(0, 2) !== name.slice(6, 8)) await writeFile(join(fan, misplaced), "");
  await symlink("/etc", join(path, "shard", "zz"));
  assert.deepEqual(await listed(site, "shard"), [name]);
});

test("a directory where an object should be is no object and no crash", async (t) => {
  const { path, site } = await newSite(t);
  const digest = objectName("shard", "directory").slice(6);
  await mkdir(join(path, "shard", digest.slice(0, 2), digest), { recursive: true });
  await assert.rejects(
    site.read(`shard/${digest}`, 0, new Uint8Array(1)),
    code("site-unavailable"),
  );
  await assert.rejects(site.put(`shard/${digest}`, [text("x")]));
});

test("old leftovers of a crash are swept when the site is opened, young ones are not", async (t) => {
  const { path, reopen } = await newSite(t);
  const [old, young] = [join(path, "tmp", "old"), join(path, "tmp", "young")];
  await writeFile(old, "x");
  await writeFile(young, "x");
  const twoDaysAgo = Date.now() / 1000 - 2 * 24 * 3600;
  await utimes(old, twoDaysAgo, twoDaysAgo);
  await reopen();
  assert.deepEqual([existsSync(old), existsSync(young)], [false, true]);
});

test("a marker too large to be one is refused before it is read", async (t) => {
  const { path, reopen } = await newSite(t);
  await writeFile(join(path, "exclave-site.json"), new Uint8Array(1024 * 1024 + 1));
  await assert.rejects(readDirectoryMarker(path), code("malformed"));
  await reopen();
});

test("a full disk says so, and leaves nothing of the object behind", async (t) => {
  const mount = mountSmall(t, 512 * 1024);
  if ("why" in mount) {
    t.skip(mount.why);
    return;
  }
  const path = join(mount.path, "site");
  await createDirectorySite(path, MARKER);
  const site = await openDirectorySite(path, identity);
  const small = objectName("shard", "small");
  await site.put(small, [text("small")]);
  const large = objectName("shard", "large");
  await assert.rejects(
    site.put(large, [new Uint8Array(300_000), new Uint8Array(300_000)]),
    code("disk-full"),
  );
  assert.equal(await site.stat(large), undefined);
  assert.deepEqual(readdirSync(join(path, "tmp")), []);
  await site.put(large, [text("fits")]);
  assert.equal(await readText(site, small, 10), "small");
});

test("a site that may only be read is read, and says that it cannot be written", async (t) => {
  const { path, site } = await newSite(t);
  const name = objectName("shard", "read-only");
  await site.put(name, [text("kept")]);
  const mount = mountSmall(t, 512 * 1024);
  if ("why" in mount) {
    t.skip(mount.why);
    return;
  }
  const copy = join(mount.path, "site");
  await createDirectorySite(copy, MARKER);
  await (await openDirectorySite(copy, identity)).put(name, [text("kept")]);
  mount.readOnly();
  const readOnly = await openDirectorySite(copy, identity);
  assert.equal(await readText(readOnly, name, 10), "kept");
  await readOnly.put(name, [text("kept")]);
  await assert.rejects(
    readOnly.put(objectName("shard", "more"), [text("more")]),
    code("site-unavailable"),
  );
  await chmod(path, 0o700);
});
