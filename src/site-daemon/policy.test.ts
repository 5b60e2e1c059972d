/** What a site allows, on real States: who writes, who reads what, and what it releases and removes by itself. */
import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { test } from "node:test";
import {
  folder,
  frozen,
  plainState,
  replacing,
  retain,
  vetoed,
  veto as vetoOf,
  witnessedState,
} from "../../test/support/attacks.ts";
import { HOME_AND_ABROAD, keyOf } from "../../test/support/charter.ts";
import type { Embassy } from "../../test/support/embassy.ts";
import {
  bringAll,
  emptyObjects,
  objectsAt,
  type Watcher,
  watch,
} from "../../test/support/followed.ts";
import { momentOf } from "../charter/charter.ts";
import { paperPayload, payloadTypeOf } from "../charter/decision.ts";
import type { Order } from "../charter/orders.ts";
import { toBase64, toHex } from "../crypto/bytes.ts";
import { signEnvelope } from "../crypto/dsse.ts";
import { type SigningKey, signingKeyFromSeed } from "../crypto/signing.ts";
import { isExclaveError } from "../errors.ts";
import { submit } from "../governance/decide.ts";
import { publicPartOf } from "../governance/found.ts";
import { OBJECT_KINDS } from "../sites/site.ts";
import { GOVERNANCE_KINDS } from "../sites/wire.ts";
import { auditedIndices } from "../vault/audited-shards.ts";
import { readerKeyFromSeed } from "../vault/recovery-key.ts";
import {
  ANYBODY,
  agentQuota,
  type GrantedView,
  mayPut,
  mayPutShard,
  mayRead,
  type Requester,
  removable,
  requesterOf,
  ripeHere,
  type ShardOf,
} from "./policy.ts";
import type { SiteView } from "./view.ts";

const DAY_SECONDS = 86_400;
const ALL_YEAR = 366 * DAY_SECONDS;
const EPOCH = 65_536;
const FOUR = ["pm", "justice", "interior", "opposition"] as const;
const STRANGER = signingKeyFromSeed(new Uint8Array(32).fill(77));

const copied = async (): Promise<Embassy> => (await plainState()).copy(folder());
const registerOf = (s: Embassy): string => s.home.charter.registers[0]?.id ?? "";
const agentOf = (s: Embassy): SigningKey => signingKeyFromSeed(s.secret("agent"));
const grantOf = (s: Embassy, viewSecondsMax = ALL_YEAR): GrantedView => ({
  state: s.home.state,
  contact: toBase64(agentOf(s).publicKey.bytes),
  viewSecondsMax,
});

async function watched(s: Embassy, days: number): Promise<Watcher> {
  const objects = await objectsAt(s.site("bb"));
  return watch(folder(), { state: s.home.state, objects, now: s.day(days) });
}

function refused(work: () => unknown, why: RegExp): void {
  assert.throws(work, (error) => {
    assert.ok(isExclaveError(error, "refused"), String(error));
    assert.match(error.message, why);
    return true;
  });
}

/** Whoever has this key, as the charter in force knows them. */
function whoHas(view: SiteView, key: Pick<SigningKey, "id">): Requester {
  const found = requesterOf(view, { state: "", contact: "", viewSecondsMax: 0 }, key.id);
  assert.ok(found, "the charter names the key");
  return found.requester;
}

const object = (kind: (typeof OBJECT_KINDS)[number]) => ({ kind, name: `${kind}/00` });
const shardOf = (s: Embassy, epoch: number, changes: Partial<ShardOf> = {}): ShardOf => ({
  id: "cd".repeat(32),
  index: 0,
  k: 2,
  n: 4,
  register: registerOf(s),
  epoch,
  ...changes,
});
const asked = (shard: ShardOf, quarantined = false) => ({
  ...object("shard"),
  quarantined,
  shard,
});

/** The register goes on in another epoch, so that the first one is closed. */
async function closeEpoch(s: Embassy, days: number): Promise<void> {
  await s.decide({ kind: "rotate-epoch", register: registerOf(s) }, days);
  await s.enact(days);
  await s.protect(days);
}

const release = (s: Embassy): Order => ({
  kind: "release",
  register: registerOf(s),
  epochs: [EPOCH],
  to: "recovery",
});

