/** What a site learns of a State from its own objects alone, and what it is not made to believe. */
import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import {
  admit,
  folder,
  other,
  plainState,
  retain,
  veto,
  witnessedState,
} from "../../test/support/attacks.ts";
import { keyOf } from "../../test/support/charter.ts";
import type { Embassy } from "../../test/support/embassy.ts";
import {
  bring,
  bringAll,
  emptyObjects,
  headsOf,
  objectsAt,
  overwrite,
  type Watcher,
  watch,
} from "../../test/support/followed.ts";
import { signPaper } from "../charter/decision.ts";
import { toHex } from "../crypto/bytes.ts";
import { envelopeId } from "../crypto/dsse.ts";
import { parseStrictJson } from "../crypto/strict-json.ts";
import { isExclaveError } from "../errors.ts";
import { fileName } from "../ledger/at-sites.ts";
import { recoveryKeyFromSeed } from "../vault/recovery-key.ts";
import type { SiteView } from "./view.ts";

const LATE = 400;

const copied = async (): Promise<Embassy> => (await plainState()).copy(folder());

/** The site bb of a State, which follows it. */
async function watched(s: Embassy, days = LATE): Promise<Watcher> {
  return watch(folder(), {
    state: s.home.state,
    objects: await objectsAt(s.site("bb")),
    now: s.day(days),
  });
}

/** What two views of one State must agree on. */
const gist = ({ known, size, origin, openEpochs, orders }: SiteView) => ({
  charter: known.charterId,
  quarantined: known.history.quarantined,
  vetoes: known.history.vetoes.map(({ at, opened }) => [at, opened.id]),
  decisions: known.history.decisions.map(({ at, opened }) => [at, opened.id]),
  enacted: [...known.history.enacted].map(([id, { at }]) => [id, at]),
  size,
  origin,
  openEpochs: [...openEpochs],
  orders: orders.map(({ id }) => id),
});

const said = ({ notices }: Watcher): string =>
  notices.map(({ code, message }) => `${code}: ${message}`).join("\n");

test("a site follows the ledger in its own objects, from nothing to the newest", async () => {
  const s = await copied();
  const site = await watched(s);
  assert.equal(site.view.current, undefined);
  const view = await site.on(s.day(LATE));
  assert.equal(view.known.charterId, s.home.known.charterId);
  assert.equal(view.size, await s.home.withLedger((log) => log.size));
  assert.deepEqual([...view.openEpochs.values()], [65_536]);
  assert.ok(view.followedAt <= s.day(2), "it is as old as the newest checkpoint");
  await s.decide(admit, 3);
  await s.enact(3);
  await s.publish();
  const next = await site.on(s.day(LATE));
  assert.equal(next.known.charterId, s.home.known.charterId);
  assert.notEqual(next.known.charterId, view.known.charterId);
  assert.ok((await site.view.follow()) === next, "nothing is new, and nothing is read again");
  assert.deepEqual(site.notices, []);
});

test("to follow one checkpoint at a time comes to the same as all at once", async () => {
  const s = await copied();
  const waiting = await s.decide(retain, 3);
  await s.decide(admit, 4);
  await s.force("veto", veto(s, waiting, keyOf("pm"), 5), 5);
  await s.force("veto", veto(s, waiting, keyOf("abroad"), 6), 6);
  await s.enact(12);
  await s.protect(13);
  const [slow, quick] = [folder(), folder()];
  const steps = await watch(folder(), {
    state: s.home.state,
    objects: await emptyObjects(slow),
    now: s.day(LATE),
  });
  for (const [name, bytes] of s.objects("bb", "statement")) {
    for (const place of [slow, quick]) overwrite(place, `statement/${name}`, bytes);
  }
  let from = 0;
  for (const signed of await s.home.withLedger(headsOf)) {
    await bring(s.home, slow, from, signed);
    from = signed.head.size;
    const view = await steps.on(s.day(LATE));
    assert.equal(view.size, from);
  }
  const once = await watch(folder(), {
    state: s.home.state,
    objects: await emptyObjects(quick),
    now: s.day(LATE),
  });
  await bringAll(s.home, quick);
  const all = await once.on(s.day(LATE));
  assert.deepEqual(gist(await steps.on(s.day(LATE))), gist(all));
  assert.equal(all.known.charterId, s.home.known.charterId);
  assert.equal(all.known.history.vetoes.length, 2);
  // And what was followed is there again after a crash, before anything is read.
  const again = await steps.again(s.day(LATE));
  assert.ok(again.view.current);
  assert.deepEqual(gist(again.view.current), gist(all));
  assert.deepEqual([...steps.notices, ...again.notices], []);
});

