/** A pouch: what a site lacks, carried there on media, and its receipts back. */
import assert from "node:assert/strict";
import { once } from "node:events";
import {
  cpSync,
  existsSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { basename, join } from "node:path";
import { type TestContext, test } from "node:test";
import { setImmediate } from "node:timers/promises";
import { pino } from "pino";
import { fromBase64, toBase64 } from "../src/crypto/bytes.ts";
import { signingKeyFromSeed } from "../src/crypto/signing.ts";
import { type RunningSite, startSite } from "../src/site-daemon/daemon.ts";
import { newGrant, writeGrant } from "../src/site-daemon/grant.ts";
import { initSite } from "../src/site-daemon/site-files.ts";
import { openPouch, signPouch } from "../src/sites/pouch.ts";
import { signSiteReceipt } from "../src/sites/site-receipt.ts";
import { Home } from "../src/vault/home.ts";
import { failed, good, type Outcome, run, start } from "./support/cli.ts";
import { freePort } from "./support/ports.ts";
import { randomBytes } from "./support/random.ts";
import { TestState } from "./support/state.ts";

/** A name that is nowhere by accident. */
const REGISTER = "civil-status-of-citizens";
const stranger = signingKeyFromSeed(new Uint8Array(32).fill(9));

type Packed = {
  readonly pouch: string;
  readonly part: number;
  readonly shards: number;
  readonly documents: number;
  readonly left: { readonly shards: number; readonly bytes: number };
  readonly mediaLeft: number;
  readonly unreachable?: string;
};
type Delivered = {
  readonly objects: number;
  readonly taken: number;
  readonly there: number;
  readonly aside: number;
  readonly refused: number;
  readonly problems: readonly string[];
  readonly signed: number;
};
type Received = {
  readonly receipts: number;
  readonly confirmed: number;
  readonly unconfirmed: number;
  readonly problems: readonly string[];
};
type Status = { readonly debts: readonly { readonly site: string; readonly shards: number }[] };

/** A State with three sites in directories and one that enforces, and a register that is not there yet. */
class Abroad {
  readonly state: TestState;
  readonly site: string;
  #running: RunningSite | undefined;

  private constructor(state: TestState) {
    this.state = state;
    this.site = state.path("site");
  }

  static async make(t: TestContext): Promise<Abroad> {
    const state = await TestState.found(t, { sites: ["bb", "kn", "ee"], register: false });
    const abroad = new Abroad(state);
    const home = await Home.open(state.home);
    const port = await freePort();
    const files = await initSite(abroad.site, {
      name: "lu",
      country: "LU",
      operator: "lu",
      hazardZone: "LU",
      url: `https://127.0.0.1:${port}`,
      listen: { host: "127.0.0.1", port },
      admin: { host: "127.0.0.1", port: 0 },
      storage: { kind: "directory" },
    });
    const contact = toBase64(home.agent.publicKey.bytes);
    await writeGrant(
      abroad.site,
      newGrant({ state: home.state, name: "Test State", contact, quotaBytes: 2 ** 40 }),
    );
    writeFileSync(state.path("lu.card.json"), files.card());
    t.after(() => abroad.stop());
    await abroad.serve();
    await state.good("site", "add", "--card", state.path("lu.card.json"));
    const at = ["--sites", "bb,kn,ee,lu", "--threshold", "2", "--path", state.path("data")];
    await state.good("register", "add", REGISTER, "--kind", "files", ...at);
    return abroad;
  }

  /** The same, cut off from home while something was protected. */
  static async behind(t: TestContext): Promise<Abroad> {
    const abroad = await Abroad.make(t);
    await abroad.stop();
    for (let i = 0; i < 4; i++) {
      abroad.state.write(`file-${i}`, randomBytes(`pouch ${i}`, 3_000_000));
    }
    await abroad.state.good("protect", REGISTER);
    return abroad;
  }

  async serve(): Promise<void> {
    this.#running = await startSite({ folder: this.site, log: pino({ level: "silent" }) });
  }

  async stop(): Promise<void> {
    await this.#running?.close();
    this.#running = undefined;
  }

  async pack(to: string, ...flags: readonly string[]): Promise<Packed> {
    const at = ["--site", "lu", "--to", this.state.path(to), "--no-program"];
    return this.state.good<Packed>("pouch", "pack", REGISTER, ...at, ...flags);
  }

  deliver(medium: string, ...flags: readonly string[]): Promise<Outcome<Delivered>> {
    const admin = `127.0.0.1:${this.#running?.adminPort ?? 1}`;
    const args = ["pouch", "deliver", this.state.path(medium), "--admin", admin, ...flags];
    return run<Delivered>(this.state.home, args);
  }

  receive(medium: string): Promise<Outcome<Received>> {
    return run<Received>(this.state.home, ["pouch", "receive", this.state.path(medium)]);
  }

  /** Shards that lie on a medium, or at the site: their paths. */
  shards(medium: string): readonly string[] {
    return filesIn(this.state.path(medium, "objects", "shard"));
  }

  stored(): readonly string[] {
    const [state = ""] = readdirSync(join(this.site, "states"));
    return filesIn(join(this.site, "states", state, "objects", "shard"));
  }

  async debts(): Promise<number> {
    const { report } = await run<Status>(this.state.home, ["status"]);
    return report.debts.reduce((sum, { shards }) => sum + shards, 0);
  }
}

function filesIn(folder: string): readonly string[] {
  if (!existsSync(folder)) return [];
  return readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name))
    .toSorted();
}