/** A destruction is announced on one day and carried out on another; each waits for 30 days. */
async function destroyed(s: Embassy, announced: number, carriedOut: number): Promise<string> {
  const order: Order = { kind: "destroy", register: registerOf(s), epochs: [EPOCH] };
  const one = s.sign(await s.draft(order, announced), FOUR);
  const { id } = await submit(s.home, [one], s.day(announced));
  await s.enact(announced + 30);
  await s.publish();
  const other = s.sign(await s.draft(order, carriedOut, { carriesOut: id }), FOUR);
  return (await submit(s.home, [other], s.day(carriedOut))).id;
}

function freezeBy(s: Embassy, names: readonly string[], from: number, until: number): Uint8Array {
  const payload = paperPayload({
    kind: "freeze",
    format: 1,
    state: s.home.state,
    from: momentOf(s.day(from)),
    until: momentOf(s.day(until)),
    reason: "Something is wrong",
    random: toHex(randomBytes(16)),
  });
  return signEnvelope(payloadTypeOf("freeze"), payload, names.map(keyOf));
}

test("who is not named by the charter is nobody; before it is known the contact alone is somebody", async () => {
  const s = await copied();
  const grant = grantOf(s);
  const contact = agentOf(s);
  const first = requesterOf(undefined, grant, contact.id);
  assert.deepEqual(first?.requester, { kind: "contact", keyId: contact.id });
  assert.equal(first?.key.id, contact.id);
  assert.equal(requesterOf(undefined, grant, keyOf("pm").id), undefined);
  const view = await (await watched(s, 2)).on(s.day(2));
  for (const [key, kind] of [
    [contact, "agent"],
    [keyOf("pm"), "seat"],
    [keyOf("deputy-justice"), "seat"],
    [s.recovery.signing, "recovery"],
  ] as const) {
    const found = requesterOf(view, grant, key.id);
    assert.deepEqual([found?.requester.kind, found?.key.id], [kind, key.id]);
  }
  assert.equal(requesterOf(view, grant, STRANGER.id), undefined);
  assert.deepEqual(agentQuota(view, contact.id), {
    bytesPerDay: s.home.charter.agents[0]?.quotaBytesPerDay,
    objectsPerDay: s.home.charter.agents[0]?.quotaObjectsPerDay,
  });
  assert.equal(agentQuota(view, STRANGER.id), undefined);
});

test("before the ledger was followed, what it is followed from is taken from the contact, and no more", async () => {
  const s = await copied();
  const grant = grantOf(s);
  const contact: Requester = { kind: "contact", keyId: agentOf(s).id };
  const now = s.day(2);
  const taken = OBJECT_KINDS.filter((kind) => {
    try {
      return mayPut(undefined, grant, contact, object(kind), now) === "take";
    } catch (error) {
      assert.ok(isExclaveError(error, "refused"));
      return false;
    }
  });
  const refusedKinds = OBJECT_KINDS.filter((kind) => !taken.includes(kind));
  assert.deepEqual(refusedKinds, [
    "shard",
    "manifest",
    "statement",
    "wrap",
    "site-receipt",
    "site",
  ]);
  for (const kind of OBJECT_KINDS) {
    refused(() => mayPut(undefined, grant, ANYBODY, object(kind), now), /./);
  }
  const founding = { kind: "charter", name: `charter/${s.home.state}` } as const;
  assert.equal(mayPut(undefined, grant, ANYBODY, founding, now), "take");
  mayRead(undefined, grant, ANYBODY, { ...object("checkpoint"), quarantined: false }, now);
  refused(
    () => mayRead(undefined, grant, contact, { ...object("wrap"), quarantined: false }, now),
    /not followed this State's ledger yet/,
  );
});

test("each kind of object is taken from whom the protocol says, and from nobody else", async () => {
  const s = await copied();
  const view = await (await watched(s, 2)).on(s.day(2));
  const grant = grantOf(s);
  const from = (requester: Requester): readonly string[] =>
    OBJECT_KINDS.filter((kind) => {
      try {
        return mayPut(view, grant, requester, object(kind), s.day(2)) === "take";
      } catch (error) {
        assert.ok(isExclaveError(error, "refused"));
        return false;
      }
    });
  const all = OBJECT_KINDS.filter((kind) => kind !== "site");
  assert.deepEqual(from(whoHas(view, agentOf(s))), all);
  assert.deepEqual(
    from(whoHas(view, s.recovery.signing)),
    all.filter((kind) => kind !== "shard"),
  );
  const papers = ["decision", "veto", "freeze", "succession"];
  const site: Requester = { kind: "site", keyId: STRANGER.id };
  for (const requester of [whoHas(view, keyOf("pm")), site, ANYBODY]) {
    assert.deepEqual(from(requester), papers);
  }
});