test("what was followed is read anew when it is damaged, and first sights stay", async () => {
  const s = await copied();
  const first = await (await watched(s)).on(s.day(LATE));
  // A folder of its own, so that it can be damaged.
  const place = folder();
  const two = await watch(place, {
    state: s.home.state,
    objects: await objectsAt(s.site("bb")),
    now: s.day(LATE),
  });
  await two.on(s.day(LATE));
  await two.view.close();
  writeFileSync(join(place, "view", "ledger", "1.sqlite"), "no database");
  const three = await two.again(s.day(LATE + 10));
  assert.equal(three.view.current, undefined);
  assert.match(said(three), /damaged, and is read anew/);
  const view = await three.on(s.day(LATE + 10));
  assert.deepEqual(gist(view), gist(first));
  assert.ok(
    view.followedAt <= s.day(LATE),
    "it was seen then, and is no newer for being read again",
  );
});

test("a site follows a succession to the next ledger, and cosigns the old one no more", async () => {
  const s = await copied();
  const site = await watched(s);
  const before = await site.on(s.day(LATE));
  assert.equal(site.view.mayCosign(before.origin, before.size), "yes");
  const { home } = await s.recover(LATE);
  const after = await site.on(s.day(LATE));
  assert.equal(after.known.charterId, home.known.charterId);
  assert.equal(after.known.charter.term, before.known.charter.term + 1);
  assert.notEqual(after.origin, before.origin);
  assert.deepEqual([...site.view.logs().keys()], [after.origin]);
  assert.deepEqual(site.view.mayCosign(before.origin, before.size), {
    no: "this site does not follow that ledger, or it was closed",
  });
  // What the old home writes on counts for nothing.
  await s.decide(admit, LATE);
  await s.enact(LATE);
  await bringAll(s.home, s.site("bb"));
  assert.deepEqual(gist(await site.on(s.day(LATE))), gist(after));
  // And the new one is followed on.
  await s.protect(LATE + 1, home);
  const next = await site.on(s.day(LATE + 1));
  assert.ok(next.size > after.size);
  assert.deepEqual([...next.openEpochs.values()], [2 * 65_536]);
  const again = await site.again(s.day(LATE + 1));
  assert.ok(again.view.current);
  assert.deepEqual(gist(again.view.current), gist(next));
});

test("a site that comes late follows two successions, one after the other", async () => {
  const s = await copied();
  const site = await watched(s);
  await site.on(s.day(LATE));
  await s.recover(LATE);
  const { home } = await s.recover(LATE + 1, { as: "third" });
  const view = await site.on(s.day(LATE + 1));
  assert.equal(view.known.charterId, home.known.charterId);
  assert.equal(view.known.charter.term, 3);
});

test("a succession by another key, or of a ledger that is not here, changes nothing", async () => {
  const s = await copied();
  const site = await watched(s);
  const before = await site.on(s.day(LATE));
  const next = await s.copy(folder());
  await next.recover(LATE);
  const [[name, envelope] = ["", new Uint8Array()]] = next.objects("bb", "succession");
  overwrite(s.site("bb"), `succession/${name}`, envelope);
  const { payload } = parseStrictJson(envelope) as { readonly payload: string };
  const paper = JSON.parse(Buffer.from(payload, "base64").toString("utf8"));
  const forged = signPaper(paper, recoveryKeyFromSeed(randomBytes(32)).signing);
  overwrite(s.site("bb"), `succession/${envelopeId(forged)}`, forged);
  assert.ok((await site.on(s.day(LATE))) === before);
  // The first one's ledger comes after it.
  for (const kind of ["charter", "opening", "ledger", "checkpoint"]) {
    for (const [object, bytes] of next.objects("bb", kind)) {
      overwrite(s.site("bb"), `${kind}/${object}`, bytes);
    }
  }
  assert.equal((await site.on(s.day(LATE))).known.charter.term, 2);
});

test("of a fork the branch that was followed first stays, and the other is an alarm", async () => {
  const s = await copied();
  const fork = await s.copy(folder());
  const site = await watched(s);
  await s.decide(admit, 3);
  await s.enact(3);
  await s.publish();
  const before = await site.on(s.day(LATE));
  for (const days of [3, 4]) {
    await fork.decide(days === 3 ? other : retain, days);
    await fork.enact(days);
  }
  const heads = await fork.home.withLedger(headsOf);
  const larger = heads.filter(({ head }) => head.size > before.size);
  const same = heads.filter(({ head }) => head.size === before.size);
  assert.ok(larger.length > 0 && same.length > 0);
  for (const signed of [...larger, ...same]) {
    await bring(fork.home, s.site("bb"), before.size - 1, signed);
  }
  const after = await site.on(s.day(LATE));
  assert.deepEqual(gist(after), gist(before));
  assert.match(said(site), /^fork: the ledger has forked: this site followed/m);
  const forks = site.notices.length;
  // It is followed on where it goes on, though the other is longer.
  await s.decide(other, 5);
  await s.enact(5);
  await s.decide(retain, 6);
  await bringAll(s.home, s.site("bb"));
  const on = await site.on(s.day(LATE));
  assert.equal(on.size, await s.home.withLedger((log) => log.size));
  assert.equal(on.known.charterId, s.home.known.charterId);
  assert.equal(site.notices.length, forks, "the same is not said again");
  // Nobody who comes now can know which of the two is right.
  const late = await watched(s);
  assert.equal(await late.view.follow(), undefined);
  assert.match(said(late), /forked/);
});

