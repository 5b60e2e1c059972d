/** Where decisions stand: a table of attacks, each refused in its own way. */
import assert from "node:assert/strict";
import { test } from "node:test";
import {
  admit,
  amend,
  constitution,
  type Day,
  DEPUTY,
  day,
  decisionOf,
  destroy,
  expel,
  facts,
  founding,
  freeze,
  HOME_AND_ABROAD,
  historyOf,
  keyOf,
  logged,
  person,
  publicKey,
  REGISTER,
  SEATS,
  STATE,
  seenOn,
  signed,
  standing,
  veto,
} from "../../test/support/charter.ts";
import { isExclaveError } from "../errors.ts";
import { assess, keysFor, type Standing } from "./assess.ts";
import { writeCharter } from "./charter.ts";
import {
  applyDecision,
  type Decision,
  type Freeze,
  type OpenedPaper,
  openPaper,
  signPaper,
} from "./decision.ts";
import { applyOrder, type Order } from "./orders.ts";

const enactment = { at: day("06-10"), decision: "88".repeat(32) };

test("a decision waits for its signatures, the ledger and its timelock, and then is ripe for a while", () => {
  standing(assess(signed(decisionOf(expel), ["pm", "abroad"]), facts()), "unsigned", /2 of the 3/);
  const three = signed(decisionOf(expel), HOME_AND_ABROAD);
  standing(assess(three, facts()), "signed");
  standing(seenOn(three, "06-09"), "waiting", /2026-06-16T12:00:00/);
  standing(seenOn(three, "06-03"), "ripe", /2026-06-10T12:00:00/);
  standing(seenOn(three, "06-04"), "waiting");
  standing(seenOn(three, "05-05"), "ripe");
  standing(seenOn(three, "05-03"), "void", /too long/);
  // A ledger whose clock is ahead of ours, or ours behind: not yet.
  standing(seenOn(three, "06-20"), "signed");
  const enacted = new Map([[three.id, { decision: three.paper, at: day("06-10"), version: 2 }]]);
  standing(seenOn(three, "06-03", { enacted }), "enacted");
  assert.throws(() => seenOn(three, "06-03", { now: new Date(Number.NaN) }), /clock/);
});

test("the timelock begins when the ledger has all signatures, not when it has the first", () => {
  const decision = decisionOf(expel);
  const one = signed(decision, ["pm"]);
  const two = signed(decision, ["justice", "abroad"]);
  const all = signed(decision, HOME_AND_ABROAD);
  const decisions = logged([one, "05-01"], [two, "06-09"]);
  standing(assess(all, facts({ decisions })), "waiting", /06-16/);
  standing(assess(one, facts({ decisions: logged([one, "05-01"]) })), "unsigned", /1 of the 3/);
  const early = signed(decisionOf(expel, { notBefore: "2026-06-08T00:00:00Z" }), HOME_AND_ABROAD);
  standing(seenOn(early, "06-01"), "waiting", /2026-06-15T00:00:00/);
});

test("a group of jurisdictions has to be among those who sign", () => {
  const atHome = signed(decisionOf(expel), ["pm", "justice", "interior", "opposition"]);
  standing(assess(atHome, facts()), "unsigned", /from LU or EE/);
});

test("who changes the seats needs the threshold before and after", () => {
  const others = ["new-1", "new-2", "new-3"];
  const seats = constitution.seats.map((seat, i) =>
    i < 3
      ? { ...seat, people: [{ person: person(others[i]!), key: publicKey(others[i]!) }] }
      : seat,
  );
  const order = amend({ seats });
  const both = [founding.charter, applyOrder(founding, order, enactment).charter];
  const before = signed(decisionOf(order), HOME_AND_ABROAD, both);
  standing(assess(before, facts()), "unsigned", /under the charter that would follow/);
  const newOnly = signed(decisionOf(order), ["new-1", "new-2", "abroad"], both);
  standing(assess(newOnly, facts()), "unsigned");
  const all = signed(decisionOf(order), [...HOME_AND_ABROAD, "new-1", "new-2"], both);
  standing(assess(all, facts()), "signed");
});