test("shards are taken from the agent of the term, of this State, of registers that it may write", async () => {
  const s = await copied();
  const view = await (await watched(s, 2)).on(s.day(2));
  const agent = whoHas(view, agentOf(s));
  const shard = { state: `${s.home.state}`, register: registerOf(s), epoch: EPOCH };
  const put = (requester: Requester, changes: Partial<typeof shard> = {}, of = view): void =>
    mayPutShard(of, requester, { ...shard, ...changes }, s.day(2));
  put(agent);
  put(agent, { epoch: 2 * EPOCH - 1 });
  refused(() => put(agent, { epoch: 2 * EPOCH }), /of a term that has not begun/);
  refused(
    () => mayPutShard(view, agent, { ...shard, state: "ab".repeat(32) }, s.day(2)),
    /another State's/,
  );
  refused(() => put(agent, { register: "ab".repeat(16) }), /has a register/);
  refused(() => put(whoHas(view, s.recovery.signing)), /from agents alone/);
  const known = [...view.known.agents].map(
    ([id, one]) => [id, { ...one, registers: ["cd".repeat(16)] }] as const,
  );
  const narrow = { ...view, known: { ...view.known, agents: new Map(known) } };
  refused(() => put(agent, {}, narrow), /may not write the register/);
});

test("an old agent writes no more after a succession, and the new one does", async () => {
  const s = await copied();
  const old = agentOf(s);
  const site = await watched(s, 100);
  const { home } = await s.recover(100);
  await s.protect(100, home);
  const view = await site.on(s.day(100));
  const grant = grantOf(s);
  const before = whoHas(view, old);
  const shard = { state: s.home.state, register: registerOf(s), epoch: EPOCH };
  for (const kind of OBJECT_KINDS.filter((one) => one !== "site")) {
    refused(
      () => mayPut(view, grant, before, object(kind), s.day(100)),
      /wrote in term 1, and it is term 2: another one writes now/,
    );
  }
  refused(() => mayPutShard(view, before, shard, s.day(100)), /wrote in term 1/);
  // Nor is it an auditor: whoever wrote once has many such keys.
  for (let index = 0; index < 4; index++) {
    const one = asked(shardOf(s, EPOCH, { index }));
    refused(() => mayRead(view, grant, before, one, s.day(100)), /may not write any more/);
    const open = asked(shardOf(s, 2 * EPOCH, { index }));
    refused(() => mayRead(view, grant, before, open, s.day(100)), /given to the agent that writes/);
  }
  const after = whoHas(view, home.agent);
  assert.equal(mayPut(view, grant, after, object("shard"), s.day(100)), "take");
  mayPutShard(view, after, shard, s.day(100));
});

test("an agent that is suspect writes nothing and reads no shards", async () => {
  const s = await copied();
  const agent = agentOf(s);
  const { signing = "" } = s.home.charter.agents[0] ?? {};
  await closeEpoch(s, 3);
  const site = await watched(s, 4);
  const before = await site.on(s.day(4));
  assert.equal(before.openEpochs.get(registerOf(s)), EPOCH + 1);
  const revoke: Order = { kind: "revoke-agent", signing, suspectFrom: momentOf(s.day(2)) };
  await s.decide(revoke, 4);
  await s.enact(4);
  await s.publish();
  const view = await site.on(s.day(4));
  assert.equal(
    view.openEpochs.get(registerOf(s)),
    EPOCH,
    "what it began since then counts no more",
  );
  const requester = whoHas(view, agent);
  const grant = grantOf(s);
  const why = /the right to write was taken/;
  refused(() => mayPut(view, grant, requester, object("shard"), s.day(4)), why);
  refused(() => mayPut(view, grant, requester, object("ledger"), s.day(4)), why);
  // Nor by setting the site's clock back.
  refused(() => mayPut(view, grant, requester, object("shard"), s.day(1)), why);
  refused(
    () => mayRead(view, grant, requester, asked(shardOf(s, EPOCH)), s.day(4)),
    /given to the agent that writes/,
  );
});