test("the branch that was followed first stays also when its copy is lost", async () => {
  const s = await copied();
  const fork = await s.copy(folder());
  await s.decide(admit, 3);
  await s.publish();
  const place = folder();
  const site = await watch(place, {
    state: s.home.state,
    objects: await objectsAt(s.site("bb")),
    now: s.day(LATE),
  });
  await site.on(s.day(LATE));
  await site.view.close();
  rmSync(join(place, "view"), { recursive: true });
  await fork.decide(other, 3);
  await fork.decide(retain, 4);
  await fork.publish();
  const moved = await watch(place, {
    state: s.home.state,
    objects: await objectsAt(fork.site("bb")),
    now: s.day(LATE),
  });
  assert.equal(await moved.view.follow(), undefined);
  assert.match(said(moved), /^fork: the ledger has forked: this site followed/m);
});

test("a document that the ledger names and the site has not is waited for, and named", async () => {
  const s = await copied();
  const site = await watched(s);
  const before = await site.on(s.day(LATE));
  await s.decide(admit, 3);
  const id = await s.decide(retain, 4);
  const vetoed = await s.force("veto", veto(s, id, keyOf("pm"), 5), 5);
  await s.publish();
  s.hide("veto", undefined, ["bb"]);
  const waits = await site.on(s.day(LATE));
  assert.ok(waits.size < (await s.home.withLedger((log) => log.size)), "not beyond what is hidden");
  assert.ok(waits.size > before.size, "and to the last checkpoint that has all it names");
  assert.equal(waits.known.history.vetoes.length, 0);
  assert.match(
    said(site),
    new RegExp(`^waits: .*veto ${vetoed}, which it names, is not here`, "m"),
  );
  await site.view.follow();
  assert.equal(site.notices.length, 1, "the same is not said again");
  await s.publish();
  overwrite(s.site("bb"), `veto/${vetoed}`, s.home.document("veto", vetoed));
  const after = await site.on(s.day(LATE));
  assert.equal(after.known.history.vetoes.length, 1);
  assert.equal(after.size, await s.home.withLedger((log) => log.size));
});

test("a founding charter or a ledger that is not there yet is no view, and no error", async () => {
  const s = await copied();
  const place = folder();
  const site = await watch(folder(), {
    state: s.home.state,
    objects: await emptyObjects(place),
    now: s.day(LATE),
  });
  assert.equal(await site.view.follow(), undefined);
  assert.deepEqual(site.notices, []);
  overwrite(place, `charter/${s.home.state}`, s.home.document("charter", s.home.state));
  assert.equal(await site.view.follow(), undefined);
  assert.throws(
    () => site.view.deliver("veto", veto(s, "aa".repeat(32), keyOf("pm"), 1)),
    (error) => isExclaveError(error, "refused"),
  );
  assert.deepEqual(site.view.expectedLedgerFile("ledger/00000000.tile.0.000.p.1"), "not-covered");
  await bringAll(s.home, place);
  assert.equal((await site.on(s.day(LATE))).known.charterId, s.home.known.charterId);
});

test("junk under the names of the ledger, of papers and of successions stops nothing", async () => {
  const s = await copied();
  const site = await watched(s);
  const { size, origin } = await site.on(s.day(LATE));
  const prefix = fileName(origin, "").slice("ledger/".length);
  const junk = Uint8Array.from(randomBytes(300));
  const plant = (name: string): void => overwrite(s.site("bb"), name, junk);
  for (let i = 0; i < 200; i++) {
    plant(`checkpoint/${prefix}${size + 1 + i}.${toHex(randomBytes(8))}`);
    plant(`checkpoint/${prefix}9007199254740${100 + i}.${toHex(randomBytes(8))}`);
  }
  plant("checkpoint/00.x");
  plant(`ledger/${prefix}tile.0.999.p.3`);
  plant(`ledger/${prefix}nothing`);
  for (const kind of ["succession", "veto", "decision", "statement", "charter"]) {
    plant(`${kind}/${toHex(randomBytes(32))}`);
    plant(`${kind}/00-not-a-hash`);
  }
  // A checkpoint of the ledger's under a name of another size.
  const [[, checkpoint] = ["", junk]] = s.objects("bb", "checkpoint");
  overwrite(s.site("bb"), `checkpoint/${prefix}${size + 5}.${toHex(randomBytes(8))}`, checkpoint);
  await s.decide(admit, 3);
  await s.enact(3);
  await bringAll(s.home, s.site("bb"));
  const view = await site.on(s.day(LATE));
  assert.equal(view.known.charterId, s.home.known.charterId);
});