test("who loosens a rule must meet that rule", () => {
  const { thresholds } = constitution;
  const easier = amend({
    thresholds: {
      ...thresholds,
      destructive: { ...thresholds.destructive, timelockSeconds: 8 * 86_400 },
    },
  });
  standing(assess(signed(decisionOf(easier), HOME_AND_ABROAD), facts()), "unsigned", /3 of the 4/);
  const four = signed(decisionOf(easier), ["pm", "justice", "interior", "abroad"]);
  standing(seenOn(four, "06-01"), "waiting", /2026-07-01/);
  const oneVeto = logged([veto(four.id, "opposition"), "06-02"]);
  standing(seenOn(four, "06-01", { vetoes: oneVeto }), "void", /vetoed by opposition/);
  const noGroup = amend({
    thresholds: { ...thresholds, constitutional: { ...thresholds.constitutional, groups: [] } },
  });
  standing(
    assess(signed(decisionOf(noGroup), ["pm", "justice", "interior"]), facts()),
    "unsigned",
    /LU or EE/,
  );
  const sooner: Order = { kind: "amend", releaseDelaySeconds: 0 };
  standing(seenOn(signed(decisionOf(sooner), HOME_AND_ABROAD), "06-03"), "ripe");
  const shorter: Order = { kind: "amend", retentionSeconds: 10 };
  standing(assess(signed(decisionOf(shorter), HOME_AND_ABROAD), facts()), "unsigned", /3 of the 4/);
  const harder = amend({
    thresholds: { ...thresholds, release: { ...thresholds.release, vetoSignatures: 2 } },
  });
  const three = signed(decisionOf(harder), HOME_AND_ABROAD);
  const single = logged([veto(three.id, "opposition"), "06-02"]);
  standing(seenOn(three, "06-01", { vetoes: single }), "void", /vetoed by opposition/);
  const stricter = amend({
    thresholds: { ...thresholds, release: { ...thresholds.release, timelockSeconds: 5 * 86_400 } },
  });
  standing(seenOn(signed(decisionOf(stricter), HOME_AND_ABROAD), "06-03"), "ripe");
});

test("a decision is void when its rules changed meanwhile, even there and back, or what it changes", () => {
  const expelling = signed(decisionOf(expel), HOME_AND_ABROAD);
  const under = (...orders: readonly Order[]): Standing =>
    seenOn(expelling, "06-01", { history: historyOf(...orders) });
  standing(under(admit), "ripe");
  const changed = amend({ freezeSignatures: 3 });
  standing(under(changed), "void", /made anew/);
  standing(under(changed, amend({})), "void", /made anew/);
  const other = { ...founding.charter.sites[4]!, operator: "Another operator" };
  standing(under(expel, { kind: "admit-site", site: other }), "void", /changed since/);
  const stranger = signed(decisionOf(expel, { charter: "99".repeat(32) }), HOME_AND_ABROAD);
  standing(seenOn(stranger, "06-01"), "void", /never was in force/);
  const revoke: Order = {
    kind: "revoke-agent",
    signing: publicKey("agent"),
    suspectFrom: "2026-01-15T00:00:00Z",
  };
  const [agent] = founding.charter.agents;
  const more: Order = { kind: "amend", agents: [agent!, { ...agent!, signing: publicKey("new") }] };
  const stale = signed(decisionOf(more), HOME_AND_ABROAD);
  standing(
    seenOn(stale, "06-01", { history: historyOf(revoke) }),
    "void",
    /changed since|count again/,
  );
  const forked = decisionOf(expel, { checkpoint: { size: 9, root: "00".repeat(32) } });
  const changes = { hadCheckpoint: () => false };
  standing(seenOn(signed(forked, HOME_AND_ABROAD), "06-01", changes), "void", /never had/);
});

test("a seat that ended before the ledger saw the decision does not count", () => {
  const seats = constitution.seats.map((seat) =>
    seat.name === "justice" ? { ...seat, until: "2026-06-05T00:00:00Z" } : seat,
  );
  const current = writeCharter({ ...founding.charter, constitution: { ...constitution, seats } });
  const decision = signed(decisionOf(expel, { charter: current.id }), HOME_AND_ABROAD);
  standing(seenOn(decision, "06-02", { history: [current] }), "ripe");
  standing(seenOn(decision, "06-06", { history: [current] }), "unsigned");
});

test("nobody is locked out by seats that end", () => {
  const ending = (until: string): Order =>
    amend({ seats: constitution.seats.map((seat) => ({ ...seat, until })) });
  const decide = (order: Order): Standing => seenOn(signed(decisionOf(order), [...SEATS]), "06-01");
  standing(decide(ending("2026-08-01T00:00:00Z")), "void", /too few seats/);
  standing(decide(ending("2027-08-01T00:00:00Z")), "ripe");
});