test("with a view that is old a site sets aside what comes, releases nothing and removes nothing", async () => {
  const s = await copied();
  await closeEpoch(s, 3);
  const id = await s.decide(release(s), 4);
  await s.enact(6);
  await s.publish();
  const site = await watched(s, 4);
  await site.on(s.day(6));
  const view = await site.on(s.day(7));
  const grant = grantOf(s, 3 * DAY_SECONDS);
  const agent = whoHas(view, agentOf(s));
  const recovery = whoHas(view, s.recovery.signing);
  const put = (kind: (typeof OBJECT_KINDS)[number], days: number): string =>
    mayPut(view, grant, agent, object(kind), s.day(days));
  for (const kind of ["shard", "manifest", "statement", "wrap", "annex"] as const) {
    assert.equal(put(kind, 9), "take");
    assert.equal(put(kind, 9.01), "quarantine");
  }
  // What ends that is taken: else the site would never know again.
  for (const kind of ["ledger", "checkpoint", "charter", "decision", "veto", "opening"] as const) {
    assert.equal(put(kind, 9.01), "take");
  }
  assert.equal(ripeHere(view, grant, id, s.day(9)), true);
  assert.equal(ripeHere(view, grant, id, s.day(9.01)), false);
  const closed = shardOf(s, EPOCH, { k: 1 });
  mayRead(view, grant, recovery, asked(closed), s.day(9));
  refused(
    () => mayRead(view, grant, recovery, asked(closed), s.day(9.01)),
    /no release of it is ripe/,
  );
  // What was set aside is for the recovery key, and for the agent when it is known again who that is.
  const open = shardOf(s, EPOCH + 1);
  mayRead(view, grant, recovery, asked(open, true), s.day(9.01));
  refused(() => mayRead(view, grant, agent, asked(open, true), s.day(9.01)), /set aside/);
  mayRead(view, grant, agent, asked(open, true), s.day(9));
  for (const requester of [whoHas(view, keyOf("pm")), ANYBODY]) {
    const aside = { ...object("manifest"), quarantined: true };
    refused(() => mayRead(view, grant, requester, aside, s.day(9)), /set aside/);
  }
});

test("open epochs are for the agent and the recovery key, closed ones for auditors, in part", async () => {
  const s = await copied();
  await closeEpoch(s, 3);
  const view = await (await watched(s, 4)).on(s.day(4));
  const grant = grantOf(s);
  assert.equal(view.openEpochs.get(registerOf(s)), EPOCH + 1);
  const give = (requester: Requester, shard: ShardOf): void =>
    mayRead(view, grant, requester, asked(shard), s.day(4));
  const agent = whoHas(view, agentOf(s));
  const recovery = whoHas(view, s.recovery.signing);
  const seat = whoHas(view, keyOf("pm"));
  for (const epoch of [EPOCH + 1, EPOCH + 2]) {
    for (const requester of [agent, recovery]) give(requester, shardOf(s, epoch));
    for (let index = 0; index < 4; index++) {
      refused(() => give(seat, shardOf(s, epoch, { index })), /is open/);
    }
  }
  for (const requester of [agent, recovery, seat]) {
    assert.ok(requester.kind !== "anybody");
    const shown = auditedIndices(requester.keyId, shardOf(s, EPOCH, { k: 3 }));
    for (let index = 0; index < 4; index++) {
      const shard = shardOf(s, EPOCH, { k: 3, index });
      if (shown.includes(index)) give(requester, shard);
      else refused(() => give(requester, shard), /closed.* is shown other shards/);
    }
    refused(() => give(requester, shardOf(s, EPOCH, { k: 1 })), /is closed/);
  }
  refused(() => give(ANYBODY, shardOf(s, EPOCH)), /whom the charter names/);
  for (const kind of OBJECT_KINDS) {
    if (kind === "shard") continue;
    const one = { ...object(kind), quarantined: false };
    const read = (requester: Requester): void => mayRead(view, grant, requester, one, s.day(4));
    if (kind === "site") refused(() => read(agent), /nobody/);
    else read(seat);
    if (GOVERNANCE_KINDS.includes(kind)) read(ANYBODY);
    else refused(() => read(ANYBODY), /./);
  }
});