test("a squatted file of the ledger gains nothing: it waits, and may be replaced until it is covered", async () => {
  const s = await copied();
  const site = await watched(s);
  const before = await site.on(s.day(LATE));
  for (const [name, bytes] of s.objects("bb", "ledger")) {
    assert.deepEqual(site.view.expectedLedgerFile(`ledger/${name}`), Uint8Array.from(bytes));
  }
  await s.decide(admit, 3);
  await s.publish();
  const next = new Map(
    [...s.objects("bb", "ledger")].filter(
      ([name]) => site.view.expectedLedgerFile(`ledger/${name}`) === "not-covered",
    ),
  );
  assert.ok(next.size > 1);
  for (const name of next.keys()) overwrite(s.site("bb"), `ledger/${name}`, randomBytes(99));
  assert.ok((await site.on(s.day(LATE))) === before);
  assert.match(said(site), /^waits: /m);
  await bringAll(s.home, s.site("bb"));
  const after = await site.on(s.day(LATE));
  assert.ok(after.size > before.size);
  for (const [name, bytes] of next) {
    assert.deepEqual(site.view.expectedLedgerFile(`ledger/${name}`), Uint8Array.from(bytes));
  }
  for (const name of ["x", "tile.0.0", "tile.9.x000.001", "tile.entries.000.p.256", "checkpoint"]) {
    const object = fileName(before.origin, name);
    assert.equal(site.view.expectedLedgerFile(object), "not-a-file", object);
  }
  assert.equal(site.view.expectedLedgerFile("veto/00"), "not-a-file");
});

test("what too few witnesses cosigned is not seen yet; its delay here begins when they have", async () => {
  const s = await (await witnessedState()).copy(folder());
  const place = folder();
  const site = await watch(folder(), {
    state: s.home.state,
    objects: await emptyObjects(place),
    now: s.day(1),
  });
  await s.witnessed(1, 1);
  await bringAll(s.home, place);
  assert.equal((await site.on(s.day(1))).known.history.decisions.length, 0);
  await s.decide(retain, 2);
  await s.witnessed(2);
  await bringAll(s.home, place);
  const one = await site.on(s.day(2));
  assert.equal(one.size, await s.home.withLedger((log) => log.size), "the entries are followed");
  assert.equal(one.known.history.decisions.length, 0, "one witness is too few");
  await s.witnessed(2, 3);
  await bringAll(s.home, place);
  const two = await site.on(s.day(5));
  assert.deepEqual(
    two.known.history.decisions.map(({ at }) => at),
    [s.day(3)],
  );
});

test("papers that are brought here are by seats in force, in room that no one of them can fill", async () => {
  const s = await copied();
  const site = await watched(s, 5);
  await site.on(s.day(5));
  const id = await s.decide(retain, 4);
  const paper = veto(s, id, keyOf("pm"), 5);
  assert.equal(site.view.deliver("veto", paper), true);
  assert.equal(site.view.current?.delivered[0]?.object, envelopeId(paper));
  // The same again, and in another envelope, is nothing new.
  assert.equal(site.view.deliver("veto", paper), false);
  const spaced = Buffer.from(
    JSON.stringify(JSON.parse(Buffer.from(paper).toString("utf8")), null, 1),
  );
  let isTaken = false;
  try {
    isTaken = site.view.deliver("veto", Uint8Array.from(spaced));
  } catch (error) {
    assert.ok(isExclaveError(error, "malformed"));
  }
  assert.equal(isTaken, false);
  for (const key of [keyOf("thief"), s.recovery.signing]) {
    assert.throws(
      () => site.view.deliver("veto", veto(s, id, key, 5)),
      (error) => isExclaveError(error, "untrusted"),
    );
  }
  assert.throws(
    () => site.view.deliver("freeze", paper),
    (error) => isExclaveError(error),
  );
  assert.throws(
    () => site.view.deliver("veto", randomBytes(50)),
    (error) => isExclaveError(error, "malformed"),
  );
  let kept = 0;
  assert.throws(
    () => {
      for (; kept <= 1000; kept++) site.view.deliver("veto", veto(s, id, keyOf("pm"), 5));
    },
    (error) => isExclaveError(error, "refused"),
  );
  assert.ok(kept > 50 && kept < 500, `${kept} papers of one seat`);
  assert.equal(
    site.view.deliver("veto", veto(s, id, keyOf("abroad"), 5)),
    true,
    "others have room",
  );
  const again = await site.again(s.day(6));
  assert.equal(again.view.current?.delivered.length, kept + 2);
});