/** Flips a bit in the middle of a file. */
function damage(file: string): void {
  const bytes = readFileSync(file);
  const at = bytes.length >> 1;
  bytes[at] = (bytes[at] ?? 0) ^ 1;
  writeFileSync(file, bytes);
}

test("what a site lacks comes to it on several media, and its receipts strike off the debts", async (t) => {
  const abroad = await Abroad.behind(t);
  const owed = await abroad.debts();
  assert.ok(owed >= 3);
  const first = await abroad.pack("one", "--media-bytes", "2MB");
  assert.match(first.unreachable ?? "", /cannot be reached/);
  assert.equal(first.part, 1);
  assert.ok(first.shards > 0 && first.left.shards > 0, JSON.stringify(first));
  assert.ok(first.mediaLeft >= 1);
  const second = await abroad.pack("two");
  assert.deepEqual([second.part, second.left.shards], [2, 0]);
  assert.equal(first.shards + second.shards, owed);
  // All of it is on its way: nothing is packed twice.
  assert.equal((await abroad.pack("three")).shards, 0);

  await abroad.serve();
  // In any order.
  for (const medium of ["two", "one"]) {
    const delivered = good(await abroad.deliver(medium));
    assert.equal(delivered.refused, 0, delivered.problems.join());
    assert.equal(delivered.taken + delivered.there, delivered.objects);
    assert.equal(delivered.signed, delivered.objects);
  }
  assert.equal(abroad.stored().length, owed);
  assert.equal(await abroad.debts(), owed);
  const back = [good(await abroad.receive("one")), good(await abroad.receive("two"))];
  assert.deepEqual(
    back.map(({ confirmed, unconfirmed, problems }) => [confirmed, unconfirmed, problems]),
    [
      [first.shards, 0, []],
      [second.shards, 0, []],
    ],
  );
  assert.equal(await abroad.debts(), 0);
  const check = await abroad.state.good<{ good: boolean }>("check", REGISTER, "--full");
  assert.equal(check.good, true);
  // The site says itself what it has now.
  const more = await abroad.pack("four");
  assert.deepEqual([more.shards, more.unreachable], [0, undefined]);
});

test("what was altered on the way is refused by name, and the rest is taken", async (t) => {
  const abroad = await Abroad.behind(t);
  const packed = await abroad.pack("stick");
  cpSync(abroad.state.path("stick"), abroad.state.path("copy"), { recursive: true });
  const [one = "", two = "", three = ""] = abroad.shards("stick");
  damage(one);
  truncateSync(two, 1000);
  rmSync(three);
  const [statement = ""] = filesIn(abroad.state.path("stick", "objects", "statement"));
  damage(statement);
  // And one that nobody signed.
  cpSync(three.replace("stick", "copy"), join(three, "../..", "ff", `${"ff".repeat(32)}.03`));

  await abroad.serve();
  const delivered = good(await abroad.deliver("stick"), 3);
  assert.equal(delivered.refused, 4, delivered.problems.join("\n"));
  for (const file of [one, two, three, statement]) {
    assert.ok(
      delivered.problems.some((why) => why.includes(basename(file))),
      `${basename(file)} is not named: ${delivered.problems.join("\n")}`,
    );
  }
  assert.equal(abroad.stored().length, packed.shards - 3);
  const partly = good(await abroad.receive("stick"));
  assert.deepEqual([partly.confirmed, partly.unconfirmed], [packed.shards - 3, 3]);

  // A copy of the medium brings what is missing, and is good for nothing else.
  const again = good(await abroad.deliver("copy"));
  assert.deepEqual([again.taken, again.refused], [4, 0]);
  assert.equal(good(await abroad.receive("copy")).unconfirmed, 0);
  assert.equal(await abroad.debts(), 0);
  await abroad.state.good("check", REGISTER, "--full");
});