test("an auditor is shown k − 1 of n, the same at every site, and every shard is shown to somebody", () => {
  const keys = Array.from({ length: 200 }, () => toHex(randomBytes(32)));
  for (const [k, n] of [
    [1, 1],
    [1, 5],
    [2, 3],
    [3, 5],
    [5, 5],
    [20, 32],
  ] as const) {
    const id = toHex(randomBytes(32));
    const shown = new Set<number>();
    for (const key of keys) {
      const indices = auditedIndices(key, { id, k, n });
      assert.equal(new Set(indices).size, k - 1, "never k of one dispersal");
      assert.ok(indices.every((index) => index >= 0 && index < n));
      assert.deepEqual(auditedIndices(key, { id, k, n }), indices);
      for (const index of indices) shown.add(index);
    }
    assert.equal(shown.size, k === 1 ? 0 : n, `of ${k} of ${n}`);
  }
  // Fixed, so that two programs agree: worked out by hand from the text of the protocol.
  const [key, id] = ["11".repeat(32), "22".repeat(32)];
  assert.deepEqual(auditedIndices(key, { id, k: 4, n: 5 }), WORKED_OUT);
});

/** SHA-256 over "exclave/v1 audit", a zero byte, 32 bytes 0x11, 32 bytes 0x22 and the index, sorted. */
const WORKED_OUT: readonly number[] = [2, 4, 1];

test("a release is ripe here when this site has known of it for its whole delay, not before", async () => {
  const s = await copied();
  await closeEpoch(s, 3);
  const site = await watched(s, 4);
  await site.on(s.day(4));
  const id = await s.decide(release(s), 5);
  await s.enact(7);
  await s.publish();
  // By the ledger it took effect on day 7; this site first hears of it on day 10.
  const grant = grantOf(s);
  const first = await site.on(s.day(10));
  assert.ok(first.known.history.enacted.has(id));
  assert.equal(ripeHere(first, grant, id, s.day(11.9)), false);
  assert.equal(ripeHere(first, grant, id, s.day(12)), true);
  assert.equal(ripeHere(first, grant, "ab".repeat(32), s.day(20)), false);
  const view = await site.on(s.day(12));
  const closed = shardOf(s, EPOCH, { k: 1 });
  for (const key of [s.recovery.signing, agentOf(s)]) {
    mayRead(view, grant, whoHas(view, key), asked(closed), s.day(12));
  }
  const seat = whoHas(view, keyOf("pm"));
  refused(() => mayRead(view, grant, seat, asked(closed), s.day(12)), /is closed/);
  // It is of that epoch, and no other.
  const agent = whoHas(view, agentOf(s));
  const other = shardOf(s, EPOCH - 1, { k: 1 });
  refused(() => mayRead(view, grant, agent, asked(other), s.day(12)), /no release of it is ripe/);
});

test("a release to the reader key opens the epoch to that key when it is ripe, and to no other", async () => {
  const s = await copied();
  const reader = readerKeyFromSeed(new Uint8Array(32).fill(78));
  await s.decide({ kind: "amend", reader: publicPartOf(reader) }, 1);
  await s.enact(20);
  await closeEpoch(s, 21);
  const site = await watched(s, 22);
  const before = await site.on(s.day(22));
  const grant = grantOf(s);
  const closed = asked(shardOf(s, EPOCH, { k: 1 }));
  const open = asked(shardOf(s, EPOCH + 1, { k: 1 }));
  const reads = (view: SiteView, days: number, what = closed) =>
    mayRead(view, grant, whoHas(view, reader.signing), what, s.day(days));
  refused(() => reads(before, 22), /no release of it is ripe/);
  refused(() => reads(before, 22, open), /is open/);
  assert.throws(() =>
    mayPut(before, grant, whoHas(before, reader.signing), object("shard"), s.day(22)),
  );
  await s.decide({ ...release(s), to: "reader" } as Order, 23);
  await s.enact(25);
  await s.publish();
  const first = await site.on(s.day(26));
  refused(() => reads(first, 27.9), /no release of it is ripe/);
  const view = await site.on(s.day(28));
  reads(view, 28);
  refused(() => reads(view, 28, open), /is open/);
  for (const key of [s.recovery.signing, agentOf(s)]) {
    const other = whoHas(view, key);
    refused(() => mayRead(view, grant, other, closed, s.day(28)), /no release of it is ripe/);
  }
});