test("outside of its validity a decision is void", () => {
  const late = signed(decisionOf(expel, { notAfter: "2026-06-01T00:00:00Z" }), HOME_AND_ABROAD);
  standing(seenOn(late, "06-02"), "void", /time is over/);
  standing(assess(late, facts()), "void", /time is over/);
  const refused = (changes: Partial<Decision>): void =>
    assert.throws(
      () => signPaper(decisionOf(expel, changes), keyOf("pm")),
      (error) => isExclaveError(error, "usage"),
    );
  refused({ notAfter: "2028-01-01T00:00:00Z" });
  refused({ notAfter: "2025-12-31T00:00:00Z" });
});

test("seats veto before a decision is ripe; not later, not twice, and who alone is replaced not at all", () => {
  const expelling = signed(decisionOf(expel), HOME_AND_ABROAD);
  const vetoed = (decision: OpenedPaper<"decision">, when: Day, ...names: string[]): Standing => {
    const vetoes = logged(...names.map((name) => [veto(decision.id, name), when] as const));
    return seenOn(decision, "06-01", { vetoes });
  };
  standing(vetoed(expelling, "06-02", "interior"), "ripe");
  standing(vetoed(expelling, "06-02", "interior", "opposition"), "void", /interior, opposition/);
  standing(vetoed(expelling, "06-09", "interior", "opposition"), "ripe");
  standing(vetoed(expelling, "06-02", "justice", DEPUTY), "ripe");
  standing(vetoed(expelling, "06-02", "pm", "pm"), "ripe");
  const other = logged(
    [veto("88".repeat(32), "interior"), "06-02"],
    [veto("88".repeat(32), "opposition"), "06-02"],
  );
  standing(seenOn(expelling, "06-01", { vetoes: other }), "ripe");

  const replacing = (...names: readonly string[]): Order =>
    amend({
      seats: constitution.seats.map((seat) =>
        names.includes(seat.name)
          ? {
              ...seat,
              people: [
                { person: person(`next ${seat.name}`), key: publicKey(`next ${seat.name}`) },
              ],
            }
          : seat,
      ),
    });
  const one = signed(decisionOf(replacing("interior")), HOME_AND_ABROAD);
  standing(vetoed(one, "06-02", "interior", "opposition"), "ripe");
  standing(vetoed(one, "06-02", "pm", "opposition"), "void");
  const several = signed(decisionOf(replacing("interior", "opposition")), HOME_AND_ABROAD);
  standing(vetoed(several, "06-02", "interior", "opposition"), "void");
  const deputies = amend({
    seats: constitution.seats.map((seat) => ({
      ...seat,
      people: [
        ...seat.people,
        { person: person(`2 ${seat.name}`), key: publicKey(`2 ${seat.name}`) },
      ],
    })),
  });
  const all = signed(decisionOf(deputies), HOME_AND_ABROAD);
  standing(vetoed(all, "06-02", "interior", "opposition"), "void");
});

test("what destroys is announced first, and carried out once, soon, and exactly as announced", () => {
  const names = ["pm", "justice", "interior", "abroad"];
  const announcement = signed(decisionOf(destroy), names);
  standing(assess(signed(decisionOf(destroy), names.slice(1)), facts()), "unsigned");
  standing(seenOn(announcement, "06-01"), "waiting", /2026-07-01/);
  standing(seenOn(announcement, "05-01"), "ripe");

  const announced = applyDecision(founding, announcement, day("04-01"));
  const history = [founding, announced];
  const enacted = new Map([
    [announcement.id, { decision: announcement.paper, at: day("04-01"), version: 2 }],
  ]);
  const carry = (order: Order, changes: Partial<Decision> = {}): OpenedPaper<"decision"> =>
    signed(
      decisionOf(order, { carriesOut: announcement.id, charter: announced.id, ...changes }),
      names,
    );
  const unannounced = carry(destroy, { charter: founding.id });
  standing(seenOn(unannounced, "05-01"), "void", /not announced/);
  standing(seenOn(carry(destroy), "05-01", { history, enacted }), "ripe");
  const signedBefore = carry(destroy, { charter: founding.id });
  standing(seenOn(signedBefore, "05-01", { history, enacted }), "void", /before .* announced/);
  const late = { history, enacted, now: day("09-01") };
  standing(seenOn(carry(destroy), "07-15", late), "void", /too long ago/);
  const more: Order = { ...destroy, epochs: [65_536, 65_537] };
  standing(seenOn(carry(more), "05-01", { history, enacted }), "void", /something else/);
  standing(seenOn(carry(expel), "05-01", { history, enacted }), "void", /two steps/);
  const done = carry(destroy);
  const twice = new Map([
    ...enacted,
    [done.id, { decision: done.paper, at: day("05-31"), version: 3 }] as const,
  ]);
  standing(
    seenOn(carry(destroy), "05-01", { history, enacted: twice }),
    "void",
    /been carried out/,
  );
  const chained = carry(destroy, { carriesOut: done.id });
  standing(seenOn(chained, "05-01", { history, enacted: twice }), "void", /not announced/);
  // Ripe on 14 January, but the charter was due for review on the 1st.
  const late2 = { now: new Date("2027-01-20T00:00:00Z") };
  standing(seenOn(announcement, "12-15", late2), "void", /review/);

  const retire: Order = { kind: "retire-register", register: REGISTER };
  const retiring = signed(decisionOf(retire), names);
  const recorded = applyDecision(founding, retiring, day("04-01"));
  assert.deepEqual(recorded.charter.registers, founding.charter.registers);
  assert.equal(recorded.charter.decision, retiring.id);
  const carried = signed(decisionOf(retire, { carriesOut: retiring.id }), names);
  assert.deepEqual(applyDecision(recorded, carried, day("05-01")).charter.registers, []);
  assert.throws(
    () => decisionOf(destroy) && signPaper(decisionOf({ ...destroy, epochs: [2, 1] }), keyOf("pm")),
  );
});

