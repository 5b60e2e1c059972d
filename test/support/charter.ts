/** A State of five seats, its people and their papers, for tests of charters and decisions. */
import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import {
  assess,
  type Facts,
  keysFor,
  type Logged,
  type Standing,
} from "../../src/charter/assess.ts";
import {
  type Charter,
  type Constitution,
  type StoredCharter,
  writeCharter,
} from "../../src/charter/charter.ts";
import {
  addSignature,
  type Decision,
  type Freeze,
  type OpenedPaper,
  openPaper,
  type PaperKind,
  signPaper,
  type Veto,
} from "../../src/charter/decision.ts";
import {
  charterAfter,
  type History,
  type HistoryEntry,
  nextToEnact,
  replay,
} from "../../src/charter/history.ts";
import { applyOrder, type Order } from "../../src/charter/orders.ts";
import { applySuccession, type Succession } from "../../src/charter/succession.ts";
import { recoveryKey } from "../../src/charter/thresholds.ts";
import { toBase64, toHex, utf8 } from "../../src/crypto/bytes.ts";
import { sha256 } from "../../src/crypto/hash.ts";
import { kemKeyPairFromSeed } from "../../src/crypto/kem.ts";
import { type SigningKey, signingKeyFromSeed } from "../../src/crypto/signing.ts";

export const STATE = "ab".repeat(32);
export const random = (): string => toHex(randomBytes(16));
export const person = (name: string): string => toHex(sha256(utf8(`person ${name}`)));
export const keyOf = (name: string): SigningKey =>
  signingKeyFromSeed(sha256(utf8(`key of ${name}`)));
export const publicKey = (name: string): string => toBase64(keyOf(name).publicKey.bytes);

export const SEATS = ["pm", "justice", "interior", "opposition", "abroad"] as const;
export const DEPUTY = "deputy-justice";
export const at = (text: string): Date => new Date(`2026-${text}Z`);
export const NOW = at("06-10T12:00:00");

export const constitution: Constitution = {
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
    ordinary: { signatures: 3, groups: [], timelockSeconds: 0, vetoSignatures: 2 },
    constitutional: {
      signatures: 3,
      groups: [{ jurisdictions: ["LU", "EE"], signatures: 1 }],
      timelockSeconds: 7 * 86_400,
      vetoSignatures: 2,
    },
    destructive: {
      signatures: 4,
      groups: [],
      timelockSeconds: 30 * 86_400,
      vetoSignatures: 1,
    },
    release: { signatures: 3, groups: [], timelockSeconds: 2 * 86_400, vetoSignatures: 1 },
  },
  freezeSignatures: 2,
};

export const REGISTER = "11".repeat(16);
export const kem = toBase64(kemKeyPairFromSeed(new Uint8Array(32)).publicKey);
export const details = "78".repeat(32);
export const verifier = (type: string): string =>
  `exclave.example/belize/1+0123abcd+${toBase64(utf8(type))}`;
export const founding = writeCharter({
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
      details,
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
    keys: [verifier("ed25519"), verifier("ml-dsa-44")],
    witnesses: [],
    quorum: 0,
  },
  retentionSeconds: 365 * 86_400,
  releaseDelaySeconds: 86_400,
  annex: "77".repeat(32),
});