test("a clock that is set back neither shortens a delay nor makes an old view new", async () => {
  const s = await copied();
  await closeEpoch(s, 3);
  const place = folder();
  const objects = await objectsAt(s.site("bb"));
  const site = await watch(place, { state: s.home.state, objects, now: s.day(20) });
  await site.on(s.day(20));
  const id = await s.decide(release(s), 5);
  await s.enact(7);
  await s.publish();
  // Set back by two weeks when the decision comes, and then right again: it was seen on day 20.
  await site.on(s.day(6));
  assert.deepEqual(
    site.notices.map(({ code }) => code),
    ["clock"],
  );
  const again = await site.again(s.day(6));
  const view = await again.on(s.day(20));
  const grant = grantOf(s);
  assert.equal(ripeHere(view, grant, id, s.day(21.9)), false);
  assert.equal(ripeHere(view, grant, id, s.day(22)), true);
  const old = grantOf(s, 2 * DAY_SECONDS);
  assert.equal(
    mayPut(view, old, whoHas(view, agentOf(s)), object("shard"), s.day(7)),
    "quarantine",
  );
});

test("a veto that home keeps out of the ledger stops a release at the site that it was brought to", async () => {
  const s = await copied();
  await closeEpoch(s, 3);
  const site = await watched(s, 4);
  const id = await s.decide(release(s), 5);
  await s.publish();
  await site.on(s.day(5));
  assert.equal(site.view.deliver("veto", vetoOf(s, id, keyOf("opposition"), 5)), true);
  await s.enact(7);
  await s.publish();
  const view = await site.on(s.day(8));
  assert.ok(view.known.history.enacted.has(id), "the ledger lets it take effect");
  const grant = grantOf(s);
  assert.equal(ripeHere(view, grant, id, s.day(300)), false);
  assert.match(view.orders[0]?.stopped ?? "", /opposition vetoed it/);
  const closed = shardOf(s, EPOCH, { k: 1 });
  const recovery = whoHas(view, s.recovery.signing);
  refused(
    () => mayRead(view, grant, recovery, asked(closed), s.day(30)),
    /no release of it is ripe/,
  );
  // And the witness there helps nobody to believe that ledger.
  const may = site.view.mayCosign(view.origin, view.size);
  assert.ok(may !== "yes");
  assert.match(may.no, /although opposition vetoed it in time/);
  // After a crash too.
  const again = await site.again(s.day(9));
  assert.notEqual(again.view.mayCosign(view.origin, view.size), "yes");
  assert.ok(again.view.current);
  assert.equal(ripeHere(again.view.current, grant, id, s.day(300)), false);
  // A site to which nobody brought it releases: it was asked for nothing else.
  const other = await watched(s, 4);
  await other.on(s.day(5));
  assert.equal(ripeHere(await other.on(s.day(8)), grant, id, s.day(8)), true);
});

test("a veto that comes too late stops nothing here, and the ledger is cosigned", async () => {
  const s = await copied();
  await closeEpoch(s, 3);
  const site = await watched(s, 4);
  const id = await s.decide(release(s), 5);
  await s.publish();
  await site.on(s.day(5));
  await s.enact(7);
  await s.publish();
  await site.on(s.day(7.5));
  site.view.deliver("veto", vetoOf(s, id, keyOf("opposition"), 7));
  const view = await site.on(s.day(8));
  assert.equal(ripeHere(view, grantOf(s), id, s.day(8)), true);
  assert.equal(site.view.mayCosign(view.origin, view.size), "yes");
});

test("a veto on the last day stops a release here, and is not held against the ledger", async () => {
  const s = await copied();
  await closeEpoch(s, 3);
  const site = await watched(s, 4);
  const id = await s.decide(release(s), 5);
  await s.publish();
  await site.on(s.day(5));
  await site.on(s.day(6.99));
  site.view.deliver("veto", vetoOf(s, id, keyOf("opposition"), 6));
  await s.enact(7);
  await s.publish();
  const view = await site.on(s.day(8));
  assert.equal(ripeHere(view, grantOf(s), id, s.day(30)), false);
  assert.equal(site.view.mayCosign(view.origin, view.size), "yes");
});

