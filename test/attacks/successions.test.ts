/** Successions that should not count. */
import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { cpSync } from "node:fs";
import { signPaper } from "../../src/charter/decision.ts";
import type { Order } from "../../src/charter/orders.ts";
import type { Succession } from "../../src/charter/succession.ts";
import { toHex } from "../../src/crypto/bytes.ts";
import type { SigningKey } from "../../src/crypto/signing.ts";
import { splitSecret } from "../../src/custody/share-set.ts";
import { draftDecision, enactRipe, submit } from "../../src/governance/decide.ts";
import { newLedger, publicPartOf } from "../../src/governance/found.ts";
import type { Home } from "../../src/vault/home.ts";
import { type RecoveryKey, recoveryKeyFromSeed } from "../../src/vault/recovery-key.ts";
import { folder, LATER, NEVER, recovered, row, table, witnessedState } from "../support/attacks.ts";
import { keyOf, successionOf } from "../support/charter.ts";
import { type Embassy, PLACES } from "../support/embassy.ts";

/** A succession that nobody was asked for; it closes the ledger as it is unless told otherwise. */
async function succession(
  s: Embassy,
  key: SigningKey,
  changes: Partial<Succession> = {},
): Promise<string> {
  const current = s.home.known.history.history.at(-1);
  assert.ok(current);
  const { origin, size, root } = await s.home.withLedger((log) => log.head());
  const closes = { origin, size, root: toHex(root) };
  const paper = successionOf(current, s.day(20), { state: s.home.state, closes, ...changes });
  return s.plant("succession", signPaper(paper, key));
}

const GROUNDS = { reason: "A share was captured", citation: "Act 7 of 2026" };

/** Another recovery key, and the order that puts it in the place of the one in force. */
function otherRecovery(home: Home): { readonly next: RecoveryKey; readonly order: Order } {
  const next = recoveryKeyFromSeed(randomBytes(32));
  const { publicPart } = splitSecret(next.seed, { k: 2, n: 3, generation: 2 }, randomBytes);
  const shares = { ...publicPart, shareCommitments: [...publicPart.shareCommitments] };
  const { recovery } = home.charter;
  return {
    next,
    order: { kind: "amend", recovery: { ...recovery, ...publicPartOf(next), shares } },
  };
}

/** The recovery key is replaced, and its holders hold the new one. */
async function withOtherRecovery(s: Embassy): Promise<RecoveryKey> {
  const { next, order } = otherRecovery(s.home);
  await s.decide(order, 10);
  assert.equal(await s.enact(17), 1);
  await s.publish();
  return next;
}

/** Home goes on, and so can whoever takes over. */
async function goesOn(s: Embassy): Promise<unknown> {
  await s.protect(30);
  return s.recover(LATER);
}

table("successions", [
  row({
    name: "signed by a seat",
    attack: (s) => succession(s, keyOf("pm")),
    answer: goesOn,
    outcome: { named: /succession\/[0-9a-f]{64}.*not signed by any trusted key/ },
  }),
  row({
    name: "signed by a recovery key that was replaced",
    setup: withOtherRecovery,
    attack: (s) => succession(s, s.recovery.signing),
    answer: (s) => s.protect(30),
    outcome: "ignored",
  }),
  row({
    name: "by the holders of a recovery key that was replaced",
    setup: withOtherRecovery,
    attack: () => undefined,
    answer: recovered,
    outcome: {
      refused: "untrusted",
      says: /is not the one in the State's charter: it was replaced/,
    },
  }),
  row({
    name: "of another State's recovery key",
    attack: async (s) => succession(s, (await witnessedState()).recovery.signing),
    answer: goesOn,
    outcome: { named: /succession\/[0-9a-f]{64}.*not signed by any trusted key/ },
  }),
  row({
    name: "with a generation skipped",
    attack: async (s) => {
      const [next] = [newLedger(randomBytes(32), "thief", 3).ledger];
      await succession(s, s.recovery.signing, { ledger: next });
    },
    answer: recovered,
    outcome: "ignored",
  }),
  row({
    name: "that closes a ledger which never was",
    attack: (s) => {
      const { origin } = s.home.charter.ledger;
      return succession(s, s.recovery.signing, { closes: { origin, size: 3, root: NEVER } });
    },
    answer: recovered,
    outcome: { named: /succession\/[0-9a-f]{64} was left out/ },
  }),
  row({
    name: "two of one ledger: the last one counts, and the other's home writes no more",
    attack: async (s) => {
      const twin = await s.copy(folder());
      await twin.recover(50, { as: "second" });
      const { home } = await s.recover(40, { as: "first" });
      for (const site of PLACES) {
        cpSync(twin.site(site), s.site(site), { recursive: true, force: false });
      }
      return home;
    },
    answer: async (s, home) => {
      const report = await s.recover(LATER);
      assert.equal(report.term, 3);
      await assert.rejects(s.protect(LATER + 1, home), { code: "untrusted" });
      assert.notEqual(report.home.charter.previous, home.known.charterId, "it follows the second");
      await s.restores(report.home);
    },
    outcome: { named: /the recovery key was used 2 times on one ledger/ },
  }),
  row({
    name: "of an earlier ledger once more, by a key that was replaced in a later one, at one site",
    attack: async (s) => {
      const thief = await s.copy(folder());
      await thief.recover(60, { as: "thief" });
      const { home } = await s.recover(40, { as: "first" });
      const { next, order } = otherRecovery(home);
      const decision = await draftDecision(home, order, GROUNDS, s.day(41));
      await submit(home, [s.sign(decision)], s.day(41));
      assert.equal(await enactRipe(home, s.day(48)), 1);
      await s.publish(home);
      await s.protect(50, home);
      cpSync(thief.site("ee"), s.site("ee"), { recursive: true, force: false });
      return next;
    },
    answer: async (s, key) => {
      const report = await s.recover(LATER, { key });
      assert.equal(report.term, 3);
      await s.restores(report.home);
    },
    outcome: { named: /used 2 times on one ledger: .* most of these sites have \(4 of 4\)/ },
  }),
]);
