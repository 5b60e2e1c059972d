/**
 * The way back from kits to the secret: `examineKit` and `openShare` (kit.ts) for one kit after another,
 * as the holders come, and `combineKits` when there are enough.
 *
 * Kits are not signed, so each is held against the charter. Where none is at hand yet, as on a bare
 * machine, they are held against each other: kits of one ceremony differ in nothing but their holder,
 * and one that names another witness or another site was altered. A majority of forged kits passes
 * that, and gives a secret that fits what *they* say; it opens nothing of the State, whose charter
 * names another set.
 */
import { isDeepStrictEqual } from "node:util";
import { ExclaveError } from "../errors.ts";
import { decodeKit, type Kit } from "./kit.ts";
import {
  combineShares,
  examineShares,
  type HeldShare,
  HOLDERS_MAX,
  type RefusalReason,
  type RefusedShare,
  type ShareSetPublic,
  tooFewShares,
} from "./share-set.ts";

/** Whoever comes with more has not got them from key holders. */
const KITS_GIVEN_MAX = 8 * HOLDERS_MAX;

/** What a charter says, by which kits are known. */
export interface KnownSet {
  /** The State's id. */
  readonly state: string;
  /** The share set of the charter in force. */
  readonly set: ShareSetPublic;
}

/** A kit and what it opened to. */
export interface OpenedKit {
  readonly kit: Kit;
  readonly share: HeldShare;
}

const ADVICE: Readonly<Record<RefusalReason, string>> = {
  "of another State": "compare its fingerprint with the State's",
  "of an older set": "the key was divided anew since, so bring the kit that replaced it",
  "of a newer set": "the charter at hand is older than it, so look for a newer charter first",
  "of another set": "bring the kit that was made when the key was last divided",
  altered: "use another copy of it",
  "given twice": "bring that of another key holder",
};

/**
 * Reads a kit before its holder is asked to open it.
 *
 * @param known from the charter in force; without it a kit is taken at its word
 * @throws ExclaveError `malformed` as `decodeKit`; `foreign-state` for a kit of another State; `altered` for one
 *   that says something else of its set; `bad-key` for one of another set, saying whether of an older one
 */
export function examineKit(kitBytes: Uint8Array, known?: KnownSet): Kit {
  const kit = decodeKit(kitBytes);
  const reason = known && misfit(kit, known);
  if (reason === undefined) return kit;
  const code =
    reason === "of another State"
      ? "foreign-state"
      : reason === "altered"
        ? "altered"
        : ("bad-key" as const);
  throw new ExclaveError(
    code,
    `The kit of key holder ${kit.index + 1} is ${reason}. It was not used; ${ADVICE[reason]}.`,
  );
}

/**
 * Which kits can be used together: those that fit the charter; without one, those that say the same in
 * everything but their holder, where no others are from as many holders.
 *
 * @returns `refused` says of each of the others where it stood in `kits`, and why it is not used
 * @throws ExclaveError `usage` for no kit; `malformed` for more than 256; `altered`, naming the holders, when kits
 *   from as many holders say one thing as another
 */
export function compareKits(
  kits: readonly Kit[],
  known?: KnownSet,
): { readonly agreed: readonly Kit[]; readonly refused: readonly RefusedShare[] } {
  if (kits.length > KITS_GIVEN_MAX) {
    throw new ExclaveError("malformed", `more than ${KITS_GIVEN_MAX} kits are given`);
  }
  const why = known === undefined ? amongThemselves(kits) : (kit: Kit) => misfit(kit, known);
  const agreed: Kit[] = [];
  const refused: RefusedShare[] = [];
  for (const [position, kit] of kits.entries()) {
    const reason = why(kit);
    if (reason === undefined) agreed.push(kit);
    else refused.push({ position, index: kit.index, reason });
  }
  return { agreed, refused };
}

