/** Charters and decisions: what counts, and a table of attacks, each refused in its own way. */
import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { test } from "node:test";
import fc from "fast-check";
import { toBase64, toHex, utf8 } from "../crypto/bytes.ts";
import { sha256 } from "../crypto/hash.ts";
import { kemKeyPairFromSeed } from "../crypto/kem.ts";
import { type SigningKey, signingKeyFromSeed } from "../crypto/signing.ts";
import { encodeJson } from "../crypto/strict-json.ts";
import { isExclaveError } from "../errors.ts";
import { assess, type Facts, keysFor, type Standing } from "./assess.ts";
import {
  type Charter,
  type Constitution,
  readCharter,
  type StoredCharter,
  type Threshold,
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
  type Veto,
} from "./decision.ts";
import { applyOrder, type Order } from "./orders.ts";
import { constitutionOf, seatsOf } from "./presets.ts";
import { differencesOf, sentenceOf, termsOf } from "./sentences.ts";
import { missingFor, seatsThatSigned } from "./thresholds.ts";

const STATE = "ab".repeat(32);
const random = (): string => toHex(randomBytes(16));
const person = (name: string): string => toHex(sha256(utf8(`person ${name}`)));
const keyOf = (name: string): SigningKey => signingKeyFromSeed(sha256(utf8(`key of ${name}`)));
const publicKey = (name: string): string => toBase64(keyOf(name).publicKey.bytes);

const SEATS = ["pm", "justice", "interior", "opposition", "abroad"] as const;
const DEPUTY = "deputy-justice";
const at = (text: string): Date => new Date(`2026-${text}Z`);
const NOW = at("06-10T12:00:00");

const constitution: Constitution = {
  preset: "state",
  seats: SEATS.map((name) => ({
    name,
    office: `The office of ${name}`,
    institution: "Government",
    jurisdiction: name === "abroad" ? "LU" : "BZ",
    until: "2030-01-01T00:00:00Z",
    people: [
      { person: person(name), key: publicKey(name) },
      ...(name === "justice" ? [{ person: person(DEPUTY), key: publicKey(DEPUTY) }] : []),
    ],
  })),
  thresholds: {
    ordinary: { signatures: 2, groups: [], timelockSeconds: 0 },
    constitutional: {
      signatures: 3,
      groups: [{ jurisdictions: ["LU", "EE"], signatures: 1 }],
      timelockSeconds: 7 * 86_400,
    },
    destructive: { signatures: 4, groups: [], timelockSeconds: 30 * 86_400 },
    release: { signatures: 3, groups: [], timelockSeconds: 2 * 86_400 },
  },
  vetoSignatures: 2,
  freezeSignatures: 2,
};

const REGISTER = "11".repeat(16);
const kem = toBase64(kemKeyPairFromSeed(new Uint8Array(32)).publicKey);
const founding = writeCharter({
  kind: "charter",
  format: 2,
  version: 1,
  name: "Belize",
  time: "2026-01-01T00:00:00Z",
  random: "00".repeat(16),
  term: 1,
  review: "2027-01-01T00:00:00Z",
  crypto: "exclave/v1",
  constitution,
  recovery: {
    kem,
    signing: publicKey("recovery"),
    shares: {
      setId: "22".repeat(16),
      generation: 1,
      k: 2,
      n: 3,
      secretCommitment: "33".repeat(32),
      shareCommitments: ["44", "55", "66"].map((byte) => byte.repeat(32)),
    },
    holders: [0, 1, 2].map((index) => ({
      index,
      office: `Key holder ${index}`,
      jurisdiction: "BZ",
      person: person(`holder ${index}`),
    })),
  },
  agents: [
    {
      signing: publicKey("agent"),
      term: 1,
      registers: [],
      quotaBytesPerDay: 1e12,
      quotaObjectsPerDay: 1e6,
    },
  ],
  sites: ["bb", "kn", "lu", "ee", "ca"].map((name) => ({
    name,
    country: name.toUpperCase(),
    operator: `Operator ${name}`,
    hazardZone: `Zone ${name}`,
  })),
  registers: [
    {
      id: REGISTER,
      sites: ["bb", "kn", "lu"],
      k: 2,
      survive: 1,
      epochSeconds: 90 * 86_400,
      sensitivity: "confidential",
    },
  ],
  ledger: {
    origin: "exclave.example/belize/1",
    generation: 1,
    keys: ["log+00000000+ed25519", "log+00000000+mldsa44"],
    witnesses: [],
    quorum: 0,
  },
  retentionSeconds: 0,
  releaseDelaySeconds: 86_400,
  annex: "77".repeat(32),
});