test("a list that was altered, or has gone, is refused with what is on it", async (t) => {
  const abroad = await Abroad.behind(t);
  await abroad.pack("stick");
  const { pouch } = openPouch(readFileSync(abroad.state.path("stick", "pouch.json")));
  const lists = filesIn(abroad.state.path("stick", "lists"));
  const ofShards = lists.find((file) => readFileSync(file, "utf8").startsWith("shard/")) ?? "";
  const text = readFileSync(ofShards, "utf8");
  writeFileSync(ofShards, text.replace(/ \d+\n/, " 1\n"));
  const ofWraps = lists.find((file) => readFileSync(file, "utf8").startsWith("wrap/")) ?? "";
  rmSync(ofWraps);
  const lost = pouch.lists
    .filter(({ sha256 }) => [ofShards, ofWraps].map((file) => basename(file)).includes(sha256))
    .reduce((sum, { objects }) => sum + objects, 0);
  await abroad.serve();
  const delivered = good(await abroad.deliver("stick"), 3);
  assert.equal(delivered.refused, lost);
  assert.equal(delivered.taken + delivered.there, delivered.objects - lost);
  assert.equal(abroad.stored().length, 0);
});

test("a pouch for another site or State, or signed by somebody else, brings nothing in", async (t) => {
  const abroad = await Abroad.behind(t);
  await abroad.pack("stick");
  const file = abroad.state.path("stick", "pouch.json");
  const envelope = readFileSync(file);
  const { pouch } = openPouch(envelope);
  const { agent } = await Home.open(abroad.state.home);
  await abroad.serve();
  const refusals = [
    [signPouch(stranger, pick(pouch), new Date()), "untrusted"],
    [signPouch(agent, { ...pick(pouch), site: "ab".repeat(32) }, new Date()), "refused"],
    [signPouch(agent, { ...pick(pouch), state: "ab".repeat(32) }, new Date()), "not-found"],
    [relabelled(envelope), "altered"],
    [Buffer.from("{}"), "malformed"],
  ] as const;
  for (const [bytes, code] of refusals) {
    writeFileSync(file, bytes);
    failed(await abroad.deliver("stick"), code);
    assert.equal(abroad.stored().length, 0);
  }
  rmSync(file);
  assert.match(failed(await abroad.deliver("stick"), "usage", 2), /no packed pouch/);
  writeFileSync(file, envelope);
  assert.equal(good(await abroad.deliver("stick")).refused, 0);
});

/** What a pouch states, to be signed anew. */
function pick({
  pouch,
  state,
  site,
  siteName,
  part,
  lists,
}: ReturnType<typeof openPouch>["pouch"]) {
  return { pouch, state, site, siteName, part, lists };
}

/** The manifest with another part number, under the old signature. */
function relabelled(envelope: Uint8Array): Uint8Array {
  const outer = JSON.parse(Buffer.from(envelope).toString()) as { payload: string };
  const payload = JSON.parse(Buffer.from(fromBase64(outer.payload)).toString()) as object;
  const changed = Buffer.from(JSON.stringify({ ...payload, part: 7 }));
  return Buffer.from(JSON.stringify({ ...outer, payload: toBase64(changed) }));
}

test("a pack that was killed goes on in the same folder; half of it is no pouch", async (t) => {
  const abroad = await Abroad.behind(t);
  const medium = abroad.state.path("stick");
  const args = ["pouch", "pack", REGISTER, "--site", "lu", "--to", medium, "--no-program"];
  const child = start(abroad.state.home, args);
  const ended = once(child, "close");
  child.stderr?.resume();
  child.stdout?.resume();
  // Looked at again and again: which folder the first shard will be in is not known before.
  while (abroad.shards("stick").length === 0 && child.exitCode === null) await setImmediate();
  child.kill("SIGKILL");
  await ended;
  const before = abroad.shards("stick");
  assert.ok(before.length > 0);
  const wasDone = existsSync(join(medium, "pouch.json"));
  if (!wasDone) {
    await abroad.serve();
    failed(await abroad.deliver("stick"), "usage", 2);
    await abroad.stop();
    const packed = await abroad.pack("stick");
    assert.equal(packed.shards, await abroad.debts());
  }
  const after = abroad.shards("stick");
  assert.ok(before.every((file) => after.includes(file)));
  // One that is packed is not packed into again.
  const again = await run(abroad.state.home, args);
  assert.match(failed(again, "usage", 2), /is a packed pouch/);
});

