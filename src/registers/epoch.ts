/** The open epoch of a register: found or begun, with its keys wrapped and safe abroad before they are used. */
import { randomBytes } from "node:crypto";
import { fromBase64, toHex } from "../crypto/bytes.ts";
import { sha256 } from "../crypto/hash.ts";
import type { Catalog } from "../vault/catalog.ts";
import { firstEpochOf, isEpochOf, wrapEpochKey } from "../vault/documents.ts";
import { EPOCH_KEY_BYTES } from "../vault/epoch-keys.ts";
import type { Home, RegisterConfig } from "../vault/home.ts";
import { type EpochContext, parseId } from "../vault/identifiers.ts";

export type OpenEpoch = { readonly context: EpochContext; readonly key: Uint8Array };

/**
 * The epoch that this home may write to; undefined when one has to be begun: in a new term, under another
 * recovery key, when the State decided so, and when the last one has lasted as long as the charter says.
 */
export async function openEpoch(
  home: Home,
  register: RegisterConfig,
  now: Date,
): Promise<OpenEpoch | undefined> {
  // An epoch belongs to one term: what another agent began is never gone on with.
  if (!isEpochOf(home.charter.term, register.epoch)) return undefined;
  if (register.begun && isOver(home, register, register.begun, now)) return undefined;
  const context = home.context(register, register.epoch);
  const key = await home.epochKey(context.register, context.epoch);
  return key && { context, key };
}

/**
 * Begins the register's next epoch. The order matters: the key is kept at home, then wrapped at the
 * write quorum of sites, and only then is the epoch used; so nothing is ever sealed under a key that
 * could die with home.
 */
export async function beginEpoch(
  home: Home,
  catalog: Catalog,
  register: RegisterConfig,
  now: Date,
  putEverywhere: (name: string, bytes: Uint8Array) => Promise<void>,
): Promise<OpenEpoch> {
  const id = parseId("RegisterId", register.id);
  const known = [register.epoch, ...catalog.snapshots(id).map(({ epoch }) => epoch)];
  const context = home.context(register, Math.max(firstEpochOf(home.term), Math.max(...known) + 1));
  const key = randomBytes(EPOCH_KEY_BYTES);
  await rewrapKept(home, register, now, putEverywhere);
  await home.saveEpochKey(id, context.epoch, key);
  const { recovery, reader } = home.charter;
  const recipients = [
    { recipient: "recovery" as const, kem: recovery.kem },
    ...(reader ? [{ recipient: "reader" as const, kem: reader.kem }] : []),
  ];
  for (const { recipient, kem } of recipients) {
    const wrap = wrapEpochKey(
      key,
      context,
      { recipient, publicKey: fromBase64(kem) },
      { agent: home.agent, term: home.term, time: now },
    );
    await putEverywhere(`wrap/${wrap.id}`, wrap.bytes);
  }
  const begun = {
    time: now.toISOString(),
    recipient: recipientOf(home),
    rotations: rotationsOf(home, register),
  };
  // Nothing but that: its terms may be other ones by now.
  await home.changeConfig((config) => ({
    ...config,
    registers: config.registers.map((one) =>
      one.id === register.id ? { ...one, epoch: context.epoch, begun } : one,
    ),
  }));
  return { context, key };
}

/**
 * Epochs may have been begun while the recovery key was being replaced, by this home or the one before it: the new
 * key is to open all whose keys are here.
 */
async function rewrapKept(
  home: Home,
  register: RegisterConfig,
  now: Date,
  putEverywhere: (name: string, bytes: Uint8Array) => Promise<void>,
): Promise<void> {
  const { kem } = home.charter.recovery;
  const isSame = register.begun
    ? register.begun.recipient === recipientOf(home)
    : home.known.history.history.every(({ charter }) => charter.recovery.kem === kem);
  if (isSame) return;
  const id = parseId("RegisterId", register.id);
  for (const epoch of await home.epochsWithKey(id)) {
    const key = await home.epochKey(id, epoch);
    if (!key) continue;
    const wrap = wrapEpochKey(
      key,
      home.context(register, epoch),
      { recipient: "recovery", publicKey: fromBase64(kem) },
      { agent: home.agent, term: home.term, time: now },
    );
    await putEverywhere(`wrap/${wrap.id}`, wrap.bytes);
  }
}

function isOver(
  home: Home,
  register: RegisterConfig,
  { time, recipient, rotations }: NonNullable<RegisterConfig["begun"]>,
  now: Date,
): boolean {
  const terms = home.charter.registers.find(({ id }) => id === register.id);
  const seconds = (now.getTime() - Date.parse(time)) / 1000;
  return (
    recipient !== recipientOf(home) ||
    rotations !== rotationsOf(home, register) ||
    (terms !== undefined && seconds >= terms.epochSeconds)
  );
}

/** Decisions in effect that a new epoch of the register begins. */
function rotationsOf({ known }: Home, { id }: RegisterConfig): number {
  return [...known.history.enacted.values()].filter(
    ({ decision: { order } }) => order.kind === "rotate-epoch" && order.register === id,
  ).length;
}

function recipientOf(home: Home): string {
  return toHex(sha256(fromBase64(home.charter.recovery.kem)));
}
