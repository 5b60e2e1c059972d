/**
 * Which checkpoint to believe when home is gone: the largest that any site or witness confirms, when so
 * many answered that no newer one can be hidden. A checkpoint is committed when w of the n sites have it,
 * so any n - w + 1 of them include one that has it.
 */
import { ExclaveError } from "../errors.ts";
import type { SignedHead } from "./at-sites.ts";
import { isSameTreeHead, type TreeHead } from "./tree-head.ts";
import { shownHead } from "./verify.ts";

/** What one site answered: its newest checkpoint, that it has none, or why it did not answer. */
export type HeadAnswer =
  | { readonly site: string; readonly signed: SignedHead | undefined }
  | { readonly site: string; readonly unavailable: string };

export type AgreedHead = {
  readonly signed: SignedHead;
  /** Sites whose newest it is. */
  readonly confirmedBy: readonly string[];
  /** Heads of fewer entries that others gave; `verifiedEntries` holds them to be its beginnings. */
  readonly earlier: readonly TreeHead[];
  readonly answered: number;
  /** Answers that rule out that a newer committed checkpoint is hidden. */
  readonly needed: number;
  /** False when fewer answered, and the caller accepted that. */
  readonly isFresh: boolean;
};

/**
 * Throws `altered` when two sites give different heads of one size, and `site-unavailable` when too few
 * answer to know, or none has a checkpoint.
 *
 * @param quorum the write quorum w of the n sites that there are
 * @param acceptStale take what there is, though something newer may be hidden
 */
export function agreeOnHead(
  answers: readonly HeadAnswer[],
  {
    sites,
    quorum,
    acceptStale,
  }: { readonly sites: number; readonly quorum: number; readonly acceptStale: boolean },
): AgreedHead {
  const needed = sites - quorum + 1;
  const answering = answers.flatMap((one) => ("unavailable" in one ? [] : [one]));
  const answered = new Set(answering.map(({ site }) => site)).size;
  const silent = answers.flatMap((one) =>
    "unavailable" in one ? [`${one.site}: ${one.unavailable}`] : [],
  );
  const isFresh = answered >= needed;
  if (!isFresh && !acceptStale) {
    throw new ExclaveError(
      "site-unavailable",
      `${answered} of ${sites} sites answered, and a newer recovery point could be hidden by the others (${silent.join("; ") || "they were not given"}): ${needed} must answer. Bring back a site, or take what there is with --accept-stale`,
    );
  }
  const heads = answering.flatMap(({ site, signed }) => (signed ? [{ site, signed }] : []));
  const [newest] = heads.toSorted((a, b) => b.signed.head.size - a.signed.head.size);
  if (!newest) {
    throw new ExclaveError(
      "site-unavailable",
      `none of the ${answered} sites that answered holds a checkpoint of this ledger`,
    );
  }
  for (const { site, signed } of heads) {
    const { head } = newest.signed;
    if (signed.head.size !== head.size || isSameTreeHead(signed.head, head)) continue;
    throw new ExclaveError(
      "altered",
      `the ledger has forked: ${newest.site} holds ${shownHead(head)}, and ${site} ${shownHead(signed.head)}. Nothing is believed until people have found out why`,
    );
  }
  return {
    signed: newest.signed,
    confirmedBy: heads
      .filter(({ signed }) => isSameTreeHead(signed.head, newest.signed.head))
      .map(({ site }) => site),
    earlier: heads
      .map(({ signed }) => signed.head)
      .filter(({ size }) => size < newest.signed.head.size),
    answered,
    needed,
    isFresh,
  };
}