/**
 * The secret, from opened kits of k or more holders; others are left out and named. The caller wipes
 * it, and the shares.
 *
 * @param known from the charter in force; without it see `compareKits`
 * @throws ExclaveError as `compareKits`, and as `combineShares`
 */
export function combineKits(
  kits: readonly OpenedKit[],
  known?: KnownSet,
): {
  readonly secret: Uint8Array;
  /** What the secret was found to fit. */
  readonly fits: KnownSet;
  readonly refused: readonly RefusedShare[];
} {
  const compared = compareKits(
    kits.map(({ kit }) => kit),
    known,
  );
  const misfits = new Set(compared.refused.map(({ position }) => position));
  const positions = [...kits.keys()].filter((position) => !misfits.has(position));
  const [model] = compared.agreed;
  const fits = known ?? model;
  if (fits === undefined) throw noKit();
  const { state, set } = fits;
  const { good, refused: badShares } = examineShares(
    kits.filter((_, position) => !misfits.has(position)).map(({ share }) => share),
    set,
    state,
  );
  const refused = [
    ...compared.refused,
    ...badShares.map((bad) => ({ ...bad, position: positions[bad.position] ?? bad.position })),
  ].toSorted((a, b) => a.position - b.position);
  if (good.length < set.k) throw tooFewShares(good.length, set.k, kits.length, refused);
  return { secret: combineShares(good, set, state).secret, fits: { state, set }, refused };
}

function misfit(kit: Kit, { state, set }: KnownSet): RefusalReason | undefined {
  if (kit.state !== state) return "of another State";
  if (kit.set.setId !== set.setId) {
    if (kit.set.generation < set.generation) return "of an older set";
    if (kit.set.generation > set.generation) return "of a newer set";
    return "of another set";
  }
  return setText(kit.set) === setText(set) ? undefined : "altered";
}

/** One spelling of a set, whatever order its members came in. */
function setText(set: ShareSetPublic): string {
  const { setId, generation, k, n, secretCommitment, shareCommitments } = set;
  return JSON.stringify([setId, generation, k, n, secretCommitment, shareCommitments]);
}

/** Why a kit is not used with those of most holders. */
function amongThemselves(kits: readonly Kit[]): (kit: Kit) => RefusalReason | undefined {
  const model = mostAgreed(kits);
  return (kit) => (sayTheSame(kit, model) ? undefined : (misfit(kit, model) ?? "altered"));
}

/** One of the kits that say the same as those of most holders. */
function mostAgreed(kits: readonly Kit[]): Kit {
  const groups: Kit[][] = [];
  for (const kit of kits) {
    const group = groups.find(([model]) => model && sayTheSame(kit, model));
    if (group === undefined) groups.push([kit]);
    else group.push(kit);
  }
  const [first, second] = groups.toSorted((a, b) => holders(b).length - holders(a).length);
  const [model] = first ?? [];
  if (first === undefined || model === undefined) throw noKit();
  const [other] = second ?? [];
  if (second === undefined || other === undefined || holders(second).length < holders(first).length)
    return model;
  throw new ExclaveError(
    "altered",
    `The kits do not agree: to those of key holders ${holders(first).join(", ")}, those of ${holders(second).join(", ")} are ${misfit(other, model) ?? "altered"}, and by the kits alone nobody can tell which are right. Nothing was combined; compare the fingerprints with the State's, or get its charter from a site.`,
  );
}

/** In all but the holder, as the kits of one ceremony do. */
function sayTheSame(a: Kit, b: Kit): boolean {
  const said = ({ holder: _holder, index: _index, sealed: _sealed, ...rest }: Kit) => rest;
  return isDeepStrictEqual(said(a), said(b));
}

/** Whose kits these are, as people count. */
function holders(kits: readonly Kit[]): readonly number[] {
  return [...new Set(kits.map(({ index }) => index + 1))].toSorted((a, b) => a - b);
}

function noKit(): ExclaveError {
  return new ExclaveError("usage", "No kit was given, and nothing was combined. Bring k of them.");
}
