/** Charters and decisions: what counts, and a table of attacks, each refused in its own way. */
import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
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
  NOW,
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
import { utf8 } from "../crypto/bytes.ts";
import { encodeJson } from "../crypto/strict-json.ts";
import { isExclaveError } from "../errors.ts";
import { assess, keysFor, type Standing } from "./assess.ts";
import {
  type Charter,
  type Constitution,
  readCharter,
  type StoredCharter,
  writeCharter,
} from "./charter.ts";
import {
  addSignature,
  applyDecision,
  type Decision,
  type Freeze,
  mergePapers,
  type OpenedPaper,
  openPaper,
  signPaper,
} from "./decision.ts";
import { applyOrder, type Order } from "./orders.ts";
import { constitutionOf, seatsOf } from "./presets.ts";
import { differencesOf, sentenceOf, termsOf } from "./sentences.ts";
import { missingFor, seatsThatSigned } from "./thresholds.ts";

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

const NONE: readonly string[] = [];
test("seats are counted, never keys or people", () => {
  const ids = (...names: string[]): string[] => names.map((name) => keyOf(name).id);
  const count = (keyIds: readonly string[], when = NOW): number =>
    seatsThatSigned(constitution, keyIds, when).length;
  assert.equal(count(ids("pm", "justice")), 2);
  assert.equal(count(ids("justice", DEPUTY)), 1, "holder and deputy of one seat");
  assert.equal(count(ids("pm", "pm", "pm")), 1, "one key three times");
  assert.equal(count(ids("pm", "stranger")), 1, "a key that no seat has");
  assert.equal(
    count(ids("recovery", "agent")),
    0,
    "keys that the charter names for something else",
  );
  assert.equal(count(ids("pm"), new Date("2030-01-01T00:00:00Z")), 0, "a seat whose time is over");
  assert.equal(count(NONE), 0);
  fc.assert(
    fc.property(fc.subarray([...SEATS, DEPUTY, "stranger"]), (names) => {
      const seats = new Set(
        names
          .map((name) => (name === DEPUTY ? "justice" : name))
          .filter((name) => name !== "stranger"),
      );
      assert.equal(count(ids(...names)), seats.size);
      const missing = missingFor(
        constitution.thresholds.constitutional,
        seatsThatSigned(constitution, ids(...names), NOW),
      );
      assert.equal(missing.length === 0, seats.size >= 3 && seats.has("abroad"));
    }),
  );
});

