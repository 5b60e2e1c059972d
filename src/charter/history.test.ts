import assert from "node:assert/strict";
import { test } from "node:test";
import {
  admit,
  amend,
  Book,
  constitution,
  day,
  decisionOf,
  destroy,
  expel,
  founding,
  freeze,
  HOME_AND_ABROAD,
  keyOf,
  person,
  publicKey,
  signed,
  veto,
} from "../../test/support/charter.ts";
import { signPaper } from "./decision.ts";
import { charterAfter, nextToEnact, standings } from "./history.ts";
import { applyOrder } from "./orders.ts";

test("from founding to today: decisions are enacted one by one, and everybody reads the same", () => {
  const book = new Book();
  const admitted = book.decide(admit, ["pm", "justice", "interior"], "03-01");
  const first = book.enact("03-02");
  const expelled = book.decide(expel, HOME_AND_ABROAD, "03-03");
  assert.equal(nextToEnact(book.read("03-09")), undefined);
  const second = book.enact("03-10");
  const { history, enacted, quarantined } = book.read("03-11");
  assert.deepEqual(
    history.map(({ id }) => id),
    [founding.id, first.id, second.id],
  );
  assert.deepEqual([...enacted.keys()], [admitted, expelled]);
  assert.deepEqual(quarantined, []);
  assert.deepEqual(
    second.charter.sites.map(({ name }) => name),
    ["bb", "kn", "lu", "ee", "pt"],
  );
  // It says from when it holds, not when somebody wrote it down.
  assert.equal(second.charter.time, "2026-03-10T12:00:00Z");
  assert.equal(book.current("12-01").id, second.id);
  assert.equal(standings(book.read("03-11")).get(expelled)?.status, "enacted");
});

test("of two that are ripe the first takes effect first; home cannot choose", () => {
  const book = new Book();
  const first = book.decide(expel, HOME_AND_ABROAD, "03-05");
  const same = book.decide(expel, HOME_AND_ABROAD, "03-05", { reason: "The same day, later" });
  assert.notEqual(first, same);
  assert.equal(nextToEnact(book.read("03-20"))?.decision.id, first);
  book.entries.splice(0);
  const slow = book.decide(expel, HOME_AND_ABROAD, "03-01");
  const quick = book.decide(admit, HOME_AND_ABROAD, "03-06");
  const facts = book.read("03-20");
  const ripe = nextToEnact(facts);
  assert.equal(ripe?.decision.id, quick, "ripe since the 6th, before the 8th");
  const chosen = facts.decisions.find(({ opened }) => opened.id === slow);
  assert.ok(chosen && ripe);
  const favoured = charterAfter(facts, { decision: chosen.opened, since: day("03-08") });
  book.add("charter", favoured.payload, "03-20");
  const read = book.read("03-21");
  assert.equal(read.history.length, 1);
  assert.match(read.quarantined[0]?.why ?? "", /takes effect first/);
});

test("a charter that does not follow, or says more, counts for nothing", () => {
  const book = new Book();
  const id = book.decide(expel, HOME_AND_ABROAD, "03-01");
  const decision = book.read("03-02").decisions[0]?.opened;
  assert.ok(decision);
  const right = charterAfter(book.read("03-02"), { decision, since: day("03-08") });
  const wrong: readonly (readonly [string, Uint8Array, RegExp])[] = [
    [
      "03-09",
      charterAfter(book.read("03-02"), { decision, since: day("03-09") }).payload,
      /not the charter that follows/,
    ],
    [
      "03-09",
      applyOrder(founding, admit, { at: day("03-08"), decision: id }).payload,
      /not the charter that follows/,
    ],
    ["03-09", founding.payload, /takes effect first/],
    ["03-09", new TextEncoder().encode("{}"), /form that is not known/],
  ];
  for (const [on, bytes] of wrong) book.add("charter", bytes, on);
  book.add("charter", right.payload, "03-10");
  // The same once more: it is not the next one any longer.
  book.add("charter", right.payload, "03-11");
  const { history, quarantined } = book.read("03-12");
  assert.deepEqual(
    history.map(({ id }) => id),
    [founding.id, right.id],
  );
  assert.deepEqual(
    quarantined.map(({ position }) => position),
    [1, 2, 3, 4, 6],
  );
  for (const [i, [, , why]] of wrong.entries()) assert.match(quarantined[i]?.why ?? "", why);
});