test("two seats freeze for at most 14 days a year each, and never what keeps protection going", () => {
  const expelling = signed(decisionOf(expel), HOME_AND_ABROAD);
  const under = (...freezes: readonly (readonly [OpenedPaper<"freeze">, Day])[]): Standing =>
    seenOn(expelling, "06-01", { freezes: logged(...freezes) });
  const two = ["interior", "opposition"];
  standing(under([freeze(two, "06-05", "06-19"), "06-05"]), "frozen", /06-19/);
  standing(under([freeze(["interior"], "06-05", "06-19"), "06-05"]), "ripe");
  standing(under([freeze(["justice", DEPUTY], "06-05", "06-19"), "06-05"]), "ripe");
  standing(under([freeze(two, "05-26", "06-09"), "05-26"]), "ripe");
  // Back-dated, it counts from when the ledger had it; it is not in force before.
  standing(under([freeze(two, "06-05", "06-19"), "06-11"]), "ripe");
  // Of the 14 days it has spent those that it was in force: the same two have as many left.
  const late = [freeze(two, "06-01", "06-15"), "06-08"] as const;
  const next = [freeze(two, "06-15", "06-20"), "06-15"] as const;
  const freezesOf = { freezes: logged(late, next), now: day("06-16") };
  standing(seenOn(expelling, "06-01", freezesOf), "frozen", /06-20/);
  const first = [freeze(two, "05-26", "06-09"), "05-26"] as const;
  standing(under(first, [freeze(two, "06-09", "06-20"), "06-09"]), "ripe");
  standing(under(first, [freeze(["interior", "pm"], "06-09", "06-20"), "06-09"]), "ripe");
  standing(under(first, [freeze(["pm", "abroad"], "06-09", "06-20"), "06-09"]), "frozen");
  // Signed on two sticks, it is one freeze.
  const paper = freeze(["interior"], "06-05", "06-19");
  const trusted = keysFor([founding.charter]);
  const other = openPaper(
    "freeze",
    signPaper(paper.paper as Freeze, keyOf("opposition")),
    STATE,
    trusted,
  );
  assert.equal(other.id, paper.id);
  standing(under([paper, "06-05"], [other, "06-06"]), "frozen");
  assert.throws(
    () => freeze(["pm", "abroad"], "06-01", "06-16"),
    (error) => isExclaveError(error, "usage"),
  );
  const freezes = logged([freeze(two, "06-05", "06-19"), "06-05"] as const);
  const [agent] = founding.charter.agents;
  const going: readonly Order[] = [
    { kind: "revoke-agent", signing: agent!.signing, suspectFrom: "2026-05-01T00:00:00Z" },
    { kind: "rotate-epoch", register: REGISTER },
    { kind: "activate", agent: { ...agent!, signing: publicKey("new"), term: 2 } },
    admit,
  ];
  for (const order of going) {
    standing(seenOn(signed(decisionOf(order), HOME_AND_ABROAD), "06-01", { freezes }), "ripe");
  }
});
