/**
 * How the table of attacks is held: an attack on a real State, what becomes of it, and what must still be true
 * afterwards. The rows are in test/attacks/; docs/threat-model.md names them.
 */
import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { mkdtempSync, realpathSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, describe, test } from "node:test";
import {
  type Charter,
  momentOf,
  type StoredCharter,
  writeCharter,
} from "../../src/charter/charter.ts";
import { paperPayload, payloadTypeOf, signPaper } from "../../src/charter/decision.ts";
import { charterAfter, openDecision } from "../../src/charter/history.ts";
import type { Order } from "../../src/charter/orders.ts";
import { toHex } from "../../src/crypto/bytes.ts";
import { signEnvelope } from "../../src/crypto/dsse.ts";
import type { SigningKey } from "../../src/crypto/signing.ts";
import { type ErrorCode, isExclaveError } from "../../src/errors.ts";
import { object } from "../../src/governance/decide.ts";
import { keyOf, person, publicKey } from "./charter.ts";
import { Embassy, PLACES } from "./embassy.ts";
/** What must become of an attack. */
export type Outcome =
  /** With this code, in such words; and nothing was written anywhere. */
  | { readonly refused: ErrorCode; readonly says: RegExp }
  /** What was forged counts for nothing, and somebody is told. */
  | { readonly named: RegExp }
  /** All goes on as if nothing had been there. */
  | "ignored";

export type Row<Prepared = unknown, Handed = unknown> = {
  readonly name: string;
  readonly outcome: Outcome;
  /** What the State rightly did before. */
  readonly setup?: (s: Embassy) => Promise<Prepared>;
  readonly attack: (s: Embassy, prepared: Prepared) => Promise<Handed> | Handed;
  /** What those do who have not noticed; a home that comes of it must restore, and follow the same charter. */
  readonly answer: (s: Embassy, handed: Handed) => Promise<unknown>;
  /** So many charters follow all the same: the attack was to stop them. */
  readonly follows?: number;
  /** Whose clocks count: founded with three witnesses, of whom two must have seen what counts. */
  readonly witnessed?: true;
};

/** Keeps the types of one row to itself. */
export const row = <Prepared, Handed>(one: Row<Prepared, Handed>): Row => one as Row;

const folders: string[] = [];
/** A folder that is gone when the tests are over. */
export function folder(): string {
  const path = realpathSync(mkdtempSync(join(tmpdir(), "exclave-attacks-")));
  folders.push(path);
  return path;
}
after(() => {
  for (const path of folders) rmSync(path, { recursive: true, force: true });
});

let plain: Promise<Embassy> | undefined;
let witnessed: Promise<Embassy> | undefined;
/** With sites, a register and a recovery point; of its own ledger's clock. */
export function plainState(): Promise<Embassy> {
  plain ??= Embassy.found(folder());
  return plain;
}
/** With three witnesses, of whom two must have seen what counts. Another State too, for the first one's sites. */
export function witnessedState(): Promise<Embassy> {
  witnessed ??= Embassy.found(folder(), 2);
  return witnessed;
}

/** Tries every row on a copy of the State. */
export function table(title: string, rows: readonly Row[]): void {
  describe(title, () => {
    for (const one of rows) {
      test(one.name, async () => {
        await stands(
          one,
          await (await (one.witnessed ? witnessedState() : plainState())).copy(folder()),
        );
      });
    }
  });
}

async function stands(one: Row, s: Embassy): Promise<void> {
  const prepared = await one.setup?.(s);
  const { charterId } = s.home.known;
  const handed = await one.attack(s, prepared);
  const before = await s.fingerprint();
  let came: unknown;
  try {
    came = await one.answer(s, handed);
    assert.ok(typeof one.outcome === "string" || "named" in one.outcome, "it was not refused");
  } catch (error) {
    if (!isExclaveError(error) || typeof one.outcome === "string" || "named" in one.outcome) {
      throw error;
    }
    assert.equal(error.code, one.outcome.refused, error.message);
    assert.match(error.message, one.outcome.says);
    assert.equal(await s.fingerprint(), before, "nothing was written");
  }
  s.home.refresh();
  const { history } = s.home.known;
  if (typeof one.outcome === "object" && "named" in one.outcome) {
    const said = [...s.notices, ...history.quarantined.map(({ why }) => why)];
    const { named } = one.outcome;
    assert.ok(
      said.some((sentence) => named.test(sentence)),
      `of ${said.length} sentences none names it: ${said.join("; ")}`,
    );
  }
  const followed = history.history.slice(history.history.findIndex(({ id }) => id === charterId));
  assert.equal(followed.length, 1 + (one.follows ?? 0), "the charter in force is as it should be");
  if (one.witnessed) return;
  await s.restores();
  if (!isRecovered(came)) return;
  await s.restores(came.home);
  assert.equal(came.home.charter.previous, followed.at(-1)?.id);
}