test("a charter that was entered before its time lets the others go first, and follows after them", () => {
  const book = new Book();
  book.decide(expel, HOME_AND_ABROAD, "03-01");
  const decision = book.read("03-02").decisions[0]?.opened;
  assert.ok(decision);
  const early = charterAfter(book.read("03-02"), { decision, since: day("03-08") });
  book.add("charter", early.payload, "03-07");
  assert.equal(nextToEnact(book.read("03-09")), undefined, "a ledger has no entry twice");
  book.decide(admit, HOME_AND_ABROAD, "03-09");
  const [first, second] = [book.enact("03-09"), book.enact("03-10")];
  const { history, quarantined } = book.read("03-11");
  assert.deepEqual(
    history.map(({ id }) => id),
    [founding.id, first.id, second.id],
  );
  assert.equal(second.charter.decision, decision.id);
  assert.deepEqual(
    quarantined.map(({ position }) => position),
    [1],
  );
  assert.match(quarantined[0]?.why ?? "", /no decision can take effect/);
});

test("what comes later changes nothing of what was: not a veto, not a freeze of years after", () => {
  const book = new Book();
  const id = book.decide(expel, HOME_AND_ABROAD, "03-01");
  const charter = book.enact("03-08");
  for (const name of ["interior", "opposition"]) {
    book.add("veto", veto(id, name, { time: "2026-03-02T00:00:00Z" }).envelope, "09-01");
  }
  book.add("freeze", freeze(["interior", "opposition"], "03-05", "03-18").envelope, "09-01");
  assert.equal(book.current("10-01").id, charter.id);
});

test("what strangers put into the ledger is named and stops nothing", () => {
  const book = new Book();
  book.add("decision", new TextEncoder().encode("junk"), "03-01");
  book.add("veto", signed(decisionOf(expel), ["pm"]).envelope, "03-01");
  const foreign = decisionOf(expel, { state: "cd".repeat(32) });
  book.add("decision", signPaper(foreign, keyOf("pm")), "03-01");
  book.decide(admit, HOME_AND_ABROAD, "03-02");
  book.enact("03-02");
  const { history, quarantined } = book.read("03-03");
  assert.equal(history.length, 2);
  assert.deepEqual(
    quarantined.map(({ position }) => position),
    [0, 1, 2],
  );
});

test("new seats sign from the charter that seats them on, and the old ones no more", () => {
  const seats = constitution.seats.map((seat) =>
    seat.name === "interior"
      ? { ...seat, people: [{ person: person("next"), key: publicKey("next") }] }
      : seat,
  );
  const book = new Book();
  book.decide(amend({ seats }), [...HOME_AND_ABROAD, "next"], "03-01");
  const { id: charter, charter: now } = book.enact("03-08");
  const open = (names: readonly string[]) => {
    const opened = signed(decisionOf(admit, { charter }), names, [founding.charter, now]);
    book.add("decision", opened.envelope, "03-09");
    return standings(book.read("03-09")).get(opened.id)?.status;
  };
  assert.equal(open(["pm", "justice", "interior"]), "unsigned");
  assert.equal(open(["pm", "justice", "next"]), "ripe");
});

test("destruction goes its two steps through the ledger, and no second time", () => {
  const names = ["pm", "justice", "interior", "abroad"];
  const book = new Book();
  const announcement = book.decide(destroy, names, "03-01");
  const together = book.decide(destroy, names, "03-01", { carriesOut: announcement });
  const announced = book.enact("04-01");
  assert.equal(standings(book.read("05-20")).get(together)?.status, "void");
  const changes = { carriesOut: announcement, charter: announced.id };
  const carried = book.decide(destroy, names, "04-02", changes);
  assert.equal(standings(book.read("05-01")).get(carried)?.status, "waiting");
  book.enact("05-03");
  const again = book.decide(destroy, names, "05-04", changes);
  assert.equal(standings(book.read("06-10")).get(again)?.status, "void");
});