const decisionOf = (order: Order, changes: Partial<Decision> = {}): Decision => ({
  kind: "decision",
  format: 1,
  state: STATE,
  order,
  reason: "Because it is needed",
  citation: "Act 7 of 2026, section 3",
  charter: founding.id,
  notBefore: "2026-01-01T00:00:00Z",
  notAfter: "2026-12-31T00:00:00Z",
  random: random(),
  ...changes,
});

/** The decision with the signatures of these people. */
function signed(
  decision: Decision,
  names: readonly string[],
  charters: readonly Charter[] = [founding.charter],
): OpenedPaper<"decision"> {
  const trusted = keysFor(charters);
  const [first, ...others] = names.map(keyOf);
  let opened = openPaper("decision", signPaper(decision, first!), STATE, trusted);
  for (const key of others) {
    opened = openPaper("decision", addSignature(opened, key), STATE, trusted);
  }
  return opened;
}

const veto = (decision: string, name: string, changes: Partial<Veto> = {}): OpenedPaper<"veto"> =>
  openPaper(
    "veto",
    signPaper(
      {
        kind: "veto",
        format: 1,
        state: STATE,
        decision,
        reason: "No",
        time: "2026-06-02T00:00:00Z",
        random: random(),
        ...changes,
      },
      keyOf(name),
    ),
    STATE,
    keysFor([founding.charter]),
  );

function freeze(names: readonly string[], from: string, until: string): OpenedPaper<"freeze"> {
  const trusted = keysFor([founding.charter]);
  const paper: Freeze = {
    kind: "freeze",
    format: 1,
    state: STATE,
    from: `2026-${from}T00:00:00Z`,
    until: `2026-${until}T00:00:00Z`,
    reason: "Something is wrong",
    random: random(),
  };
  let opened = openPaper("freeze", signPaper(paper, keyOf(names[0]!)), STATE, trusted);
  for (const name of names.slice(1)) {
    opened = openPaper("freeze", addSignature(opened, keyOf(name)), STATE, trusted);
  }
  return opened;
}

const facts = (changes: Partial<Facts> = {}): Facts => ({
  current: founding,
  charters: new Map([[founding.id, founding]]),
  vetoes: [],
  freezes: [],
  enacted: new Map(),
  now: NOW,
  ...changes,
});
const seen = (text: string, changes: Partial<Facts> = {}): Facts =>
  facts({ seenAt: at(`${text}T12:00:00`), ...changes });

const admit: Order & { readonly kind: "admit-site" } = {
  kind: "admit-site",
  site: { name: "pt", country: "PT", operator: "Operator pt", hazardZone: "Zone pt" },
};
const expel: Order = { kind: "expel-site", site: "ca" };
const destroy: Order = { kind: "destroy", register: REGISTER, epochs: [65_536] };
const amend = (changes: Partial<Constitution>): Order => ({
  kind: "amend",
  constitution: { ...constitution, ...changes },
});
const threshold = (changes: Partial<Threshold>): Threshold => ({
  ...constitution.thresholds.ordinary,
  ...changes,
});

function standing(actual: Standing, status: Standing["status"], says?: RegExp): void {
  assert.equal(actual.status, status, JSON.stringify(actual));
  if (says) assert.match(JSON.stringify(actual), says);
}

