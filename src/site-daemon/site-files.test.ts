import assert from "node:assert/strict";
import { X509Certificate } from "node:crypto";
import {
  chmodSync,
  chownSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { toBase64 } from "../crypto/bytes.ts";
import { signingKeyFromSeed } from "../crypto/signing.ts";
import { parseVerifierKey } from "../ledger/note.ts";
import { openEndorsement, tlsKeyId } from "../sites/endorsement.ts";
import { openSiteCard } from "../sites/site-card.ts";
import { newGrant, readGrants, writeGrant } from "./grant.ts";
import type { NewSiteSettings } from "./settings.ts";
import { initSite, openSiteFiles, type SiteFiles } from "./site-files.ts";

const DAY_MS = 86_400_000;
const SETTINGS: NewSiteSettings = {
  name: "lu",
  country: "LU",
  operator: "Luxembourg State",
  hazardZone: "Moselle",
  url: "https://exclave.example.lu:7443",
  listen: { host: "127.0.0.1", port: 0 },
  admin: { host: "127.0.0.1", port: 0 },
  storage: { kind: "directory" },
};
const agent = signingKeyFromSeed(new Uint8Array(32).fill(7));
const grantFor = (state: string, quotaBytes = 1e12) =>
  newGrant({ state, name: "Belize", contact: toBase64(agent.publicKey.bytes), quotaBytes });

function temporaryFolder(t: TestContext): string {
  const folder = mkdtempSync(join(tmpdir(), "exclave-site-"));
  t.after(() => rmSync(folder, { recursive: true, force: true }));
  return join(folder, "site");
}

/** Changes what the operator edits. */
function edit(folder: string, change: (settings: Record<string, unknown>) => unknown): void {
  const file = join(folder, "site.json");
  writeFileSync(file, JSON.stringify(change(JSON.parse(readFileSync(file, "utf8")))));
}

/** Every file below a folder, with its mode. */
const modesIn = (folder: string): Record<string, string> =>
  Object.fromEntries(
    readdirSync(folder, { recursive: true, withFileTypes: true })
      .map((entry) => join(entry.parentPath, entry.name))
      .map((path) => [path.slice(folder.length + 1), (statSync(path).mode & 0o777).toString(8)]),
  );

test("a new site has settings and keys, for its owner alone, and nothing left over", async (t) => {
  const folder = temporaryFolder(t);
  const site = await initSite(folder, SETTINGS);
  await site.tls();
  await writeGrant(folder, grantFor("ab".repeat(32)));
  assert.deepEqual(modesIn(folder), {
    "site.json": "600",
    keys: "700",
    "keys/signing.json": "600",
    "keys/witness.json": "600",
    "keys/tls.key.pem": "600",
    "keys/tls.cert.pem": "600",
    grants: "700",
    [`grants/${"ab".repeat(32)}.json`]: "600",
    states: "700",
  });
  assert.equal(site.settings.witness, "exclave.example.lu:7443/witness");
});

test("a site that is opened again has the same keys, and its card says them", async (t) => {
  const folder = temporaryFolder(t);
  const made = await initSite(folder, SETTINGS);
  const again = await openSiteFiles(folder);
  assert.equal(again.keys.signing.id, made.keys.signing.id);
  const { card, key } = openSiteCard(again.card());
  assert.equal(key.id, made.keys.signing.id);
  assert.equal(card.url, SETTINGS.url);
  assert.deepEqual(
    card.witness.map((text) => parseVerifierKey(text).type),
    [0x04, 0x06],
  );
  assert.notEqual(
    readFileSync(join(folder, "keys/signing.json"), "utf8"),
    readFileSync(join(folder, "keys/witness.json"), "utf8"),
  );
});

test("a site is made once, and the keys of one that was cut short stay", async (t) => {
  const folder = temporaryFolder(t);
  const made = await initSite(folder, SETTINGS);
  await assert.rejects(initSite(folder, { ...SETTINGS, name: "other" }), { code: "usage" });
  assert.equal((await openSiteFiles(folder)).settings.name, "lu");

  rmSync(join(folder, "site.json"));
  await assert.rejects(openSiteFiles(folder), { code: "usage" });
  const again = await initSite(folder, SETTINGS);
  assert.equal(again.keys.signing.id, made.keys.signing.id);
});

test("a folder that has something else in it is left as it is", async (t) => {
  const folder = temporaryFolder(t);
  mkdirSync(join(folder, "Documents"), { recursive: true });
  await assert.rejects(initSite(folder, SETTINGS), { code: "usage" });
  assert.deepEqual(readdirSync(folder), ["Documents"]);
});

test("what no site can be is refused before anything is made", async (t) => {
  const folder = temporaryFolder(t);
  for (const wrong of [
    { name: "L U" },
    { country: "Luxembourg" },
    { operator: "a\u001b[2Jb" },
    { url: "http://exclave.example.lu" },
    { url: "https://exclave.example.lu/site" },
    { listen: { host: "a b", port: 1 } },
    { admin: { host: "127.0.0.1", port: 65_536 } },
  ]) {
    await assert.rejects(initSite(folder, { ...SETTINGS, ...wrong }), { code: "usage" });
    assert.throws(() => statSync(folder), { code: "ENOENT" });
  }
});

test("settings that have something unknown in them are refused, by its name", async (t) => {
  const folder = temporaryFolder(t);
  await initSite(folder, SETTINGS);
  const cases: readonly [(settings: Record<string, unknown>) => unknown, RegExp][] = [
    [(settings) => ({ ...settings, lsten: 1 }), /lsten/],
    [(settings) => ({ ...settings, format: 2 }), /format/],
    [(settings) => ({ ...settings, storage: { kind: "tape" } }), /storage\.kind/],
    [(settings) => ({ ...settings, alarms: { email: { to: [] } } }), /alarms\.email/],
    [(settings) => ({ ...settings, peers: [{ name: "is", url: "https://x/" }] }), /peers\.0/],
    [(settings) => ({ ...settings, name: null }), /JSON/],
  ];
  const good = readFileSync(join(folder, "site.json"), "utf8");
  for (const [change, says] of cases) {
    edit(folder, change);
    await assert.rejects(openSiteFiles(folder), (error: { code: string; message: string }) => {
      assert.equal(error.code, "usage");
      assert.match(error.message, says);
      return true;
    });
    writeFileSync(join(folder, "site.json"), good);
  }
});

test("paths in settings are taken from the site's folder", async (t) => {
  const folder = temporaryFolder(t);
  await initSite(folder, SETTINGS);
  edit(folder, (settings) => ({
    ...settings,
    storage: { kind: "s3", file: "s3.json" },
    program: "/srv/exclave.tgz",
  }));
  const { settings } = await openSiteFiles(folder);
  assert.deepEqual(settings.storage, { kind: "s3", file: join(folder, "s3.json") });
  assert.equal(settings.program, "/srv/exclave.tgz");
});

test("a key that others may read, or that is damaged, is not used", async (t) => {
  const folder = temporaryFolder(t);
  await initSite(folder, SETTINGS);
  const file = join(folder, "keys/signing.json");
  chmodSync(file, 0o640);
  await assert.rejects(openSiteFiles(folder), { code: "bad-key" });
  chmodSync(file, 0o600);
  writeFileSync(file, '{"secret":"00"}');
  await assert.rejects(openSiteFiles(folder), { code: "bad-key" });
  rmSync(file);
  await assert.rejects(openSiteFiles(folder), { code: "bad-key" });
});

/** Who a client would take the connection for, at that time. */
const endorsed = async (site: SiteFiles, now: Date): Promise<string> => {
  const { endorsement, certificatePem } = await site.tls();
  const shown = tlsKeyId(new X509Certificate(certificatePem).publicKey);
  return openEndorsement(endorsement, { site: undefined, tls: shown, now }).id;
};

test("the TLS key is kept over a restart, and endorsed as long as its certificate lasts", async (t) => {
  const folder = temporaryFolder(t);
  const made = await initSite(folder, SETTINGS);
  const first = await made.tls();
  assert.equal((await made.tls()).tlsKeyId, first.tlsKeyId);
  const again = await openSiteFiles(folder);
  assert.equal((await again.tls()).keyPem, first.keyPem);
  for (const days of [0, 59, 89]) {
    const at = new Date(Date.now() + days * DAY_MS);
    assert.equal(await endorsed(again, at), made.keys.signing.id);
  }
});

test("with a third of its time left the TLS key is replaced while the site runs", async (t) => {
  const folder = temporaryFolder(t);
  const began = Date.now();
  let now = began;
  await initSite(folder, SETTINGS);
  const site = await openSiteFiles(folder, { now: () => new Date(now) });
  const first = await site.tls();
  now = began + 59 * DAY_MS;
  assert.equal((await site.tls()).tlsKeyId, first.tlsKeyId);
  now = began + 61 * DAY_MS;
  const second = await site.tls();
  assert.notEqual(second.tlsKeyId, first.tlsKeyId);
  assert.equal(await endorsed(site, new Date(now)), site.keys.signing.id);
  // A connection from before shows the older key, and its endorsement is still to be had.
  assert.deepEqual(site.endorsementOf(first.tlsKeyId), first.endorsement);
  assert.deepEqual(site.endorsementOf(second.tlsKeyId), second.endorsement);
  assert.equal(site.endorsementOf("00".repeat(32)), undefined);
  assert.equal((await site.tls()).tlsKeyId, second.tlsKeyId);
});

test("a TLS key that was cut short, damaged, or made by a clock that was ahead, is made anew", async (t) => {
  const folder = temporaryFolder(t);
  const made = await initSite(folder, SETTINGS);
  const old = await made.tls();
  const later = await openSiteFiles(folder, { now: () => new Date(Date.now() + 61 * DAY_MS) });
  const certificate = readFileSync(join(folder, "keys/tls.cert.pem"));
  const ahead = await later.tls();
  assert.notEqual((await (await openSiteFiles(folder)).tls()).tlsKeyId, ahead.tlsKeyId);

  // The key was written, the certificate not.
  writeFileSync(join(folder, "keys/tls.cert.pem"), certificate);
  const mended = await (await openSiteFiles(folder)).tls();
  assert.notEqual(mended.tlsKeyId, old.tlsKeyId);
  writeFileSync(join(folder, "keys/tls.key.pem"), "damaged");
  assert.notEqual((await (await openSiteFiles(folder)).tls()).tlsKeyId, mended.tlsKeyId);
});

test("a grant has what is usual, and one that is given again takes the place of the other", async (t) => {
  const folder = temporaryFolder(t);
  const site = await initSite(folder, SETTINGS);
  const state = "ab".repeat(32);
  assert.deepEqual(await site.grants(), { grants: new Map(), problems: [] });
  await writeGrant(folder, grantFor(state));
  await writeGrant(folder, grantFor(state, 2e12));
  const { grants, problems } = await site.grants();
  assert.deepEqual(problems, []);
  assert.deepEqual([...grants.keys()], [state]);
  const grant = grants.get(state)!;
  assert.equal(grant.quotaBytes, 2e12);
  assert.equal(grant.viewSecondsMax, 172_800);
  assert.equal(grant.silentSecondsMax, 93_600);
});

test("what root grants, the user that the site runs as can read", {
  skip: process.getuid?.() !== 0 && "only root can give files to others",
}, async (t) => {
  const folder = temporaryFolder(t);
  await initSite(folder, SETTINGS);
  const [nobody, state] = [65_534, "ab".repeat(32)];
  for (const path of ["", "grants", "keys"]) chownSync(join(folder, path), nobody, nobody);
  await writeGrant(folder, grantFor(state));
  const { uid, gid, mode } = statSync(join(folder, "grants", `${state}.json`));
  assert.deepEqual([uid, gid, mode & 0o777], [nobody, nobody, 0o600]);
});

test("a damaged grant is named, and the other States are served", async (t) => {
  const folder = temporaryFolder(t);
  await initSite(folder, SETTINGS);
  const [one, two, three] = ["a1", "b2", "c3"].map((digits) => digits.repeat(32));
  const file = (state: string) => join(folder, "grants", `${state}.json`);
  await writeGrant(folder, grantFor(one!));
  await writeGrant(folder, grantFor(two!));
  writeFileSync(file(three!), readFileSync(file(one!)));
  writeFileSync(file(two!), `${readFileSync(file(two!), "utf8").trimEnd().slice(0, -1)}, "x": 1}`);
  writeFileSync(join(folder, "grants", "README"), "hello");
  const { grants, problems } = await readGrants(folder);
  assert.deepEqual([...grants.keys()], [one]);
  assert.equal(problems.length, 3);
  assert.match(problems.join("\n"), /README is no grant/);
  assert.match(problems.join("\n"), /b2b2\.json cannot be used: .*x/);
  assert.match(problems.join("\n"), /c3c3\.json is for another State/);
});

test("what cannot be granted is refused", () => {
  assert.throws(() => grantFor("ab"), { code: "usage" });
  assert.throws(() => grantFor("ab".repeat(32), -1), { code: "usage" });
  assert.throws(
    () => newGrant({ state: "ab".repeat(32), name: "Belize", contact: "AAAA", quotaBytes: 1 }),
    { code: "usage" },
  );
});
