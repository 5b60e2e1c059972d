/** Closed epochs are released by seats, or by the recovery key alone: then slower, and stopped by any one seat. */
import assert from "node:assert/strict";
import { test } from "node:test";
import {
  Book,
  constitution,
  type Day,
  day,
  decisionOf,
  facts,
  founding,
  freeze,
  HOME_AND_ABROAD,
  kem,
  keyOf,
  logged,
  publicKey,
  REGISTER,
  signed,
  standing,
  veto,
} from "../../test/support/charter.ts";
import { assess, type Facts } from "./assess.ts";
import { type StoredCharter, writeCharter } from "./charter.ts";
import { courseOf } from "./course.ts";
import type { OpenedPaper } from "./decision.ts";
import type { Order } from "./orders.ts";
import { termsOf } from "./sentences.ts";

const release: Order = { kind: "release", register: REGISTER, epochs: [65_536], to: "recovery" };

/** A charter whose releases by the recovery key alone wait five days, and those of seats two, until two seats veto. */
const slow: StoredCharter = writeCharter({
  ...founding.charter,
  releaseDelaySeconds: 5 * 86_400,
  constitution: {
    ...constitution,
    thresholds: {
      ...constitution.thresholds,
      release: { ...constitution.thresholds.release, vetoSignatures: 2 },
    },
  },
});
const by = (...names: readonly string[]): OpenedPaper<"decision"> =>
  signed(decisionOf(release, { charter: slow.id, random: "12".repeat(16) }), names, [slow.charter]);
const on = (when: Day, changes: Partial<Facts>) =>
  assess(by("recovery"), facts({ history: [slow], now: day(when), ...changes }));

test("the recovery key releases alone, after the charter's delay for that and not the seats'", () => {
  const decisions = logged([by("recovery"), "06-02"]);
  standing(on("06-06", { decisions }), "waiting", new RegExp(day("06-07").toISOString()));
  standing(on("06-07", { decisions }), "ripe");
  // Seats that are too few add nothing, and take nothing.
  const some = logged([by("recovery", "pm", "justice"), "06-02"]);
  standing(on("06-06", { decisions: some }), "waiting", new RegExp(day("06-07").toISOString()));
  standing(assess(by("pm", "justice"), facts({ history: [slow] })), "unsigned", /2 of the 3/);
});

test("one seat's veto stops the recovery key alone, and not a quorum of seats", () => {
  const alone = by("recovery");
  const quorum = by("pm", "justice", "abroad");
  const vetoes = logged([veto(alone.id, "opposition"), "06-03"]);
  standing(on("06-07", { decisions: logged([alone, "06-02"]), vetoes }), "void", /opposition/);
  for (const decisions of [
    logged([quorum, "06-02"]),
    // With both, the seats' own rule holds, from when they were enough.
    logged([alone, "06-01"], [quorum, "06-02"]),
    logged([quorum, "06-02"], [alone, "06-03"]),
  ]) {
    standing(on("06-03", { decisions, vetoes }), "waiting", new RegExp(day("06-04").toISOString()));
    standing(on("06-04", { decisions, vetoes }), "ripe");
  }
  const late = logged([veto(alone.id, "opposition"), "06-08"]);
  standing(on("06-09", { decisions: logged([alone, "06-02"]), vetoes: late }), "ripe");
  const freezes = logged([freeze(["pm", "justice"], "06-06", "06-12"), "06-06"]);
  standing(on("06-09", { decisions: logged([alone, "06-02"]), freezes }), "frozen");
});

test("seats that sign after its time take nothing from what the recovery key did in time", () => {
  const notAfter = "2026-06-03T00:00:00Z";
  const decision = decisionOf(release, { charter: slow.id, notAfter });
  const [alone, quorum] = [["recovery"], ["pm", "justice", "abroad"]].map((names) =>
    signed(decision, names, [slow.charter]),
  ) as [OpenedPaper<"decision">, OpenedPaper<"decision">];
  const decisions = logged([alone, "06-02"], [quorum, "06-04"]);
  const at = (when: Day) => assess(alone, facts({ history: [slow], decisions, now: day(when) }));
  standing(at("06-06"), "waiting");
  standing(at("06-07"), "ripe");
});

