/**
 * Who signed, counted as the charter counts: seats, never keys. One key however often it occurs, a holder
 * and a deputy of one seat, are one seat; a key that no seat has, and a seat whose time is over, are none.
 * (Thresholds that counted keys, or key ids that were not derived from keys, were the bugs of several
 * implementations of TUF: CVE-2020-6174 and its kin.)
 */
import { fromBase64 } from "../crypto/bytes.ts";
import { type PublicSigningKey, parseSigningPublicKey } from "../crypto/signing.ts";
import type { Charter, Constitution, Seat, Threshold } from "./charter.ts";

/** The keys that the seats of a constitution sign with, by key id, as `openEnvelope` wants them. */
export function seatKeys(constitution: Constitution): ReadonlyMap<string, PublicSigningKey> {
  return new Map(
    constitution.seats
      .flatMap(({ people }) => people)
      .map(({ key }) => parseSigningPublicKey(fromBase64(key)))
      .map((key) => [key.id, key]),
  );
}

/** The recovery key's signing key, by its id. It is no seat, and counts only where a rule names it. */
export function recoveryKey({ recovery }: Charter): ReadonlyMap<string, PublicSigningKey> {
  const key = parseSigningPublicKey(fromBase64(recovery.signing));
  return new Map([[key.id, key]]);
}

/**
 * The seats that signed.
 *
 * @param keyIds ids of keys whose signatures verified
 * @param at when the signatures are to count: a seat counts up to its `until`
 */
export function seatsThatSigned(
  constitution: Constitution,
  keyIds: Iterable<string>,
  at: Date,
): readonly Seat[] {
  const signed = new Set(keyIds);
  const ids = seatKeyIds(constitution);
  return constitution.seats.filter(
    ({ until }, i) =>
      at.getTime() < Date.parse(until) && ids[i]?.some((id) => signed.has(id)) === true,
  );
}

/** The key ids of each seat. Kept with the constitution: to take a key apart takes longer than all else. */
function seatKeyIds(constitution: Constitution): readonly (readonly string[])[] {
  let ids = KEY_IDS.get(constitution);
  if (!ids) {
    ids = constitution.seats.map(({ people }) =>
      people.map(({ key }) => parseSigningPublicKey(fromBase64(key)).id),
    );
    KEY_IDS.set(constitution, ids);
  }
  return ids;
}

/** What follows from an object that never changes; nothing is kept alive by it. */
const KEY_IDS = new WeakMap<Constitution, readonly (readonly string[])[]>();

/** What is missing to meet a threshold, as sentences; none when it is met. */
export function missingFor(threshold: Threshold, seats: readonly Seat[]): readonly string[] {
  const { signatures, groups } = threshold;
  const missing: string[] = [];
  if (seats.length < signatures) {
    missing.push(`${seats.length} of the ${signatures} signatures that it needs`);
  }
  for (const group of groups) {
    const count = seats.filter(({ jurisdiction }) =>
      group.jurisdictions.includes(jurisdiction),
    ).length;
    if (count < group.signatures) {
      const where = group.jurisdictions.join(" or ");
      missing.push(`${count} of the ${group.signatures} signatures that it needs from ${where}`);
    }
  }
  return missing;
}