test("a site that goes down in the middle takes the rest later", async (t) => {
  const abroad = await Abroad.behind(t);
  const packed = await abroad.pack("stick");
  await abroad.stop();
  assert.match(failed(await abroad.deliver("stick"), "site-unavailable"), /exclave site serve/);
  await abroad.serve();
  const hidden = abroad.shards("stick").slice(0, 2);
  for (const file of hidden) renameSync(file, `${file}.away`);
  assert.equal(good(await abroad.deliver("stick"), 3).refused, 2);
  await abroad.stop();
  for (const file of hidden) renameSync(`${file}.away`, file);
  await abroad.serve();
  const rest = good(await abroad.deliver("stick"));
  assert.deepEqual([rest.taken, rest.refused], [2, 0]);
  assert.equal(good(await abroad.receive("stick")).confirmed, packed.shards);
});

test("a medium that was lost is packed again, and costs nothing else", async (t) => {
  const abroad = await Abroad.behind(t);
  const lost = await abroad.pack("lost");
  rmSync(abroad.state.path("lost"), { recursive: true });
  assert.equal((await abroad.pack("two")).shards, 0);
  const again = await abroad.pack("three", "--again");
  assert.equal(again.shards, lost.shards);
  await abroad.serve();
  assert.equal(good(await abroad.deliver("three")).refused, 0);
  assert.equal(good(await abroad.receive("three")).confirmed, lost.shards);
});

test("receipts that the site did not sign, or for another State, confirm nothing", async (t) => {
  const abroad = await Abroad.behind(t);
  const packed = await abroad.pack("stick");
  await abroad.serve();
  good(await abroad.deliver("stick"));
  const { state, agent } = await Home.open(abroad.state.home);
  const names = abroad.shards("stick").map((file) => `shard/${basename(file)}`);
  const soon = new Date(Date.now() + 1e9);
  const forged = (signer: typeof agent, of = state as string) =>
    signSiteReceipt(signer, {
      state: of,
      time: new Date(),
      retainUntil: soon,
      missing: [],
      objects: names.map((name) => ({ name, bytes: 1, storedAt: new Date() })),
    });
  const receipts = filesIn(abroad.state.path("stick", "receipts"));
  const honest = receipts.map((file) => readFileSync(file));
  for (const file of receipts) writeFileSync(file, forged(agent));
  const wrong = good(await abroad.receive("stick"), 3);
  assert.deepEqual([wrong.receipts, wrong.confirmed], [0, 0]);
  assert.equal(wrong.problems.length, receipts.length);
  for (const file of receipts) damage(file);
  assert.equal(good(await abroad.receive("stick"), 3).confirmed, 0);
  assert.equal(await abroad.debts(), packed.shards);
  for (const [i, file] of receipts.entries()) writeFileSync(file, honest[i]!);
  assert.equal(good(await abroad.receive("stick")).confirmed, packed.shards);
  // The same once more: nothing is counted twice.
  assert.equal(good(await abroad.receive("stick")).confirmed, 0);
  const other = await TestState.found(t, { sites: ["bb"], register: false });
  const elsewhere = await run(other.home, ["pouch", "receive", abroad.state.path("stick")]);
  failed(elsewhere, "foreign-state");
});

test("whoever finds a pouch finds no name, no content, and one shard of each pack", async (t) => {
  const abroad = await Abroad.make(t);
  await abroad.stop();
  const secret = "Ana Sosa, born 7 March 1984 in Belmopan";
  abroad.state.write("births", `${secret}\n`.repeat(100_000));
  await abroad.state.good("protect", REGISTER);
  await abroad.pack("stick");
  for (const file of filesIn(abroad.state.path("stick"))) {
    const bytes = readFileSync(file);
    for (const word of [secret, REGISTER, "births"]) {
      assert.ok(!bytes.includes(word), `${file} has ${word}`);
    }
  }
  const packs = abroad.shards("stick").map((file) => basename(file).slice(0, 64));
  assert.ok(packs.length > 0);
  assert.equal(new Set(packs).size, packs.length);
});

test("a site that only stores takes no pouch, and a register that is not there has none", async (t) => {
  const abroad = await Abroad.behind(t);
  const pack = (...args: readonly string[]) =>
    run(abroad.state.home, ["pouch", "pack", ...args, "--to", abroad.state.path("stick")]);
  assert.match(failed(await pack(REGISTER, "--site", "bb"), "usage", 2), /exclave repair/);
  failed(await pack(REGISTER, "--site", "xx"), "unknown-name", 2);
  failed(await pack("other", "--site", "lu"), "unknown-name", 2);
  assert.ok(!existsSync(abroad.state.path("stick")));
  failed(await pack(REGISTER, "--site", "lu", "--media-bytes", "10kB"), "disk-full");
  assert.ok(!existsSync(abroad.state.path("stick", "pouch.json")));
});
