/** Two successions of one ledger, at a site that followed the first. */
import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { cpSync } from "node:fs";
import { test } from "node:test";
import { folder, plainState } from "../../test/support/attacks.ts";
import type { Embassy } from "../../test/support/embassy.ts";
import { objectsAt, type Watcher, watch } from "../../test/support/followed.ts";
import { splitSecret } from "../custody/share-set.ts";
import { draftDecision, enactRipe, submit } from "../governance/decide.ts";
import { publicPartOf } from "../governance/found.ts";
import type { Home } from "../vault/home.ts";
import { type RecoveryKey, recoveryKeyFromSeed } from "../vault/recovery-key.ts";

const copied = async (): Promise<Embassy> => (await plainState()).copy(folder());
const watched = async (s: Embassy): Promise<Watcher> =>
  watch(folder(), {
    state: s.home.state,
    objects: await objectsAt(s.site("bb")),
    now: s.day(100),
  });
const said = ({ notices }: Watcher): string => notices.map(({ message }) => message).join("\n");

/** What another home brought to its site bb comes to this State's too. */
const bringFrom = (other: Embassy, s: Embassy): void =>
  cpSync(other.site("bb"), s.site("bb"), { recursive: true, force: false });

/** The recovery key is replaced in the ledger that is open. */
async function otherRecovery(s: Embassy, home: Home, days: number): Promise<RecoveryKey> {
  const next = recoveryKeyFromSeed(randomBytes(32));
  const { publicPart } = splitSecret(next.seed, { k: 2, n: 3, generation: 2 }, randomBytes);
  const shares = { ...publicPart, shareCommitments: [...publicPart.shareCommitments] };
  const recovery = { ...home.charter.recovery, ...publicPartOf(next), shares };
  const grounds = { reason: "Shares were lost", citation: "Act 7 of 2026" };
  const decision = await draftDecision(home, { kind: "amend", recovery }, grounds, s.day(days));
  await submit(home, [s.sign(decision)], s.day(days));
  assert.equal(await enactRipe(home, s.day(days + 7)), 1);
  await s.publish(home);
  return next;
}

test("by the recovery key in force the later of two successions counts, also when it comes second", async () => {
  for (const [first, second] of [
    [40, 41],
    [41, 40],
  ] as const) {
    const s = await copied();
    const rival = await s.copy(folder());
    const site = await watched(s);
    await site.on(s.day(100));
    const { home } = await s.recover(first);
    const before = await site.on(s.day(100));
    assert.equal(before.known.charterId, home.known.charterId);
    const other = await rival.recover(second);
    bringFrom(rival, s);
    const after = await site.on(s.day(100));
    const counts = second > first ? other.home : home;
    assert.equal(after.known.charterId, counts.known.charterId);
    assert.match(said(site), /the recovery key was used 2 times on one ledger/);
  }
});

test("whoever kept a recovery key that was replaced undoes nothing that a site followed", async () => {
  const s = await copied();
  const thief = await s.copy(folder());
  const site = await watched(s);
  await site.on(s.day(100));
  await thief.recover(60, { as: "thief" });
  const { home } = await s.recover(40, { as: "first" });
  const key = await otherRecovery(s, home, 41);
  // What the key opens is wrapped to the new one.
  await s.protect(50, home);
  const before = await site.on(s.day(100));
  assert.equal(before.known.charterId, home.known.charterId);
  bringFrom(thief, s);
  const after = await site.on(s.day(100));
  assert.equal(after.known.charterId, before.known.charterId);
  assert.deepEqual(site.notices, []);
  // Nor does it stand in the way of the next one, by the key that is in force.
  const next = await s.recover(110, { key, sites: ["kn", "lu", "ee"] });
  cpSync(s.site("kn"), s.site("bb"), { recursive: true, force: false });
  const view = await site.on(s.day(110));
  assert.equal(view.known.charterId, next.home.known.charterId);
  assert.equal(view.known.charter.term, 3);
});
