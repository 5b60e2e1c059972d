/**
 * Who has home, a quorum of its people, a key that was taken back, or a site's address, against sites that enforce:
 * real processes where time need not pass, and where it must, the whole daemon with a clock of the test.
 */
import assert from "node:assert/strict";
import { cpSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { setTimeout as delay } from "node:timers/promises";
import { signPaper } from "../src/charter/decision.ts";
import type { Order } from "../src/charter/orders.ts";
import { EXIT } from "../src/cli/exit-codes.ts";
import { fromHex, toBase64 } from "../src/crypto/bytes.ts";
import { envelopeId, signEnvelope } from "../src/crypto/dsse.ts";
import { type SigningKey, signingKeyFromSeed } from "../src/crypto/signing.ts";
import { draftVeto, submit } from "../src/governance/decide.ts";
import { newProposal, readProposal, signProposal } from "../src/governance/proposal.ts";
import { fileName } from "../src/ledger/at-sites.ts";
import { code, listed } from "../src/sites/conformance.ts";
import { objectPath } from "../src/sites/wire.ts";
import { Home } from "../src/vault/home.ts";
import { ABROAD, type Abroad, foundAbroad, SiteProcess } from "./support/abroad.ts";
import { folder, plainState, veto } from "./support/attacks.ts";
import { keyOf } from "./support/charter.ts";
import { failed, good } from "./support/cli.ts";
import type { Embassy } from "./support/embassy.ts";
import { freePort } from "./support/ports.ts";
import { randomBytes } from "./support/random.ts";
import { type RawRequest, raw } from "./support/raw-request.ts";
import { shardsOf } from "./support/shards.ts";
import { IN_ORDER, startDaemon, type TestDaemon } from "./support/site-daemon.ts";
import { assertSameTree, treeOf } from "./support/tree.ts";

const MIB = 1024 * 1024;
const KINDS = [
  "shard",
  "manifest",
  "statement",
  "wrap",
  "charter",
  "decision",
  "ledger",
  "checkpoint",
];

/** A State with a recovery point, and what whoever has root at home has: its keys. */
async function robbed(t: TestContext) {
  const abroad = await foundAbroad(t);
  const { state, id } = abroad;
  state.write("land", randomBytes("land", MIB));
  const first = good(await state.protect());
  const file = state.path("home", "keys", "agent.json");
  const { secret } = JSON.parse(readFileSync(file, "utf8")) as { readonly secret: string };
  const thief = signingKeyFromSeed(fromHex(secret, 32));
  const home = await Home.open(state.home);
  /** A request that the agent's key signs, to a site. */
  const by = (name: string, changes: Partial<RawRequest>) => {
    const { port, key } = abroad.site(name);
    return raw({ port, method: "PUT", target: "", by: thief, site: key.id, ...changes });
  };
  /** Every object of a site, by name, with its bytes. */
  const objectsAt = (name: string): ReadonlyMap<string, Buffer> =>
    new Map(
      KINDS.flatMap((kind) =>
        [...abroad.site(name).stored(id, kind)].map(
          ([rest, path]) => [`${kind}/${rest}`, readFileSync(path)] as const,
        ),
      ),
    );
  return { abroad, home, first, by, objectsAt };
}

async function assertRestores({ state }: Abroad, to: string): Promise<void> {
  good(await state.restore(to));
  assertSameTree(treeOf(state.path(to)), treeOf(state.path("data")));
}

test("home's administrator deletes, overwrites and squats at a site, and the honest home goes on", async (t) => {
  const { abroad, home, by, objectsAt } = await robbed(t);
  const { state, id } = abroad;
  const before = objectsAt("lu");
  assert.ok(before.size > 20);
  for (const [name, bytes] of before) {
    const target = objectPath(id, name);
    for (const method of ["DELETE", "POST", "PATCH"]) {
      assert.equal((await by("lu", { method, target })).status, 400, `${method} ${name}`);
    }
    const other = Buffer.from(bytes);
    other[0] = (other[0] ?? 0) ^ 1;
    const digest = name.startsWith("shard/") ? { digest: false as const } : {};
    const { status } = await by("lu", { target, body: other, ...digest });
    assert.ok([400, 401, 409, 422].includes(status), `other bytes as ${name}: ${status}`);
  }
  // Names that home will need next: of the ledger's files, of checkpoints, of a statement.
  const { origin } = home.charter.ledger;
  const { size } = await home.withLedger((log) => log.head());
  for (const width of [1, 2, 3].map((more) => size + more)) {
    const target = objectPath(id, fileName(origin, `tile/0/000.p/${width}`));
    const body = randomBytes(`tile ${width}`, 32 * width);
    assert.equal((await by("lu", { target, body })).status, 201);
    const entries = objectPath(id, fileName(origin, `tile/entries/000.p/${width}`));
    await by("lu", { target: entries, body: randomBytes("entries", 100) });
  }
  for (const name of [
    `checkpoint/${"ab".repeat(4)}.99.${"cd".repeat(8)}`,
    `statement/${"ab".repeat(32)}`,
  ]) {
    const { status } = await by("lu", {
      target: objectPath(id, name),
      body: randomBytes(name, 99),
    });
    assert.ok(status >= 400, name);
  }
  state.write("land", randomBytes("land, later", MIB));
  const report = good(await state.protect());
  assert.deepEqual(report.failedSites, {});
  assert.deepEqual(
    report.receipts.map(({ problem }) => problem),
    [undefined, undefined, undefined],
  );
  for (const [name, bytes] of before) assert.deepEqual(objectsAt("lu").get(name), bytes, name);
  assert.equal(good(await state.check("--full")).findingCount, 0);
  await abroad.site("ee").end();
  await assertRestores(abroad, "out");
});

test("junk to the last byte of a site's quota keeps out no decision and no ledger, and costs no recovery point", async (t) => {
  const { abroad, home, by } = await robbed(t);
  const { state, id, site } = abroad;
  await site("lu").end("SIGTERM");
  site("lu").grantsOtherwise(id, { quotaBytes: 4 * MIB });
  await site("lu").serve();
  const [register] = home.charter.registers;
  assert.ok(register);
  const many = { state: id, register: register.id, epoch: 65_536, k: 2, n: 3 };
  // Smaller and smaller, so that nothing fits any more in the end.
  for (const packBytes of [MIB, 32 * 1024]) {
    const junk = shardsOf({ ...many, packBytes });
    for (let status = 201, stored = 0; status === 201; stored++) {
      const { name, parts } = junk.next().value;
      const body = Buffer.concat(parts);
      ({ status } = await by("lu", { target: objectPath(id, name), body, digest: false }));
      assert.ok(status === 201 || status === 403, `${status}`);
      assert.ok(stored < 200, "there is an end to it");
    }
  }
  state.write("land", randomBytes("land, later", MIB));
  const full = good(await state.protect());
  assert.match(full.failedSites.lu ?? "", /quota|store/);
  await state.good(
    "decide",
    "propose",
    "amend",
    "--review",
    "2030-01-01T00:00:00Z",
    "--reason",
    "r",
    "--citation",
    "c",
  );
  const ledger = await state.good<{ sites: readonly { site: string; entries: number }[] }>(
    "ledger",
    "verify",
  );
  assert.equal(
    new Set(ledger.sites.map(({ entries }) => entries)).size,
    1,
    "the ledger is everywhere",
  );
  await assertRestores(abroad, "out");
  // Its operator gives more, and what is owed is paid.
  await site("lu").end("SIGTERM");
  site("lu").grantsOtherwise(id, { quotaBytes: 1e9 });
  await site("lu").serve();
  good(await state.run(["repair", "docs"]));
  await site("ca").end();
  await assertRestores(abroad, "again");
});

test("the key of a machine whose right was taken back stores nothing more, and is given no shard", async (t) => {
  const { abroad, home, by, objectsAt } = await robbed(t);
  const { state, id } = abroad;
  const shards = [...objectsAt("lu").keys()].filter((name) => name.startsWith("shard/"));
  const get = (name: string) => by("lu", { method: "GET", target: objectPath(id, name) });
  for (const name of shards) assert.equal((await get(name)).status, 200);
  // Charters count in whole seconds: what was stored is of one before.
  const next = (Math.floor(Date.now() / 1000) + 1) * 1000;
  await delay(next - Date.now());
  const now = `${new Date(next).toISOString().slice(0, 19)}Z`;
  await state.good(
    "decide",
    "propose",
    "revoke-agent",
    "--suspect-from",
    now,
    "--reason",
    "Its keys were copied",
    "--citation",
    "none",
  );
  const [register] = home.charter.registers;
  assert.ok(register);
  const many = { state: id, register: register.id, epoch: 65_536, k: 2, n: 3, packBytes: 65_536 };
  const { name, parts } = shardsOf(many).next().value;
  for (const site of ABROAD) {
    const body = Buffer.concat(parts);
    const put = await by(site, { target: objectPath(id, name), body, digest: false });
    assert.deepEqual([put.status, put.error], [403, "refused"]);
    for (const one of abroad.site(site).stored(id, "shard").keys()) {
      const { status } = await by(site, { method: "GET", target: objectPath(id, `shard/${one}`) });
      assert.equal(status, 403, "not even as an auditor");
    }
  }
  // What it stored before is the State's, and the next home has it.
  renameSync(state.path("home"), state.path("robbed"));
  state.home = state.path("next");
  const urls = abroad.sites.flatMap(({ url }) => ["--site", url]);
  const key = ["--key", state.path("recovery.age"), "--passphrase-file", state.path("pw")];
  good(await state.run(["recover", ...key, ...urls]));
  await assertRestores(abroad, "out");
});

test("a home that was put back from an old backup takes back nothing, and goes on where the sites are", async (t) => {
  const { abroad, first } = await robbed(t);
  const { state } = abroad;
  cpSync(state.home, state.path("backup"), { recursive: true });
  state.write("land", randomBytes("land, later", MIB));
  const second = good(await state.protect());
  await state.good("decide", "propose", "rotate-epoch", "docs", "--reason", "r", "--citation", "c");
  rmSync(state.home, { recursive: true });
  renameSync(state.path("backup"), state.home);
  state.write("sea", "waves\n");
  const third = good(await state.protect());
  assert.ok(third.epoch > second.epoch, "the decision that the backup had not was taken in");
  const { snapshots } = await state.snapshots();
  assert.deepEqual(
    snapshots.map(({ id }) => id),
    [third.snapshot, second.snapshot, first.snapshot],
  );
  assert.equal((await state.good<{ good: boolean }>("ledger", "verify")).good, true);
  await assertRestores(abroad, "out");
});

test("an impostor at a site's address is given nothing, and named; the true one is paid when it is back", async (t) => {
  const { abroad } = await robbed(t);
  const { state, id, site } = abroad;
  await site("lu").end();
  // The same name, address and grant, and everything but the key.
  const impostor = await SiteProcess.init(t, "lu", state.path("impostor"));
  cpSync(join(site("lu").folder, "grants"), join(impostor.folder, "grants"), { recursive: true });
  const settings = join(impostor.folder, "site.json");
  const own = JSON.parse(readFileSync(settings, "utf8"));
  const listen = { host: "127.0.0.1", port: site("lu").port };
  writeFileSync(settings, JSON.stringify({ ...own, url: site("lu").url, listen }));
  await impostor.serve();
  state.write("land", randomBytes("land, later", MIB));
  const report = good(await state.protect());
  assert.match(report.failedSites.lu ?? "", /key/);
  for (const kind of [...KINDS, "succession"]) {
    assert.equal(impostor.stored(id, kind).size, 0, kind);
  }
  const { sites } = await state.good<{
    sites: readonly { name: string; answers: boolean; problem?: string }[];
  }>("site", "list");
  const [shown] = sites.filter(({ name }) => name === "lu");
  assert.equal(shown?.answers, false);
  assert.match(shown?.problem ?? "", /key/);
  // Recovery learns keys from the charter, not from who answers.
  renameSync(state.path("home"), state.path("lost"));
  state.home = state.path("next");
  const urls = abroad.sites.flatMap(({ url }) => ["--site", url]);
  const key = ["--key", state.path("recovery.age"), "--passphrase-file", state.path("pw")];
  const recovered = good(
    await state.run<{ sites: readonly string[] }>(["recover", ...key, ...urls]),
  );
  assert.deepEqual(recovered.sites.toSorted(), ["ca", "ee"]);
  await impostor.end();
  await site("lu").serve();
  await state.good("site", "add", "--card", site("lu").card, "--url", site("lu").url);
  await assertRestores(abroad, "out");
});

const CAPTURED = ["pm", "justice", "interior", "opposition"];
const FIRST_EPOCH = 65_536;
const MORE_POINTS = 5;

/** Three sites that enforce, which know each other, and a State that has closed an epoch. */
async function governed(t: TestContext) {
  const s = await (await plainState()).copy(folder());
  const clock = { days: 2 };
  const now = (): Date => s.day(clock.days);
  const grant = { viewSecondsMax: 366 * 86_400 };
  const made = await Promise.all(
    ["one", "two", "three"].map(async (name) => {
      const listen = { host: "127.0.0.1", port: await freePort() };
      const daemon = await startDaemon(t, { embassy: s, now, grant, settings: { listen } });
      await daemon.running.close();
      return { name, daemon };
    }),
  );
  for (const { name, daemon } of made) {
    const signing = toBase64(daemon.key.bytes);
    const place = { name, country: "PT", operator: name, hazardZone: name };
    await s.decide({ kind: "admit-site", site: { ...place, signing } }, 2);
  }
  await s.enact(2);
  // So many packs that no auditor is shown a shard of each by chance.
  for (let more = 0; more < MORE_POINTS; more++) await s.protect(2);
  const old = new Set(s.objects("bb", "shard").keys());
  const register = s.home.charter.registers[0]?.id ?? "";
  await s.decide({ kind: "rotate-epoch", register }, 2);
  await s.enact(2);
  await s.publish();
  await s.protect(2);
  const sites = await Promise.all(
    made.map(async ({ daemon }) => {
      const settings = join(daemon.folder, "site.json");
      const peers = made
        .filter((other) => other.daemon !== daemon)
        .map(({ name, daemon: { key, url } }) => ({ name, url, signing: toBase64(key.bytes) }));
      const own = JSON.parse(readFileSync(settings, "utf8"));
      writeFileSync(settings, JSON.stringify({ ...own, peers }));
      const wait = () => Promise.resolve();
      return startDaemon(t, { embassy: s, now, folder: daemon.folder, wait });
    }),
  );
  for (const site of sites) await site.bring();
  /** What a captured home brings to the sites on a day: its ledger, and no objection. */
  const bring = async (days: number, some: readonly TestDaemon[] = sites): Promise<void> => {
    clock.days = days;
    await s.publish();
    for (const site of some) {
      await site.bring("bb", IN_ORDER);
      await site.running.watch();
    }
  };
  const young = [...s.objects("bb", "shard").keys()].filter((name) => !old.has(name));
  assert.ok(old.size > 0 && young.length > 0);
  const restart = ({ folder: at }: TestDaemon) => startDaemon(t, { embassy: s, now, folder: at });
  return { s, sites, register, old: [...old], young, bring, restart };
}

/** A seat's veto, brought to a site by whoever carries it. */
async function deliver(s: Embassy, { running, key }: TestDaemon, decision: string, days: number) {
  const body = veto(s, decision, keyOf("abroad"), days);
  const target = objectPath(s.home.state, `veto/${envelopeId(body)}`);
  const { status } = await raw({
    port: running.port,
    method: "PUT",
    target,
    body,
    digest: false,
    site: key.id,
  });
  assert.equal(status, 201);
  await running.settled();
}

/** Announced on day 3, carried out on day 35, by the letter of the charter. */
async function destroys(
  { s, register, bring }: Awaited<ReturnType<typeof governed>>,
  announced: (decision: string) => Promise<void>,
): Promise<void> {
  const order: Order = { kind: "destroy", register, epochs: [FIRST_EPOCH] };
  const { id } = await submit(s.home, [s.sign(await s.draft(order, 3), CAPTURED)], s.day(3));
  await bring(3);
  await announced(id);
  assert.equal(await s.enact(34), 1, "home's own ledger lets it take effect");
  await bring(34);
  const draft = await s.draft(order, 35, { carriesOut: id });
  await submit(s.home, [s.sign(draft, CAPTURED)], s.day(35));
  await bring(35);
  assert.equal(await s.enact(66), 1);
  await bring(66);
  await bring(100);
}

test("a destruction by a captured quorum is stopped at every site by a veto that was brought to one, and that home hides", async (t) => {
  const scene = await governed(t);
  const { s, sites, old, young } = scene;
  const [reached] = sites;
  assert.ok(reached);
  await destroys(scene, (decision) => deliver(s, reached, decision, 10));
  assert.equal(s.home.known.history.vetoes.length, 0, "the ledger says nothing of a veto");
  for (const site of sites) {
    for (const name of [...old, ...young]) assert.ok(site.stored(`shard/${name}`), name);
    const status = (await (await site.client()).status()) as {
      readonly removed: readonly object[];
    };
    assert.deepEqual(status.removed, []);
  }
});

test("a destruction that nobody vetoes removes the shards of its epochs after every delay, and nothing else", async (t) => {
  const scene = await governed(t);
  const { s, sites, old, young } = scene;
  const kept = (site: TestDaemon): readonly string[] =>
    ["manifest", "statement", "wrap", "annex", "charter", "decision"].flatMap((kind) =>
      [...s.objects("bb", kind).keys()].filter((name) => site.stored(`${kind}/${name}`)),
    );
  const documents = sites.map(kept);
  await destroys(scene, async () => {
    for (const site of sites) {
      for (const name of old) assert.ok(site.stored(`shard/${name}`), "announced is not done");
    }
  });
  for (const [i, site] of sites.entries()) {
    for (const name of old) assert.equal(site.stored(`shard/${name}`), undefined, name);
    for (const name of young) assert.ok(site.stored(`shard/${name}`), name);
    const now = new Set(kept(site));
    for (const name of documents[i] ?? []) assert.ok(now.has(name), name);
    assert.equal((await listed(await site.client(), "shard")).length, young.length);
  }
});

test("a release by the recovery key alone waits, and one seat's veto at a site stops it there", async (t) => {
  const { s, sites, register, old, bring, restart } = await governed(t);
  const order: Order = { kind: "release", register, epochs: [FIRST_EPOCH], to: "recovery" };
  const reads = async (
    site: TestDaemon,
    by: SigningKey = s.home.agent,
  ): Promise<readonly string[]> => {
    const client = await site.client(by);
    const given: string[] = [];
    for (const name of old) {
      try {
        await client.read(`shard/${name}`, 0, new Uint8Array(1));
        given.push(name);
      } catch (error) {
        assert.ok(code("refused")(error));
      }
    }
    return given;
  };
  const [vetoed, other, third] = sites;
  assert.ok(vetoed && other && third);
  const signed = s.sign(await s.draft(order, 3), [s.recovery.signing]);
  const { id } = await submit(s.home, [signed], s.day(3));
  await bring(3);
  const audited = await reads(other);
  assert.ok(audited.length < old.length, "as an auditor it is shown some");
  for (const site of sites) assert.deepEqual(await reads(site), audited);
  // The seat reaches one site; the cable between the sites is cut.
  await Promise.all([other.running.close(), third.running.close()]);
  await deliver(s, vetoed, id, 3.5);
  assert.equal(await s.enact(4.5), 1, "home's own ledger lets it take effect");
  await bring(4.5, [vetoed]);
  await bring(9, [vetoed]);
  assert.deepEqual(await reads(vetoed), audited);
  const again = await restart(other);
  await bring(9, [again]);
  assert.deepEqual(
    await reads(again),
    old,
    "who heard of no veto gives it, once its delay is over",
  );
});

test("a site that was away takes the next ledger from whom the recovery key names, and no shard before it has followed", async (t) => {
  const s = await (await plainState()).copy(folder());
  const clock = { days: 2 };
  const site = await startDaemon(t, { embassy: s, now: () => s.day(clock.days) });
  await site.bring();
  const register = s.home.charter.registers[0]?.id ?? "";
  const { home: next } = await s.recover(clock.days);
  const succession = next.known.history.successions.at(-1)?.envelope ?? "";
  const stranger = signingKeyFromSeed(randomBytes("a stranger's seed", 32));
  const client = await site.client(next.agent);
  const governing = IN_ORDER.flatMap((kind) =>
    [...s.objects("bb", kind)].map(([name, bytes]) => ({ name: `${kind}/${name}`, bytes })),
  );
  const [first] = governing.filter(({ name }) => site.stored(name) === undefined);
  assert.ok(first);
  await assert.rejects(client.put(first.name, [first.bytes]), code("untrusted"));
  // Nobody has to be believed who brings it.
  const { status } = await raw({
    port: site.running.port,
    method: "PUT",
    target: objectPath(s.home.state, `succession/${succession}`),
    body: next.document("succession", succession),
    digest: false,
  });
  assert.equal(status, 201);
  const many = {
    state: s.home.state,
    register,
    epoch: 2 * FIRST_EPOCH,
    k: 2,
    n: 4,
    packBytes: 65_536,
  };
  const { name, parts } = shardsOf(many).next().value;
  await assert.rejects(client.put(name, parts), code("refused"));
  const other = await site.client(stranger);
  await assert.rejects(other.put(first.name, [first.bytes]), code("untrusted"));
  for (const one of governing) await client.put(one.name, [one.bytes]);
  await site.running.watch();
  await client.put(name, parts);
  await assert.rejects((await site.client(s.home.agent)).put(name, parts), code("refused"));
});

test("who distrusts home brings a veto to a site by its address, and an honest home takes it in", async (t) => {
  const abroad = await foundAbroad(t);
  const { state, id } = abroad;
  const home = await Home.open(state.home);
  assert.ok(home.seat);
  const paper = draftVeto(id, "ab".repeat(32), "Not agreed", new Date());
  const payload = home.known.history.history.at(-1)?.payload;
  assert.ok(payload);
  const blank = newProposal("veto", paper, payload);
  const file = state.path("veto.json");
  writeFileSync(file, blank);
  const bring = (...sites: readonly string[]) =>
    state.run(["decide", "submit", file, ...sites.flatMap((one) => ["--site", one])]);
  const { url } = abroad.site("lu");
  assert.ok((await bring(url)).code !== 0, "nobody has signed it");
  assert.equal(abroad.site("lu").stored(id, "veto").size, 0);
  writeFileSync(file, signProposal(readProposal(blank), home.seat));
  good(await bring(url));
  assert.equal(abroad.site("lu").stored(id, "veto").size, 1);
  assert.equal(home.known.history.vetoes.length, 0, "home was not asked");
  good(await state.protect());
  home.refresh();
  assert.equal(home.known.history.vetoes.length, 1, "and takes it in when it runs");
});

test("a seat without a home reads at sites what is decided, and freezes there", async (t) => {
  const { state, id, site } = await foundAbroad(t);
  const { seat } = await Home.open(state.home);
  assert.ok(seat);
  state.home = state.path("none");
  const { url } = site("lu");
  const at = ["--site", url, "--site", site("ee").url, "--state", id];
  type Listed = { readonly id: string; readonly sentence: string };
  const { enacted } = await state.good<{ readonly enacted: readonly Listed[] }>(
    "decide",
    "list",
    ...at,
  );
  assert.ok(enacted.some(({ sentence }) => /lu/.test(sentence)));
  const shown = await state.good<{ readonly by: string; readonly id: string }>(
    "decide",
    "show",
    enacted[0]?.id ?? "",
    ...at,
  );
  assert.deepEqual([shown.by, shown.id], ["sites", enacted[0]?.id]);
  const file = state.path("freeze.json");
  await state.good("decide", "freeze", "--days", "3", "--reason", "Lost", "--out", file, ...at);
  const submit = (...sites: readonly string[]) =>
    state.run<{ failed: readonly { site: string }[] }>([
      "decide",
      "submit",
      file,
      ...sites.flatMap((one) => ["--site", one]),
    ]);
  assert.notEqual((await submit(url)).code, 0, "nobody has signed it");
  writeFileSync(file, signProposal(readProposal(readFileSync(file)), seat));
  const nobody = `https://127.0.0.1:${await freePort()}`;
  assert.match(failed(await submit(nobody), "site-unavailable"), /Nothing was changed/);
  assert.equal(site("lu").stored(id, "freeze").size, 0);
  const some = await submit(nobody, url);
  assert.deepEqual(
    good(some, EXIT.incomplete).failed.map((one) => one.site),
    [nobody],
  );
  assert.equal(site("lu").stored(id, "freeze").size, 1);
});

test("a veto in ever more envelopes is kept once, whoever brings them", async (t) => {
  const abroad = await foundAbroad(t);
  const { state, id } = abroad;
  const { seat } = await Home.open(state.home);
  assert.ok(seat);
  const paper = draftVeto(id, "ab".repeat(32), "Not agreed", new Date());
  const first = signPaper(paper, seat);
  const { payloadType, payload } = JSON.parse(Buffer.from(first).toString());
  const signedAlso = (seed: number): Uint8Array => {
    const stranger = signingKeyFromSeed(new Uint8Array(32).fill(seed));
    return signEnvelope(payloadType, Buffer.from(payload, "base64"), [seat, stranger]);
  };
  const { port, key } = abroad.site("lu");
  const bring = async (body: Uint8Array): Promise<number> => {
    const target = objectPath(id, `veto/${envelopeId(body)}`);
    const { status } = await raw({
      port,
      method: "PUT",
      target,
      body,
      digest: false,
      site: key.id,
    });
    return status;
  };
  assert.equal(await bring(first), 201);
  assert.equal(await bring(first), 200);
  for (const seed of [1, 2, 3]) assert.equal(await bring(signedAlso(seed)), 200);
  assert.deepEqual([...abroad.site("lu").stored(id, "veto").keys()], [envelopeId(first)]);
});