test("a decision waits for its signatures, the ledger and its timelock, and then is ripe", () => {
  standing(assess(signed(decisionOf(expel), ["pm", "abroad"]), facts()), "unsigned", /2 of the 3/);
  const three = signed(decisionOf(expel), ["pm", "justice", "abroad"]);
  standing(assess(three, facts()), "signed");
  standing(assess(three, seen("06-09")), "waiting", /2026-06-16T12:00:00/);
  standing(assess(three, seen("06-03")), "ripe");
  standing(assess(three, seen("06-04")), "waiting");
  const enacted = new Map([[three.id, { decision: three.paper, at: at("06-11T00:00:00") }]]);
  standing(assess(three, seen("06-03", { enacted })), "enacted");
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
        constitution,
        "constitutional",
        seatsThatSigned(constitution, ids(...names), NOW),
      );
      assert.equal(missing.length === 0, seats.size >= 3 && seats.has("abroad"));
    }),
  );
});

test("charters that contradict themselves are refused", () => {
  const broken: readonly (readonly [string, Partial<Charter>])[] = [
    [
      "two people with one key",
      {
        constitution: {
          ...constitution,
          seats: constitution.seats.map((seat) => ({
            ...seat,
            people: [{ person: person(seat.name), key: publicKey("pm") }],
          })),
        },
      },
    ],
    [
      "one person on two seats",
      {
        constitution: {
          ...constitution,
          seats: constitution.seats.map((seat) => ({
            ...seat,
            people: [{ person: person("pm"), key: publicKey(seat.name) }],
          })),
        },
      },
    ],
    [
      "two seats of one name",
      {
        constitution: {
          ...constitution,
          seats: [...constitution.seats.slice(1), { ...constitution.seats[0]!, name: "justice" }],
        },
      },
    ],
    [
      "more signatures than seats",
      {
        constitution: {
          ...constitution,
          thresholds: { ...constitution.thresholds, destructive: threshold({ signatures: 6 }) },
        },
      },
    ],
    [
      "a group that has too few seats",
      {
        constitution: {
          ...constitution,
          thresholds: {
            ...constitution.thresholds,
            constitutional: threshold({
              signatures: 3,
              groups: [{ jurisdictions: ["LU"], signatures: 2 }],
            }),
          },
        },
      },
    ],
    [
      "destruction easier than the everyday",
      {
        constitution: {
          ...constitution,
          thresholds: { ...constitution.thresholds, destructive: threshold({ signatures: 1 }) },
        },
      },
    ],
    [
      "a register at a site that there is not",
      { registers: [{ ...founding.charter.registers[0]!, sites: ["bb", "kn", "xx"] }] },
    ],
    [
      "a register at one site twice",
      { registers: [{ ...founding.charter.registers[0]!, sites: ["bb", "bb", "kn"] }] },
    ],
    [
      "key holders that are not those of the shares",
      {
        recovery: {
          ...founding.charter.recovery,
          holders: founding.charter.recovery.holders.slice(1),
        },
      },
    ],
    ["a founding charter that follows from something", { decision: "88".repeat(32) }],
    ["a later charter that follows from nothing", { version: 2 }],
    ["a quorum that cannot be met", { ledger: { ...founding.charter.ledger, quorum: 1 } }],
  ];
  for (const [what, changes] of broken) {
    const charter = { ...founding.charter, ...changes };
    assert.throws(
      () => writeCharter(charter),
      (error) => isExclaveError(error, "malformed"),
      what,
    );
    assert.throws(
      () => readCharter(encodeJson(charter)),
      (error) => isExclaveError(error, "malformed"),
      what,
    );
  }
});