export const decisionOf = (order: Order, changes: Partial<Decision> = {}): Decision => ({
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
export function signed(
  decision: Decision,
  names: readonly string[],
  charters: readonly Charter[] = [founding.charter],
): OpenedPaper<"decision"> {
  const recovery = charters.flatMap((charter) => [...recoveryKey(charter)]);
  const trusted = new Map([...keysFor(charters), ...recovery]);
  const [first = "", ...others] = names;
  let opened = openPaper("decision", signPaper(decision, keyOf(first)), STATE, trusted);
  for (const name of others) {
    opened = openPaper("decision", addSignature(opened, keyOf(name)), STATE, trusted);
  }
  return opened;
}

export const veto = (
  decision: string,
  name: string,
  changes: Partial<Veto> = {},
): OpenedPaper<"veto"> =>
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

export function freeze(
  names: readonly string[],
  from: string,
  until: string,
): OpenedPaper<"freeze"> {
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
  const [first = "", ...others] = names;
  let opened = openPaper("freeze", signPaper(paper, keyOf(first)), STATE, trusted);
  for (const name of others) {
    opened = openPaper("freeze", addSignature(opened, keyOf(name)), STATE, trusted);
  }
  return opened;
}

export const facts = (changes: Partial<Facts> = {}): Facts => ({
  history: [founding],
  decisions: [],
  vetoes: [],
  freezes: [],
  enacted: new Map(),
  hadCheckpoint: () => true,
  now: NOW,
  ...changes,
});

export type Day = string;
export const day = (text: Day): Date => at(`${text}T12:00:00`);

/** In the ledger, in the order given, each on its day. */
export function logged<K extends PaperKind>(
  ...papers: readonly (readonly [OpenedPaper<K>, Day])[]
): readonly Logged<K>[] {
  return papers.map(([opened, when], position) => ({
    opened,
    generation: 1,
    position,
    at: day(when),
  }));
}

/** Where a decision stands that was in the ledger, with all its signatures, on that day. */
export const seenOn = (
  decision: OpenedPaper<"decision">,
  when: Day,
  changes: Partial<Facts> = {},
): Standing => assess(decision, facts({ decisions: logged([decision, when]), ...changes }));

/** Charters one after another, from the founding one, by these orders. */
export function historyOf(...orders: readonly Order[]): readonly StoredCharter[] {
  let last = founding;
  const followers = orders.map((order, i) => {
    const decision = toHex(sha256(utf8(`order ${i}`)));
    last = applyOrder(last, order, { at: day(`02-0${i + 1}`), decision });
    return last;
  });
  return [founding, ...followers];
}

export const admit: Order & { readonly kind: "admit-site" } = {
  kind: "admit-site",
  site: { name: "pt", country: "PT", operator: "Operator pt", hazardZone: "Zone pt" },
};
export const expel: Order = { kind: "expel-site", site: "ca" };
export const destroy: Order & { readonly kind: "destroy" } = {
  kind: "destroy",
  register: REGISTER,
  epochs: [65_536],
};
export const amend = (changes: Partial<Constitution>): Order => ({
  kind: "amend",
  constitution: { ...constitution, ...changes },
});

export function standing(actual: Standing, status: Standing["status"], says?: RegExp): void {
  assert.equal(actual.status, status, JSON.stringify(actual));
  if (says) assert.match(JSON.stringify(actual), says);
}

/** The succession that follows a charter, to the next ledger and the next machine. */
export function successionOf(
  { id, charter }: StoredCharter,
  time: Date,
  changes: Partial<Succession> = {},
): Succession {
  const generation = charter.ledger.generation + 1;
  const term = charter.term + 1;
  const origin = `exclave.example/belize/${generation}`;
  const keys = ["ed25519", "ml-dsa-44"].map(
    (type) => `${origin}+0123abcd+${toBase64(utf8(`${type} ${generation}`))}`,
  );
  const [agent] = charter.agents;
  assert.ok(agent);
  return {
    kind: "succession",
    format: 1,
    state: STATE,
    charter: id,
    closes: { origin: charter.ledger.origin, size: 7, root: "99".repeat(32) },
    ledger: { ...charter.ledger, generation, origin, keys },
    agent: { ...agent, signing: publicKey(`agent ${term}`), term },
    time: `${time.toISOString().slice(0, 19)}Z`,
    random: random(),
    ...changes,
  };
}

/** A State's ledgers that grow: each entry on its day, in the ledger of now. */
export class Book {
  readonly entries: HistoryEntry[] = [];
  generation = 1;

  add(kind: HistoryEntry["kind"], bytes: Uint8Array, on: Day): this {
    const { generation } = this;
    const position = this.entries.filter((one) => one.generation === generation).length;
    this.entries.push({ kind, bytes, generation, position, at: day(on) });
    return this;
  }

  decide(
    order: Order,
    names: readonly string[],
    on: Day,
    changes: Partial<Decision> = {},
    before: StoredCharter = founding,
  ): string {
    const after =
      order.kind === "amend"
        ? [applyOrder(before, order, { at: day(on), decision: "00".repeat(32) }).charter]
        : [];
    const opened = signed(decisionOf(order, changes), names, [before.charter, ...after]);
    this.add("decision", opened.envelope, on);
    return opened.id;
  }

  read(on: Day): History {
    return replay(founding, STATE, this.entries, { hadCheckpoint: () => true, now: day(on) });
  }

  /** In force on that day. */
  current(on: Day): StoredCharter {
    return this.read(on).history.at(-1) ?? founding;
  }

  /** Publishes the charter that follows, as home does. */
  enact(on: Day): StoredCharter {
    const facts = this.read(on);
    const next = nextToEnact(facts);
    assert.ok(next, "something is ripe");
    const charter = charterAfter(facts, next);
    this.add("charter", charter.payload, on);
    return charter;
  }

  /** Begins the next ledger with a succession, and the charter that follows from it. */
  succeed(on: Day, signer = "recovery"): StoredCharter {
    const before = this.current(on);
    const paper = successionOf(before, day(on));
    const envelope = signPaper(paper, keyOf(signer));
    const { id } = openPaper(
      "succession",
      envelope,
      STATE,
      new Map([[keyOf(signer).id, keyOf(signer).publicKey]]),
    );
    this.generation += 1;
    this.add("succession", envelope, on);
    const after = applySuccession(before, { id, paper });
    this.add("charter", after.payload, on);
    return after;
  }
}

export const HOME_AND_ABROAD = ["pm", "justice", "abroad"] as const;
