/** What whoever holds home and the ledger's keys can do to the charter, and to the time that counts. */
import assert from "node:assert/strict";
import { momentOf, type StoredCharter, writeCharter } from "../../src/charter/charter.ts";
import { utf8 } from "../../src/crypto/bytes.ts";
import { standingOf } from "../../src/governance/decide.ts";
import {
  admit,
  following,
  LATER,
  other,
  retain,
  row,
  THIEF,
  table,
  takesEffect,
  vetoed,
  waiting,
  withThief,
} from "../support/attacks.ts";
import type { Embassy } from "../support/embassy.ts";

/** What a captured home wrote comes to the sites, and to whoever takes over. */
async function published(s: Embassy): Promise<unknown> {
  await s.publish();
  const report = await s.recover(LATER);
  assert.ok(
    s.notices.some((notice) => /counts for nothing/.test(notice)),
    "recovery names it",
  );
  return report;
}

table("charters that a captured home wrote", [
  row({
    name: "without a decision",
    attack: (s) => s.force("charter", withThief(s), 20),
    answer: published,
    outcome: { named: /no decision can take effect at that moment/ },
  }),
  row({
    name: "before the delay is over",
    attack: async (s) => {
      const envelope = s.sign(await s.draft(retain, 10));
      await s.force("decision", envelope, 10);
      return s.force("charter", following(s, envelope, 17).payload, 11);
    },
    answer: published,
    outcome: { named: /no decision can take effect at that moment/ },
  }),
  row({
    name: "before its time, so that it can not be entered in time: the others go first, and it follows them",
    setup: async (s) => {
      const envelope = s.sign(await s.draft(retain, 10));
      await s.force("decision", envelope, 10);
      return following(s, envelope, 17);
    },
    attack: (s, charter) => s.force("charter", charter.payload, 11),
    answer: async (s) => {
      assert.equal(await s.enact(18), 0, "the ledger has it already, and too early");
      await s.decide(admit, 19);
    },
    follows: 2,
    outcome: { named: /no decision can take effect at that moment/ },
  }),
  row({
    name: "of one decision while another takes effect first",
    attack: async (s) => {
      const [first, second] = [s.sign(await s.draft(admit, 10)), s.sign(await s.draft(other, 10))];
      await s.force("decision", first, 10);
      await s.force("decision", second, 11);
      return s.force("charter", following(s, second, 11).payload, 12);
    },
    answer: published,
    outcome: { named: /decision [0-9a-f]{64} takes effect first/ },
  }),
  row({
    name: "with more in it than was decided",
    attack: async (s) => {
      const envelope = s.sign(await s.draft(admit, 10));
      await s.force("decision", envelope, 10);
      const { charter } = following(s, envelope, 10);
      const thief = { ...charter.agents[0], signing: THIEF } as (typeof charter.agents)[number];
      const more = writeCharter({ ...charter, agents: [...charter.agents, thief] });
      return s.force("charter", more.payload, 10);
    },
    answer: published,
    outcome: { named: /not the charter that follows from its decision/ },
  }),
  row({
    name: "that are none",
    attack: (s) => s.force("charter", utf8('{"kind":"charter","kind":"charter"}'), 20),
    answer: published,
    outcome: { named: /name/ },
  }),
]);

/** A decision that the ledger and every witness have since day 10, and the charter that follows on day 17. */
async function seenWaiting(s: Embassy): Promise<StoredCharter> {
  const envelope = s.sign(await s.draft(retain, 10));
  await s.force("decision", envelope, 10);
  await s.witnessed(10, 10, 10);
  return following(s, envelope, 17);
}