test("one seat that is left stops what the recovery key alone would release, at the site", async () => {
  const s = await copied();
  await closeEpoch(s, 3);
  const site = await watched(s, 4);
  const alone = s.sign(await s.draft(release(s), 5), [s.recovery.signing]);
  const { id, standing } = await submit(s.home, [alone], s.day(5));
  assert.equal(standing.status, "waiting");
  await s.publish();
  await site.on(s.day(5));
  const other = await watched(s, 4);
  await other.on(s.day(5));
  site.view.deliver("veto", vetoOf(s, id, keyOf("abroad"), 5));
  await s.enact(6);
  await s.publish();
  const grant = grantOf(s);
  assert.equal(ripeHere(await site.on(s.day(7)), grant, id, s.day(300)), false);
  // One day by the charter, where nobody objects.
  const view = await other.on(s.day(6));
  assert.equal(
    ripeHere(view, grant, id, s.day(5.9)),
    true,
    "set back, and so not earlier than seen",
  );
  assert.equal(view.orders[0]?.from?.getTime(), s.day(6).getTime());
});

test("a freeze that was brought here puts a release off, and is held against a ledger without it", async () => {
  const s = await copied();
  await closeEpoch(s, 3);
  const site = await watched(s, 4);
  const id = await s.decide(release(s), 5);
  await s.publish();
  await site.on(s.day(5));
  // One seat is too few.
  site.view.deliver("freeze", freezeBy(s, ["interior"], 5, 9));
  site.view.deliver("freeze", freezeBy(s, ["pm", "justice"], 5, 12));
  await s.enact(7);
  await s.publish();
  const view = await site.on(s.day(8));
  const grant = grantOf(s);
  assert.equal(ripeHere(view, grant, id, s.day(11.9)), false);
  assert.equal(ripeHere(view, grant, id, s.day(12)), true);
  const may = site.view.mayCosign(view.origin, view.size);
  assert.ok(may !== "yes");
  assert.match(may.no, /decisions were frozen then/);
});

test("a freeze that the ledger has too is no reason against it", async () => {
  const s = await copied();
  await closeEpoch(s, 3);
  const site = await watched(s, 4);
  const id = await s.decide(release(s), 5);
  await frozen(s, ["pm", "justice"], 6);
  await s.publish();
  await site.on(s.day(6));
  for (const { opened } of s.home.known.history.freezes) {
    site.view.deliver("freeze", opened.envelope);
  }
  assert.equal(await s.enact(10), 0);
  assert.equal(await s.enact(20), 1);
  await s.publish();
  const view = await site.on(s.day(20));
  assert.equal(ripeHere(view, grantOf(s), id, s.day(20)), true);
  assert.equal(site.view.mayCosign(view.origin, view.size), "yes");
});

test("a destruction is carried out when both its decisions are ripe here, and by nothing less", async () => {
  const s = await copied();
  await closeEpoch(s, 3);
  const site = await watched(s, 4);
  await site.on(s.day(4));
  const grant = grantOf(s);
  const id = await destroyed(s, 5, 36);
  await s.publish();
  const announced = await site.on(s.day(50));
  assert.deepEqual(
    removable(announced, grant, s.day(300)),
    [],
    "it was announced, and not carried out",
  );
  await s.enact(66);
  await s.publish();
  const view = await site.on(s.day(70));
  assert.ok(view.known.history.enacted.has(id));
  assert.deepEqual(removable(view, grant, s.day(79.9)), [], "seen on day 50, it waits to day 80");
  const removed = { register: registerOf(s), epochs: [EPOCH], decision: id };
  assert.deepEqual(removable(view, grant, s.day(80)), [removed]);
  // Not by an old view, nor when the charter is due for review.
  assert.deepEqual(removable(view, grantOf(s, 2 * DAY_SECONDS), s.day(80)), []);
  assert.deepEqual(removable(view, grant, new Date(s.home.charter.review)), []);
  // What was destroyed does not come back.
  const shard = { state: s.home.state, register: registerOf(s), epoch: EPOCH };
  const agent = whoHas(view, agentOf(s));
  mayPutShard(view, agent, shard, s.day(79));
  refused(() => mayPutShard(view, agent, shard, s.day(80)), /was destroyed by decision/);
});

