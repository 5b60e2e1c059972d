/** Vetoes and freezes that are hidden, too late, or not what they seem. */
import assert from "node:assert/strict";
import { object } from "../../src/governance/decide.ts";
import {
  flipped,
  frozen,
  LATER,
  recovered,
  replacing,
  row,
  table,
  takesEffect,
  veto,
  vetoed,
  WITHOUT_ONE,
  waiting,
} from "../support/attacks.ts";

table("vetoes and freezes", [
  row({
    name: "a veto that every site hides: nobody reads on without it",
    setup: async (s) => vetoed(s, await waiting(s), ["justice", "interior"], 12),
    attack: async (s) => {
      await s.publish();
      s.hide("veto");
    },
    answer: recovered,
    outcome: { refused: "not-found", says: /no site has veto [0-9a-f]{64} as its name says/ },
  }),
  row({
    name: "a veto that all sites hide but one",
    setup: async (s) => vetoed(s, await waiting(s), ["justice", "interior"], 12),
    attack: async (s) => {
      await s.publish();
      s.hide("veto", undefined, WITHOUT_ONE);
    },
    answer: async (s) => {
      assert.equal(await s.enact(18), 0, "it was vetoed");
      return s.recover(LATER);
    },
    outcome: "ignored",
  }),
  row({
    name: "a veto with a bit changed, everywhere",
    setup: async (s) => vetoed(s, await waiting(s), ["justice", "interior"], 12),
    attack: async (s) => {
      await s.publish();
      s.replace("veto", (bytes) => flipped(bytes));
    },
    answer: recovered,
    outcome: { refused: "not-found", says: /no site has veto/ },
  }),
  row({
    name: "vetoes that come after the delay",
    setup: waiting,
    attack: (s, decision) => vetoed(s, decision, ["justice", "interior"], 17.5),
    answer: (s) => takesEffect(s),
    follows: 1,
    outcome: "ignored",
  }),
  row({
    name: "vetoes of fewer seats than it takes, by holder and deputy of one",
    setup: waiting,
    attack: (s, decision) => vetoed(s, decision, ["justice", "deputy-justice"], 12),
    answer: (s) => takesEffect(s),
    follows: 1,
    outcome: "ignored",
  }),
  row({
    name: "the veto of whom alone it replaces",
    setup: (s) => s.decide(replacing(s, "opposition"), 10),
    attack: (s, decision) => vetoed(s, decision, ["opposition", "interior"], 12),
    answer: (s) => takesEffect(s),
    follows: 1,
    outcome: "ignored",
  }),
  row({
    name: "a veto signed by the machine that writes",
    setup: waiting,
    attack: (s, decision) => veto(s, decision, s.home.agent, 12),
    answer: (s, envelope) => object(s.home, "veto", envelope, s.day(12)),
    outcome: { refused: "untrusted", says: /not signed by any trusted key/ },
  }),
  row({
    name: "a veto signed by the recovery key, put into the ledger by a captured home",
    setup: waiting,
    attack: (s, decision) => s.force("veto", veto(s, decision, s.recovery.signing, 12), 12),
    answer: (s) => takesEffect(s),
    follows: 1,
    outcome: { named: /not signed by any trusted key/ },
  }),
  row({
    name: "a freeze by one seat of the two that it takes",
    setup: waiting,
    attack: (s) => frozen(s, ["pm"], 12),
    answer: (s) => takesEffect(s),
    follows: 1,
    outcome: "ignored",
  }),
  row({
    name: "a freeze that the same people renew",
    setup: waiting,
    attack: async (s) => {
      await frozen(s, ["pm", "interior"], 12);
      assert.equal(await s.enact(25), 0, "the first one counts");
      await frozen(s, ["pm", "interior"], 25.5);
    },
    answer: (s) => takesEffect(s, 27),
    follows: 1,
    outcome: "ignored",
  }),
]);