function isRecovered(came: unknown): came is Awaited<ReturnType<Embassy["recover"]>> {
  return typeof came === "object" && came !== null && "home" in came;
}
export const LATER = 100;
export const recovered = (s: Embassy): Promise<unknown> => s.recover(LATER);
export const WITHOUT_ONE = PLACES.slice(1);

export const flipped = (bytes: Uint8Array, at = bytes.length >> 1): Uint8Array =>
  Uint8Array.from(bytes, (byte, i) => (i === at ? byte ^ 1 : byte));
export const cut = (bytes: Uint8Array): Uint8Array => bytes.subarray(0, bytes.length >> 1);
export const THIEF = publicKey("thief");
export const NEVER = "aa".repeat(32);

/** The charter in force, and a machine more that may write. */
export function withThief(s: Embassy, before = s.home.known.history.history.at(-1)): Uint8Array {
  assert.ok(before);
  const { charter, id } = before;
  const agent = { ...charter.agents[0], signing: THIEF } as (typeof charter.agents)[number];
  return writeCharter({
    ...charter,
    version: charter.version + 1,
    previous: id,
    decision: NEVER,
    agents: [...charter.agents, agent],
  }).payload;
}
export const admit: Order & { readonly kind: "admit-site" } = {
  kind: "admit-site",
  site: { name: "pt", country: "PT", operator: "Operator pt", hazardZone: "Zone pt" },
};
/** Constitutional: a week to see it coming, and two seats to veto it. */
export const retain: Order = { kind: "amend", retentionSeconds: 365 * 86_400 };
export const other: Order = { kind: "admit-site", site: { ...admit.site, name: "is" } };
export const amended = (s: Embassy, changes: Partial<Charter["constitution"]>): Order => ({
  kind: "amend",
  constitution: { ...s.home.charter.constitution, ...changes },
});
/** One seat gets another holder. */
export const replacing = (s: Embassy, name: string): Order =>
  amended(s, {
    seats: s.home.charter.constitution.seats.map((seat) =>
      seat.name === name
        ? { ...seat, people: [{ person: person("successor"), key: publicKey("successor") }] }
        : seat,
    ),
  });
/** A veto of a decision. */
export const veto = (s: Embassy, decision: string, key: SigningKey, days: number): Uint8Array =>
  signPaper(
    {
      kind: "veto",
      format: 1,
      state: s.home.state,
      decision,
      reason: "No",
      time: momentOf(s.day(days)),
      random: toHex(randomBytes(16)),
    },
    key,
  );
export async function vetoed(s: Embassy, decision: string, names: readonly string[], days: number) {
  for (const name of names) {
    await object(s.home, "veto", veto(s, decision, keyOf(name), days), s.day(days));
  }
}
/** Fourteen days without anything that can wait. */
export async function frozen(s: Embassy, names: readonly string[], from: number): Promise<void> {
  const type = payloadTypeOf("freeze");
  const payload = paperPayload({
    kind: "freeze",
    format: 1,
    state: s.home.state,
    from: momentOf(s.day(from)),
    until: momentOf(s.day(from + 14)),
    reason: "Something is wrong",
    random: toHex(randomBytes(16)),
  });
  await object(s.home, "freeze", signEnvelope(type, payload, names.map(keyOf)), s.day(from));
}
/** A decision that waits from day 10 to day 17. */
export const waiting = (s: Embassy): Promise<string> => s.decide(retain, 10);
/** It takes effect after its week, whatever was done against it. */
export async function takesEffect(s: Embassy, days = 18): Promise<void> {
  assert.equal(await s.enact(days), 1);
}
/** The charter that would follow from a decision, as of its ledger's time and not a moment later. */
export function following(s: Embassy, envelope: Uint8Array, days: number): StoredCharter {
  const decision = openDecision(envelope, s.home.state, s.home.charter);
  return charterAfter(s.home.known.history, { decision, since: s.day(days) });
}