test("charters that contradict themselves are refused", () => {
  const seatsWith = (
    change: (seat: Constitution["seats"][number]) => object,
  ): Partial<Charter> => ({
    constitution: {
      ...constitution,
      seats: constitution.seats.map((seat) => ({ ...seat, ...change(seat) })),
    },
  });
  const thresholdsWith = (changes: Partial<Constitution["thresholds"]>): Partial<Charter> => ({
    constitution: { ...constitution, thresholds: { ...constitution.thresholds, ...changes } },
  });
  const { destructive, constitutional, ordinary } = constitution.thresholds;
  const [register] = founding.charter.registers;
  const { recovery, ledger, agents } = founding.charter;
  const [agent] = agents;
  const half = Buffer.from(publicKey("pm"), "base64");
  half.set(Buffer.from(publicKey("stranger"), "base64").subarray(32), 32);
  const broken: readonly (readonly [string, Partial<Charter>])[] = [
    [
      "two people with one key",
      seatsWith(({ name }) => ({ people: [{ person: person(name), key: publicKey("pm") }] })),
    ],
    [
      "two people with half a key in common",
      seatsWith(({ name }) => ({
        people: [
          {
            person: person(name),
            key: name === "abroad" ? half.toString("base64") : publicKey(name),
          },
        ],
      })),
    ],
    [
      "a key that is none",
      seatsWith(({ name, people }) => ({
        people: [...people, { person: person(`deputy ${name}`), key: "AAAA" }],
      })),
    ],
    [
      "a key in another spelling",
      seatsWith(({ name }) => ({
        people: [{ person: person(name), key: publicKey(name).replace(/=+$/, "") }],
      })),
    ],
    ["an agent that has a seat's key", { agents: [{ ...agent!, signing: publicKey("pm") }] }],
    [
      "a recovery key that has a seat's key",
      { recovery: { ...recovery, signing: publicKey("pm") } },
    ],
    ["a recovery key that is none", { recovery: { ...recovery, kem: "AAAA" } }],
    [
      "one person on two seats",
      seatsWith(({ name }) => ({ people: [{ person: person("pm"), key: publicKey(name) }] })),
    ],
    ["two seats of one name", seatsWith(() => ({ name: "justice" }))],
    ["an office that nobody can read", seatsWith(() => ({ office: "The\u202e office" }))],
    ["an office with an invisible letter", seatsWith(() => ({ office: "The \u3164office" }))],
    ["an office that closes a quotation", seatsWith(() => ({ office: 'The "office"' }))],
    ["a day that does not exist", { review: "2027-02-30T00:00:00Z" }],
    [
      "more signatures than seats",
      thresholdsWith({ destructive: { ...destructive, signatures: 6 } }),
    ],
    [
      "a group that has too few seats",
      thresholdsWith({
        constitutional: { ...constitutional, groups: [{ jurisdictions: ["LU"], signatures: 2 }] },
      }),
    ],
    [
      "destruction easier than the everyday",
      thresholdsWith({ ordinary: { ...ordinary, signatures: 5, vetoSignatures: 1 } }),
    ],
    [
      "release quicker than the everyday",
      thresholdsWith({ ordinary: { ...ordinary, timelockSeconds: 3 * 86_400 } }),
    ],
    ["a minority that decides", thresholdsWith({ ordinary: { ...ordinary, signatures: 2 } })],
    [
      "a veto that nobody can make",
      thresholdsWith({ destructive: { ...destructive, vetoSignatures: 2 } }),
    ],
    [
      "a register at a site that there is not",
      { registers: [{ ...register!, sites: ["bb", "kn", "xx"] }] },
    ],
    ["a register at one site twice", { registers: [{ ...register!, sites: ["bb", "bb", "kn"] }] }],
    [
      "key holders that are not those of the shares",
      { recovery: { ...recovery, holders: recovery.holders.slice(1) } },
    ],
    [
      "one person with all shares",
      {
        recovery: {
          ...recovery,
          holders: recovery.holders.map((one) => ({ ...one, person: person("pm") })),
        },
      },
    ],
    [
      "shares that are one",
      {
        recovery: {
          ...recovery,
          shares: {
            ...recovery.shares,
            shareCommitments: recovery.shares.shareCommitments.map(() => "44".repeat(32)),
          },
        },
      },
    ],
    ["a founding charter that follows from something", { decision: "88".repeat(32) }],
    ["a later charter that follows from nothing", { version: 2 }],
    ["a term in which nobody writes", { term: 2 }],
    ["a ledger whose keys are another's", { ledger: { ...ledger, origin: "other.example" } }],
    ["a quorum that cannot be met", { ledger: { ...ledger, quorum: 1 } }],
  ];
  for (const [what, changes] of broken) {
    const charter = { ...founding.charter, ...changes };
    const refused = (error: unknown): boolean => isExclaveError(error, "malformed");
    assert.throws(() => writeCharter(charter), refused, what);
    assert.throws(() => readCharter(encodeJson(charter)), refused, what);
  }
});

const enactment = { at: day("06-10"), decision: "88".repeat(32) };