test("a release by the recovery key alone replays into effect, and tells by what it did", () => {
  const book = new Book();
  const id = book.decide(release, ["recovery"], "03-02");
  const after = book.enact("03-03");
  const read = book.read("03-04");
  assert.equal(read.history.at(-1)?.id, after.id);
  const course = courseOf(id, read);
  assert.deepEqual(course?.requirements, {
    signatures: 0,
    groups: [],
    timelockSeconds: founding.charter.releaseDelaySeconds,
    vetoSignatures: 1,
  });
  assert.deepEqual([course?.metAt, course?.ripeAt], [day("03-02"), day("03-03")]);
  const bySeats = book.decide(release, HOME_AND_ABROAD, "03-05", { charter: after.id }, after);
  book.enact("03-07");
  const { thresholds } = constitution;
  assert.deepEqual(courseOf(bySeats, book.read("03-08"))?.requirements, thresholds.release);
  assert.equal(courseOf("ab".repeat(32), read), undefined);
});

test("the recovery key of an older share set does not release", () => {
  const { recovery } = founding.charter;
  const shares = { ...recovery.shares, setId: "23".repeat(16), generation: 2 };
  const book = new Book();
  const next = { ...recovery, kem, signing: publicKey("recovery 2"), shares };
  book.decide({ kind: "amend", recovery: next }, HOME_AND_ABROAD, "03-01");
  // Waiting when the key was replaced, for the key and for the reader; and signed after that.
  const before = book.decide(release, ["recovery"], "03-08");
  const rotated = book.enact("03-08");
  const charters = { charter: rotated.id };
  book.add("decision", signed(decisionOf(release, charters), ["recovery"]).envelope, "03-09");
  const after = book.decide(release, ["recovery 2"], "03-09", charters, rotated);
  const read = book.read("03-20");
  const logs = new Map(read.decisions.map(({ opened }) => [opened.id, opened]));
  const old = logs.get(before);
  assert.ok(old);
  standing(assess(old, read), "void", /changed since it was made/);
  assert.match(read.quarantined[0]?.why ?? "", /not signed by any trusted key/);
  const right = logs.get(after);
  assert.ok(right);
  standing(assess(right, read), "ripe");
  // The same key under another share set: what it relied on is another one than its author saw.
  const reshared = new Book();
  reshared.decide({ kind: "amend", recovery: { ...recovery, shares } }, HOME_AND_ABROAD, "03-01");
  const id = reshared.decide(release, ["recovery"], "03-07");
  reshared.enact("03-08");
  const decided = reshared.read("03-09");
  const one = decided.decisions.find(({ opened }) => opened.id === id);
  assert.ok(one);
  standing(assess(one.opened, decided), "void", /changed since it was made/);
});

test("for the reader key too a key that was replaced meanwhile does not release", () => {
  const { recovery } = founding.charter;
  const shares = { ...recovery.shares, setId: "23".repeat(16), generation: 2 };
  const book = new Book();
  const reader = { kind: "amend", reader: { kem, signing: publicKey("reader") } } as const;
  book.decide(reader, HOME_AND_ABROAD, "02-01");
  const read = book.enact("02-08");
  const next = { ...recovery, kem, signing: publicKey("recovery 2"), shares };
  book.decide(
    { kind: "amend", recovery: next },
    HOME_AND_ABROAD,
    "03-01",
    { charter: read.id },
    read,
  );
  const to = { ...release, to: "reader" } as const;
  const id = book.decide(to, ["recovery"], "03-08", { charter: read.id }, read);
  book.enact("03-08");
  const history = book.read("03-10");
  const logs = history.decisions.find(({ opened }) => opened.id === id);
  assert.ok(logs);
  assert.ok(logs.opened.keyIds.includes(keyOf("recovery").id));
  standing(assess(logs.opened, history), "unsigned", /0 of the 3/);
});

test("who signs a release reads what the recovery key alone can do, and how long that waits", () => {
  const terms = termsOf(decisionOf(release), slow.charter, slow.charter, day("06-02")).join(" ");
  assert.match(terms, /3 of 5 seats/);
  assert.match(terms, /recovery key can sign it alone.* 5 days after .*unless one seat vetoes/);
});