test("a censored veto of either step stops a destruction here, although the ledger enacts it", async () => {
  for (const step of ["announced", "carried out"] as const) {
    const s = await copied();
    await closeEpoch(s, 3);
    const site = await watched(s, 4);
    const grant = grantOf(s);
    const id = await destroyed(s, 5, 36);
    await s.publish();
    const enacted = [...s.home.known.history.enacted].findLast(
      ([, { decision }]) => decision.order.kind === "destroy",
    );
    // The one of the first step comes before the site has followed that it took effect.
    await site.on(step === "announced" ? s.day(6) : s.day(37));
    const against = step === "announced" ? (enacted?.[0] ?? "") : id;
    site.view.deliver("veto", vetoOf(s, against, keyOf("abroad"), 37));
    await s.enact(66);
    await s.publish();
    const view = await site.on(s.day(70));
    assert.ok(view.known.history.enacted.has(id), "the ledger lets it take effect");
    assert.deepEqual(removable(view, grant, s.day(200)), [], step);
    assert.notEqual(site.view.mayCosign(view.origin, view.size), "yes", step);
  }
});

test("seats that were replaced meanwhile may have objected in time", async () => {
  const s = await copied();
  await closeEpoch(s, 3);
  const site = await watched(s, 4);
  const id = await s.decide(release(s), 5);
  await s.publish();
  await site.on(s.day(5));
  site.view.deliver("veto", vetoOf(s, id, keyOf("opposition"), 5));
  await s.enact(7);
  const order = replacing(s, "opposition");
  const names = [...HOME_AND_ABROAD, "successor"];
  await submit(s.home, [s.sign(await s.draft(order, 8), names)], s.day(8));
  assert.equal(await s.enact(15), 1);
  await s.publish();
  const view = await site.on(s.day(16));
  assert.equal(view.known.charterId, s.home.known.charterId);
  assert.equal(ripeHere(view, grantOf(s), id, s.day(300)), false);
});

test("a witness cosigns no checkpoint that it has not followed, nor one that would let a censored decision count", async () => {
  const s = await (await witnessedState()).copy(folder());
  const place = folder();
  const site = await watch(folder(), {
    state: s.home.state,
    objects: await emptyObjects(place),
    now: s.day(1),
  });
  const { origin } = s.home.charter.ledger;
  assert.notEqual(site.view.mayCosign(origin, 1), "yes");
  await s.witnessed(1, 1);
  await bringAll(s.home, place);
  const { size } = await site.on(s.day(1));
  assert.equal(site.view.mayCosign(origin, size), "yes");
  assert.match(JSON.stringify(site.view.mayCosign(origin, size + 1)), /and not .* yet/);
  assert.notEqual(site.view.mayCosign("exclave.example/other", size), "yes");
  const id = await s.decide(retain, 2);
  await s.witnessed(2, 2);
  await bringAll(s.home, place);
  await site.on(s.day(2));
  for (const name of ["pm", "abroad"]) site.view.deliver("veto", vetoOf(s, id, keyOf(name), 3));
  // Home enters the charter early, and asks again when the week is over.
  await s.enact(9);
  const entered = await s.home.withLedger((log) => log.size);
  await bringAll(s.home, place);
  const early = await site.on(s.day(8));
  assert.equal(early.size, entered);
  assert.equal(early.known.history.enacted.size, 0, "nobody has cosigned it yet");
  assert.equal(site.view.mayCosign(origin, entered), "yes", "on this day nothing follows from it");
  await site.on(s.day(9.5));
  const late = site.view.mayCosign(origin, entered);
  assert.ok(late !== "yes");
  assert.match(late.no, /although abroad and pm vetoed it in time/);
});

test("with the vetoes in the ledger the same decision is void, and the witness cosigns", async () => {
  const s = await (await witnessedState()).copy(folder());
  const place = folder();
  const objects = await emptyObjects(place);
  const site = await watch(folder(), { state: s.home.state, objects, now: s.day(1) });
  const id = await s.decide(retain, 2);
  await s.witnessed(2, 2);
  await bringAll(s.home, place);
  await site.on(s.day(2));
  for (const name of ["pm", "abroad"]) site.view.deliver("veto", vetoOf(s, id, keyOf(name), 3));
  await vetoed(s, id, ["pm", "abroad"], 4);
  await s.witnessed(4, 4);
  assert.equal(await s.enact(10), 0);
  await bringAll(s.home, place);
  const view = await site.on(s.day(10));
  assert.equal(site.view.mayCosign(view.origin, view.size), "yes");
});