table("clocks", [
  row({
    name: "NOT WITHSTOOD without witnesses: home's clock ahead ends a delay at once",
    attack: waiting,
    answer: (s) => takesEffect(s, 20),
    follows: 1,
    outcome: "ignored",
  }),
  row({
    name: "NOT WITHSTOOD without witnesses: home's clock behind begins a delay at its last checkpoint",
    attack: async (s) =>
      s.force("decision", s.sign(await s.draft(retain, 10, { notBefore: momentOf(s.day(0)) })), 1),
    answer: (s) => takesEffect(s, 10),
    follows: 1,
    outcome: "ignored",
  }),
  row({
    name: "with witnesses, what they have not seen counts for nothing, whatever home's clock says",
    witnessed: true,
    setup: async (s) => s.force("decision", s.sign(await s.draft(retain, 10)), 10),
    attack: () => undefined,
    answer: async (s) => assert.equal(await s.enact(20), 0),
    outcome: "ignored",
  }),
  row({
    name: "with witnesses, a charter that home dates ahead is too early",
    witnessed: true,
    setup: seenWaiting,
    attack: async (s, charter) => {
      await s.force("charter", charter.payload, 20);
      await s.witnessed(11, 11, 11);
    },
    answer: async () => undefined,
    outcome: { named: /no decision can take effect at that moment/ },
  }),
  row({
    name: "with witnesses, a decision that home dates back waits from when they saw it",
    witnessed: true,
    setup: async (s) => {
      const envelope = s.sign(await s.draft(retain, 10, { notBefore: momentOf(s.day(0)) }));
      await s.force("decision", envelope, 0);
      await s.witnessed(10, 10, 10);
      return following(s, envelope, 7);
    },
    attack: async (s, charter) => {
      await s.force("charter", charter.payload, 11);
      await s.witnessed(11, 11, 11);
    },
    answer: async () => undefined,
    outcome: { named: /no decision can take effect at that moment/ },
  }),
  row({
    name: "one witness whose clock is ahead, where two others saw it too",
    witnessed: true,
    setup: seenWaiting,
    attack: async (s, charter) => {
      await s.force("charter", charter.payload, 11);
      await s.witnessed(20, 11, 11);
    },
    answer: async () => undefined,
    outcome: { named: /no decision can take effect at that moment/ },
  }),
  row({
    name: "NOT WITHSTOOD: one captured witness whose clock is ahead, where home asks no third",
    witnessed: true,
    setup: seenWaiting,
    attack: async (s, charter) => {
      await s.force("charter", charter.payload, 11);
      await s.witnessed(20, 11);
    },
    answer: async () => undefined,
    follows: 1,
    outcome: "ignored",
  }),
  row({
    name: "one witness alone, with any clock",
    witnessed: true,
    setup: seenWaiting,
    attack: async (s, charter) => {
      await s.force("charter", charter.payload, 18);
      await s.witnessed(18);
    },
    answer: async () => undefined,
    outcome: "ignored",
  }),
  row({
    name: "with witnesses, a veto that home dates ahead is in time",
    witnessed: true,
    setup: seenWaiting,
    attack: async (s, charter) => {
      await vetoed(s, charter.charter.decision ?? "", ["justice", "interior"], 20);
      await s.witnessed(12, 12, 12);
      return charter.charter.decision;
    },
    answer: async (s, id) => {
      const decision = s.home.known.history.decisions.find(({ opened }) => opened.id === id);
      assert.ok(decision);
      const standing = standingOf(s.home.known, decision.opened, s.day(18));
      assert.match(JSON.stringify(standing), /it was vetoed by interior, justice/);
      assert.equal(await s.enact(18), 0);
    },
    outcome: "ignored",
  }),
  row({
    name: "clocks that differ by minutes stop nothing",
    witnessed: true,
    setup: seenWaiting,
    attack: () => undefined,
    answer: async (s) => {
      const minute = 1 / (24 * 60);
      assert.equal(await s.enact(17 + minute), 0, "the witnesses have not seen it");
      await s.witnessed(17 - minute, 17 - 3 * minute, undefined);
    },
    follows: 1,
    outcome: "ignored",
  }),
]);