test("orders change what they say and nothing else; the same for everybody", () => {
  const enactment = {
    time: "2026-06-10T12:00:00Z",
    random: "99".repeat(16),
    decision: "88".repeat(32),
  };
  const after = applyOrder(founding, admit, enactment);
  assert.equal(after.charter.version, 2);
  assert.equal(after.charter.previous, founding.id);
  assert.deepEqual(
    after.charter.sites.map(({ name }) => name),
    ["bb", "kn", "lu", "ee", "ca", "pt"],
  );
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

  const unfit: readonly (readonly [string, Order])[] = [
    ["a site that is there", { kind: "admit-site", site: founding.charter.sites[0]! }],
    ["a site that is not there", { kind: "expel-site", site: "xx" }],
    ["a site that a register is kept at", { kind: "expel-site", site: "bb" }],
    ["a register that there is not", { kind: "retire-register", register: "12".repeat(16) }],
    [
      "an agent that there is not",
      { kind: "revoke-agent", signing: publicKey("stranger"), suspectFrom: "2026-01-01T00:00:00Z" },
    ],
    [
      "a term that is not the next",
      {
        kind: "activate",
        agent: { ...founding.charter.agents[0]!, signing: publicKey("new"), term: 3 },
      },
    ],
    ["an amendment of nothing", { kind: "amend" }],
    ["a threshold that can never be met", amend({ vetoSignatures: 6 })],
  ];
  for (const [what, order] of unfit) {
    assert.throws(
      () => applyOrder(founding, order, enactment),
      (error) => isExclaveError(error, "usage"),
      what,
    );
    standing(assess(signed(decisionOf(order), [...SEATS]), seen("06-01")), "void", /does not fit/);
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
  const after = applyOrder(founding, order, {
    time: founding.charter.time,
    random: random(),
    decision: "88".repeat(32),
  });
  const both = [founding.charter, after.charter];
  const before = signed(decisionOf(order), ["pm", "justice", "abroad"], both);
  standing(assess(before, facts()), "unsigned", /under the charter that would follow/);
  const newOnly = signed(decisionOf(order), ["new-1", "new-2", "abroad"], both);
  standing(assess(newOnly, facts()), "unsigned");
  const all = signed(decisionOf(order), ["pm", "justice", "abroad", "new-1", "new-2"], both);
  standing(assess(all, facts()), "signed");
});

test("a decision made under other seats is void, one made before other sites is not", () => {
  const enactment = { time: "2026-06-01T00:00:00Z", random: random(), decision: "88".repeat(32) };
  const expelling = signed(decisionOf(expel), ["pm", "justice", "abroad"]);
  const under = (current: StoredCharter): Facts =>
    seen("06-01", { current, charters: new Map([founding, current].map((one) => [one.id, one])) });
  standing(assess(expelling, under(applyOrder(founding, admit, enactment))), "ripe");
  standing(
    assess(expelling, under(applyOrder(founding, amend({ vetoSignatures: 3 }), enactment))),
    "void",
    /made anew/,
  );
  const stranger = signed(decisionOf(expel, { charter: "99".repeat(32) }), [
    "pm",
    "justice",
    "abroad",
  ]);
  standing(assess(stranger, seen("06-01")), "void", /never was in force/);
});

test("a seat that ended before the ledger saw the decision does not count", () => {
  const seats = constitution.seats.map((seat) =>
    seat.name === "abroad" ? { ...seat, until: "2026-06-05T00:00:00Z" } : seat,
  );
  const current = writeCharter({ ...founding.charter, constitution: { ...constitution, seats } });
  const decision = signed(decisionOf(expel, { charter: current.id }), ["pm", "justice", "abroad"]);
  const charters = new Map([[current.id, current]]);
  standing(assess(decision, seen("06-02", { current, charters })), "ripe");
  standing(assess(decision, seen("06-06", { current, charters })), "unsigned");
});

test("outside of its validity a decision is void", () => {
  const names = ["pm", "justice", "abroad"];
  const late = signed(decisionOf(expel, { notAfter: "2026-06-01T00:00:00Z" }), names);
  standing(assess(late, seen("06-02")), "void", /time is over/);
  standing(assess(late, facts()), "void", /time is over/);
  const early = signed(decisionOf(expel, { notBefore: "2026-06-03T00:00:00Z" }), names);
  standing(assess(early, seen("06-01")), "void", /before its time/);
});

test("enough seats veto a decision, a few do not, and who is named in it cannot", () => {
  const expelling = signed(decisionOf(expel), ["pm", "justice", "abroad"]);
  const vetoes = (...names: string[]) => names.map((name) => veto(expelling.id, name));
  standing(assess(expelling, seen("06-01", { vetoes: vetoes("interior") })), "ripe");
  standing(
    assess(expelling, seen("06-01", { vetoes: vetoes("interior", "opposition") })),
    "void",
    /interior, opposition/,
  );
  standing(assess(expelling, seen("06-01", { vetoes: vetoes("justice", DEPUTY) })), "ripe");
  standing(assess(expelling, seen("06-01", { vetoes: vetoes("pm", "pm") })), "ripe");
  const other = [veto("88".repeat(32), "interior"), veto("88".repeat(32), "opposition")];
  standing(assess(expelling, seen("06-01", { vetoes: other })), "ripe");

  const removing = amend({
    seats: constitution.seats.map((seat) =>
      seat.name === "interior" || seat.name === "opposition"
        ? {
            ...seat,
            people: [{ person: person(`next ${seat.name}`), key: publicKey(`next ${seat.name}`) }],
          }
        : seat,
    ),
  });
  const amendment = signed(decisionOf(removing), ["pm", "justice", "abroad"]);
  const named = ["interior", "opposition"].map((name) => veto(amendment.id, name));
  standing(assess(amendment, seen("06-01", { vetoes: named })), "ripe");
  const unnamed = ["pm", "abroad"].map((name) => veto(amendment.id, name));
  standing(assess(amendment, seen("06-01", { vetoes: unnamed })), "void");
});

test("what destroys is announced first, and carried out exactly as announced", () => {
  const names = ["pm", "justice", "interior", "abroad"];
  const announcement = signed(decisionOf(destroy), names);
  standing(assess(signed(decisionOf(destroy), names.slice(1)), facts()), "unsigned");
  standing(assess(announcement, seen("06-01")), "waiting", /2026-07-01/);
  const second = signed(decisionOf(destroy, { carriesOut: announcement.id }), names);
  standing(assess(second, seen("06-01")), "void", /not announced/);
  const enacted = new Map([
    [announcement.id, { decision: announcement.paper, at: at("04-01T00:00:00") }],
    [second.id.replace(/./g, "0"), { decision: second.paper, at: at("04-02T00:00:00") }],
  ]);
  standing(assess(second, seen("05-01", { enacted })), "ripe");
  const more: Order = { ...destroy, epochs: [65_536, 65_537] };
  standing(
    assess(
      signed(decisionOf(more, { carriesOut: announcement.id }), names),
      seen("05-01", { enacted }),
    ),
    "void",
    /something else/,
  );
  const when = { time: "2026-06-10T12:00:00Z", random: random() };
  const retire: Order = { kind: "retire-register", register: REGISTER };
  const retiring = signed(decisionOf(retire), names);
  const announced = applyDecision(founding, retiring, when);
  assert.deepEqual(announced.charter.registers, founding.charter.registers);
  assert.equal(announced.charter.decision, retiring.id);
  const carried = signed(decisionOf(retire, { carriesOut: retiring.id }), names);
  assert.deepEqual(applyDecision(announced, carried, when).charter.registers, []);
  const chained = signed(decisionOf(destroy, { carriesOut: "0".repeat(64) }), names);
  standing(assess(chained, seen("05-01", { enacted })), "void");
  const mild = signed(decisionOf(expel, { carriesOut: announcement.id }), names);
  standing(assess(mild, seen("05-01", { enacted })), "void", /two steps/);
});

test("two seats freeze for at most 14 days, the same people not again, and never what keeps protection going", () => {
  const expelling = signed(decisionOf(expel), ["pm", "justice", "abroad"]);
  const under = (...freezes: OpenedPaper<"freeze">[]): Standing =>
    assess(expelling, seen("06-01", { freezes }));
  standing(under(freeze(["interior", "opposition"], "06-05", "06-19")), "frozen", /06-19/);
  standing(under(freeze(["interior"], "06-05", "06-19")), "ripe");
  standing(under(freeze(["justice", DEPUTY], "06-05", "06-19")), "ripe");
  standing(under(freeze(["interior", "opposition"], "05-26", "06-09")), "ripe");
  const first = freeze(["interior", "opposition"], "05-26", "06-09");
  standing(under(first, freeze(["interior", "opposition"], "06-08", "06-20")), "ripe");
  standing(under(first, freeze(["interior", "pm"], "06-08", "06-20")), "ripe");
  standing(under(first, freeze(["pm", "abroad"], "06-08", "06-20")), "frozen");
  assert.throws(
    () => freeze(["pm", "abroad"], "06-01", "06-16"),
    (error) => isExclaveError(error, "usage"),
  );
  const revoking = signed(
    decisionOf({
      kind: "revoke-agent",
      signing: publicKey("agent"),
      suspectFrom: "2026-05-01T00:00:00Z",
    }),
    ["pm", "justice"],
  );
  const freezes = [freeze(["interior", "opposition"], "06-05", "06-19")];
  standing(assess(revoking, seen("06-09", { freezes })), "ripe");
});

test("signatures from several sticks come together; what says something else, or is poisoned, does not", () => {
  const decision = decisionOf(expel);
  const alone = ["pm", "justice", "abroad"].map((name) => signed(decision, [name]));
  const trusted = keysFor([founding.charter]);
  const merged = openPaper("decision", mergePapers(alone), STATE, trusted);
  assert.equal(merged.keyIds.length, 3);
  assert.equal(merged.id, alone[0]!.id);
  standing(assess(merged, facts()), "signed");
  assert.throws(
    () => mergePapers([alone[0]!, signed(decisionOf(expel), ["justice"])]),
    (error) => isExclaveError(error, "usage"),
  );
  assert.throws(
    () => addSignature(alone[0]!, keyOf("pm")),
    (error) => isExclaveError(error, "usage"),
  );

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
    [signatures[0]!.keyid, signatures[1]!.keyid] = [signatures[1]!.keyid, signatures[0]!.keyid];
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

test("orders of unknown kinds, twice the same member, and another State's decisions are refused", () => {
  const trusted = keysFor([founding.charter]);
  const key = keyOf("pm");
  const unknown = { ...decisionOf(expel), order: { kind: "expel-everybody" } };
  assert.throws(
    () => signPaper(unknown as never, key),
    (error) => isExclaveError(error, "usage"),
  );
  const foreign = signPaper(decisionOf(expel, { state: "cd".repeat(32) }), key);
  assert.throws(
    () => openPaper("decision", foreign, STATE, trusted),
    (error) => isExclaveError(error, "foreign-state"),
  );
  const stranger = signPaper(decisionOf(expel), keyOf("stranger"));
  assert.throws(
    () => openPaper("decision", stranger, STATE, trusted),
    (error) => isExclaveError(error, "untrusted"),
  );
  const asVeto = signPaper(decisionOf(expel), key);
  assert.throws(
    () => openPaper("veto", asVeto, STATE, trusted),
    (error) => isExclaveError(error, "malformed"),
  );
});

test("a person who is to sign reads a sentence for every kind of order, and who must sign, and when", () => {
  const orders: Readonly<Record<Order["kind"], readonly [Order, RegExp]>> = {
    amend: [
      amend({ vetoSignatures: 3 }),
      /^Amend the charter of Belize: seats, thresholds and delays\.$/,
    ],
    "admit-site": [admit, /^Admit the site pt in Portugal \(PT\), run by Operator pt/],
    "expel-site": [expel, /^Expel the site ca in Canada \(CA\)/],
    "define-register": [
      { kind: "define-register", register: founding.charter.registers[0]!, annex: "77".repeat(32) },
      /^Keep the register "births" at bb, kn and lu: any 2 of these 3/,
    ],
    "retire-register": [
      { kind: "retire-register", register: REGISTER },
      /^Stop protecting .*births/,
    ],
    "rotate-epoch": [{ kind: "rotate-epoch", register: REGISTER }, /^Begin a new epoch/],
    "revoke-agent": [
      { kind: "revoke-agent", signing: publicKey("agent"), suspectFrom: "2026-05-01T00:00:00Z" },
      /with the key #[0-9a-f]{16}; ignore what it signed since 2026-05-01/,
    ],
    release: [
      { kind: "release", register: REGISTER, epochs: [1, 2], to: "reader" },
      /^Release the 2 epochs 1, 2 .* reader key/,
    ],
    destroy: [destroy, /^DESTROY epoch 65536 .*cannot be undone/],
    activate: [
      { kind: "activate", agent: { ...founding.charter.agents[0]!, term: 2 } },
      /in term 2/,
    ],
  };
  const name = (id: string): string | undefined => (id === REGISTER ? "births" : undefined);
  for (const [order, says] of Object.values(orders))
    assert.match(sentenceOf(order, founding.charter, name), says);
  const hostile: Order = { ...admit, site: { ...admit.site, operator: "A\u001b[2J\u202eB" } };
  assert.ok(!/[\u001b\u202e]/.test(sentenceOf(hostile, founding.charter)));
  const terms = termsOf(decisionOf(expel), founding.charter).join(" ");
  assert.match(
    terms,
    /3 of 5 seats, 1 of them from Luxembourg \(LU\) or Estonia \(EE\).* 7 days after .* 2 seats veto/,
  );
  assert.match(
    termsOf(decisionOf(destroy), founding.charter).join(" "),
    /announces, and does nothing else/,
  );
});

test("a diff shows every change, also of a key that begins as the one before", () => {
  const when = { time: "2026-06-10T12:00:00Z", random: random() };
  const differences = (order: Order) =>
    differencesOf(
      founding.charter,
      applyOrder(founding, order, { ...when, decision: "88".repeat(32) }).charter,
    );
  assert.deepEqual(differences(expel), [
    { path: "sites[ca].name", before: "ca" },
    { path: "sites[ca].country", before: "CA" },
    { path: "sites[ca].operator", before: "Operator ca" },
    { path: "sites[ca].hazardZone", before: "Zone ca" },
  ]);
  assert.deepEqual(differences(amend({ seats: constitution.seats.toReversed() })), []);
  // The same Ed25519 half, another ML-DSA half.
  const mixed = Buffer.from(publicKey("pm"), "base64");
  mixed.set(Buffer.from(publicKey("stranger"), "base64").subarray(32), 32);
  const seats = constitution.seats.map((seat) =>
    seat.name === "pm"
      ? { ...seat, people: [{ person: person("pm"), key: mixed.toString("base64") }] }
      : seat,
  );
  const [only, ...others] = differences(amend({ seats }));
  assert.equal(others.length, 0);
  assert.match(only!.path, /^constitution\.seats\[pm\]\.people\[.*\]\.key$/);
  assert.notEqual(only!.before, only!.after);
});

test("every preset makes a sound constitution, and from each the next is one decision away", () => {
  const seatsFor = (count: number) => constitution.seats.slice(-count);
  const presets = (["trial", "pilot", "state"] as const).map((name) =>
    constitutionOf(name, seatsFor(seatsOf(name)), "BZ"),
  );
  const when = { time: "2026-06-10T12:00:00Z", random: random(), decision: "88".repeat(32) };
  let current = writeCharter({ ...founding.charter, constitution: presets[0]! });
  for (const next of presets.slice(1)) {
    current = applyOrder(current, { kind: "amend", constitution: next }, when);
    assert.deepEqual(current.charter.constitution, next);
  }
  assert.throws(
    () => constitutionOf("state", seatsFor(4), "BZ"),
    (error) => isExclaveError(error, "usage"),
  );
  const home = constitution.seats.map((seat) => ({ ...seat, jurisdiction: "BZ" }));
  assert.throws(() => constitutionOf("state", home, "BZ"), /seat abroad/);
});