test("orders change what they say and nothing else; the same for everybody", () => {
  const after = applyOrder(founding, admit, enactment);
  assert.equal(after.charter.version, 2);
  assert.equal(after.charter.previous, founding.id);
  assert.equal(after.charter.time, "2026-06-10T12:00:00Z");
  const names = after.charter.sites.map(({ name }) => name);
  assert.deepEqual(names, ["bb", "kn", "lu", "ee", "ca", "pt"]);
  const {
    sites: _1,
    version: _2,
    previous: _3,
    decision: _4,
    time: _5,
    random: _6,
    ...rest
  } = after.charter;
  const { sites: _7, version: _8, time: _9, random: _10, ...before } = founding.charter;
  assert.deepEqual(rest, before);
  assert.equal(applyOrder(founding, admit, enactment).id, after.id);

  const [agent] = founding.charter.agents;
  const revoke = (suspectFrom: string): Order => ({
    kind: "revoke-agent",
    signing: agent!.signing,
    suspectFrom,
  });
  const revoked = applyOrder(founding, revoke("2026-05-01T00:00:00Z"), enactment);
  const again = applyOrder(revoked, revoke("2026-06-01T00:00:00Z"), enactment);
  assert.equal(again.charter.agents[0]?.suspectFrom, "2026-05-01T00:00:00Z", "it stays suspect");

  const unfit: readonly (readonly [string, Order, StoredCharter?])[] = [
    ["a site that is there", { kind: "admit-site", site: founding.charter.sites[0]! }],
    ["a site that is not there", { kind: "expel-site", site: "xx" }],
    ["a site that a register is kept at", { kind: "expel-site", site: "bb" }],
    ["a register that there is not", { kind: "retire-register", register: "12".repeat(16) }],
    [
      "an agent that there is not",
      { ...revoke("2026-01-01T00:00:00Z"), signing: publicKey("stranger") } as Order,
    ],
    ["a revocation in time to come", revoke("2027-01-01T00:00:00Z")],
    [
      "a term that is not the next",
      { kind: "activate", agent: { ...agent!, signing: publicKey("new"), term: 3 } },
    ],
    ["a release to nobody", { kind: "release", register: REGISTER, epochs: [1], to: "reader" }],
    ["an amendment of nothing", { kind: "amend" }],
    ["a threshold that can never be met", amend({ freezeSignatures: 6 })],
    ["an agent forgotten", { kind: "amend", agents: [{ ...agent!, signing: publicKey("new") }] }],
    ["an agent whose revocation is undone", { kind: "amend", agents: [agent!] }, revoked],
    [
      "shares of an older set",
      {
        kind: "amend",
        recovery: {
          ...founding.charter.recovery,
          shares: { ...founding.charter.recovery.shares, generation: 1 },
        },
      },
      writeCharter({
        ...founding.charter,
        recovery: {
          ...founding.charter.recovery,
          shares: { ...founding.charter.recovery.shares, generation: 2 },
        },
      }),
    ],
  ];
  for (const [what, order, before = founding] of unfit) {
    const refused = (error: unknown): boolean => isExclaveError(error, "usage");
    assert.throws(() => applyOrder(before, order, enactment), refused, what);
    const decision = signed(decisionOf(order, { charter: before.id }), [...SEATS]);
    standing(seenOn(decision, "06-01", { history: [before] }), "void", /does not fit/);
  }
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

test("what takes from a register, or sets years aside, is no everyday matter", () => {
  const [register] = founding.charter.registers;
  const define = (changes: Partial<typeof register>): Order => ({
    kind: "define-register",
    register: { ...register!, ...changes },
  });
  const atHome = ["pm", "justice", "interior"];
  const everyday: readonly Order[] = [
    define({ id: "12".repeat(16) }),
    define({ sites: ["bb", "kn", "lu", "ee"] }),
    define({ details: "79".repeat(32) }),
    { kind: "revoke-agent", signing: publicKey("agent"), suspectFrom: "2026-05-01T00:00:00Z" },
  ];
  for (const order of everyday)
    standing(seenOn(signed(decisionOf(order), atHome), "06-09"), "ripe");
  const grave: readonly Order[] = [
    define({ sites: [] }),
    define({ sites: ["bb", "kn", "ca"] }),
    define({ k: 1 }),
    define({ survive: 0 }),
    define({ epochSeconds: 91 * 86_400 }),
    define({ sensitivity: "public" }),
    { kind: "revoke-agent", signing: publicKey("agent"), suspectFrom: "2026-01-01T00:00:00Z" },
  ];
  for (const order of grave) {
    standing(seenOn(signed(decisionOf(order), atHome), "06-09"), "unsigned", /LU or EE/);
    standing(seenOn(signed(decisionOf(order), HOME_AND_ABROAD), "06-09"), "waiting");
  }
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

test("signatures from several sticks come together; what says something else, or is poisoned, does not", () => {
  const decision = decisionOf(expel);
  const alone = HOME_AND_ABROAD.map((name) => signed(decision, [name]));
  const trusted = keysFor([founding.charter]);
  const merged = openPaper("decision", mergePapers(alone), STATE, trusted);
  assert.equal(merged.keyIds.length, 3);
  assert.equal(merged.id, alone[0]!.id);
  standing(assess(merged, facts()), "signed");
  const refusedUse = (error: unknown): boolean => isExclaveError(error, "usage");
  assert.throws(() => mergePapers([alone[0]!, signed(decisionOf(expel), ["justice"])]), refusedUse);
  assert.throws(() => addSignature(alone[0]!, keyOf("pm")), refusedUse);

  const envelope = JSON.parse(Buffer.from(merged.envelope).toString()) as {
    signatures: { keyid: string; sig: string }[];
  };
  const refused = (change: (one: typeof envelope) => void, code: "altered" | "malformed"): void => {
    const copy = structuredClone(envelope);
    change(copy);
    assert.throws(
      () => openPaper("decision", utf8(JSON.stringify(copy)), STATE, trusted),
      (error) => isExclaveError(error, code),
    );
  };
  refused(({ signatures }) => {
    const [a, b] = signatures.map(({ keyid }) => keyid);
    [signatures[0]!.keyid, signatures[1]!.keyid] = [b!, a!];
  }, "altered");
  refused(({ signatures }) => {
    signatures.push(signatures[0]!);
  }, "malformed");
  refused(({ signatures }) => {
    // One of the two signatures under one key id: its second half is another's.
    const halves = Buffer.from(signatures[0]!.sig, "base64");
    halves.set(Buffer.from(signatures[1]!.sig, "base64").subarray(64), 64);
    signatures[0]!.sig = halves.toString("base64");
  }, "altered");
});

test("orders of unknown kinds, and another State's decisions, are refused", () => {
  const trusted = keysFor([founding.charter]);
  const key = keyOf("pm");
  const refused = (code: Parameters<typeof isExclaveError>[1], work: () => unknown): void =>
    assert.throws(work, (error) => isExclaveError(error, code));
  const unknown = { ...decisionOf(expel), order: { kind: "expel-everybody" } };
  refused("usage", () => signPaper(unknown as never, key));
  const foreign = signPaper(decisionOf(expel, { state: "cd".repeat(32) }), key);
  refused("foreign-state", () => openPaper("decision", foreign, STATE, trusted));
  const stranger = signPaper(decisionOf(expel), keyOf("stranger"));
  refused("untrusted", () => openPaper("decision", stranger, STATE, trusted));
  const asVeto = signPaper(decisionOf(expel), key);
  refused("malformed", () => openPaper("veto", asVeto, STATE, trusted));
});

test("a person who is to sign reads a sentence for every kind of order, and who must sign, and when", () => {
  const [register] = founding.charter.registers;
  const orders: Readonly<Record<Order["kind"], readonly [Order, RegExp]>> = {
    amend: [
      amend({ freezeSignatures: 3 }),
      /^Amend the charter of Belize: seats, thresholds and delays\.$/,
    ],
    "admit-site": [admit, /^Admit the site pt in Portugal \(PT\), run by Operator pt/],
    "expel-site": [expel, /^Expel the site ca in Canada \(CA\)/],
    "define-register": [
      { kind: "define-register", register: register! },
      /^Keep the register "births" \(confidential\) at bb, kn and lu: any 2 of these 3.* last 90 days/,
    ],
    "retire-register": [
      { kind: "retire-register", register: REGISTER },
      /^Stop protecting .*births/,
    ],
    "rotate-epoch": [{ kind: "rotate-epoch", register: REGISTER }, /^Begin a new epoch/],
    "revoke-agent": [
      { kind: "revoke-agent", signing: publicKey("agent"), suspectFrom: "2026-05-01T00:00:00Z" },
      /with the key SHA-256 [0-9a-f]{64}; ignore what it signed since 2026-05-01/,
    ],
    release: [
      { kind: "release", register: REGISTER, epochs: [1, 2], to: "reader" },
      /^Release the 2 epochs 1, 2 .* reader key/,
    ],
    destroy: [destroy, /^DESTROY epoch 65536 .*cannot be undone/],
    activate: [
      { kind: "activate", agent: { ...founding.charter.agents[0]!, term: 2 } },
      /with the key SHA-256 [0-9a-f]{64}, write .* in term 2/,
    ],
  };
  const name = (id: string): string | undefined => (id === REGISTER ? "births" : undefined);
  for (const [order, says] of Object.values(orders)) {
    assert.match(sentenceOf(order, founding.charter, name), says);
  }
  const emptied: Order = { kind: "define-register", register: { ...register!, sites: [] } };
  assert.match(
    sentenceOf(emptied, founding.charter, name),
    /^Take all sites from .*nothing protects it any more/,
  );
  const terms = (order: Order): string =>
    termsOf(
      decisionOf(order),
      founding.charter,
      applyOrder(founding, order, enactment).charter,
      NOW,
    ).join(" ");
  assert.match(
    terms(expel),
    /3 of 5 seats, 1 of them from Luxembourg \(LU\) or Estonia \(EE\).* 7 days after .* 2 seats veto/,
  );
  assert.match(terms(destroy), /announces, and does nothing else/);
  const seven = Object.fromEntries(
    Object.entries(constitution.thresholds).map(([name, one]) => [
      name,
      { ...one, signatures: 5, vetoSignatures: 1 },
    ]),
  ) as Constitution["thresholds"];
  assert.match(
    terms(amend({ thresholds: seven })),
    /From then on destructive decisions need 5 of 5 seats and wait 30 days/,
  );
});

test("a diff shows every change: of keys, of order, of lists that become empty, of people", () => {
  const differences = (order: Order) =>
    differencesOf(founding.charter, applyOrder(founding, order, enactment).charter);
  assert.deepEqual(differences(expel), [
    { path: "sites (in order)", before: "bb, kn, lu, ee, ca", after: "bb, kn, lu, ee" },
    { path: "sites[ca].name", before: "ca" },
    { path: "sites[ca].country", before: "CA" },
    { path: "sites[ca].operator", before: "Operator ca" },
    { path: "sites[ca].hazardZone", before: "Zone ca" },
  ]);
  const [reversed] = differences(amend({ seats: constitution.seats.toReversed() }));
  assert.match(reversed!.path, /seats \(in order\)/);
  const swapped = constitution.seats.map((seat) => ({ ...seat, people: seat.people.toReversed() }));
  assert.ok(
    differences(amend({ seats: swapped })).length > 0,
    "who holds a seat, and who is deputy",
  );
  const [agent] = founding.charter.agents;
  const limited: Order = { kind: "amend", agents: [{ ...agent!, registers: [REGISTER] }] };
  const before = applyOrder(founding, limited, enactment);
  const opened = applyOrder(before, { kind: "amend", agents: [agent!] }, enactment);
  assert.ok(
    differencesOf(before.charter, opened.charter).some(
      ({ path, after }) => path.includes("registers") && after === "none",
    ),
    "an agent that may write all registers",
  );
  const seats = constitution.seats.map((seat) =>
    seat.name === "pm"
      ? { ...seat, people: [{ person: person("pm"), key: publicKey("new") }] }
      : seat,
  );
  const [only, ...others] = differences(amend({ seats }));
  assert.equal(others.length, 0);
  assert.match(only!.path, /^constitution\.seats\[pm\]\.people\[1\]\.key$/);
  assert.match(`${only!.before} ${only!.after}`, /^SHA-256 [0-9a-f]{64} SHA-256 [0-9a-f]{64}$/);
  assert.notEqual(only!.before, only!.after);
});

test("every preset makes a sound constitution, and from each the next is one decision away", () => {
  const abroad = constitution.seats.map((seat) =>
    seat.name === "opposition" ? { ...seat, jurisdiction: "EE" } : seat,
  );
  const presets = (["trial", "pilot", "state"] as const).map((name) =>
    constitutionOf(name, abroad.slice(-seatsOf(name)), "BZ"),
  );
  let current = writeCharter({ ...founding.charter, constitution: presets[0]! });
  for (const next of presets.slice(1)) {
    current = applyOrder(current, { kind: "amend", constitution: next }, enactment);
    assert.deepEqual(current.charter.constitution, next);
  }
  const refused = (error: unknown): boolean => isExclaveError(error, "usage");
  assert.throws(() => constitutionOf("state", abroad.slice(1), "BZ"), refused);
  assert.throws(() => constitutionOf("state", constitution.seats, "BZ"), /2 seats abroad/);
});
