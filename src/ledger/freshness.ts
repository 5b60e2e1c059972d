/**
 * Which checkpoint to believe when home is gone: the largest that any site or witness confirms, when so
 * many answered that no newer one can be hidden. A checkpoint is committed when w of the n sites have it,
 * so any n - w + 1 of them include one that has it.
 */
import { ExclaveError } from "../errors.ts";
import type { SignedHead } from "./at-sites.ts";
import { isSameTreeHead, shownHead, type TreeHead } from "./tree-head.ts";

/** What one site answered: its newest checkpoint, that it has none, or why it did not answer. */
export type HeadAnswer =
  | { readonly site: string; readonly signed: SignedHead | undefined }
  | { readonly site: string; readonly unavailable: string };

/** What must not be missed: decisions, or a register's recovery points, and where these are written. */
export type Demand = {
  /** "decisions", or the register's name. */
  readonly what: string;
  /** Names of the sites that it is written to. */
  readonly sites: readonly string[];
  /** So many of them have what is committed. */
  readonly quorum: number;
};

export type AgreedHead = {
  readonly signed: SignedHead;
  /** Sites whose newest it is. */
  readonly confirmedBy: readonly string[];
  /** Heads of fewer entries that others gave; `verifiedEntries` holds them to be its beginnings. */
  readonly earlier: readonly TreeHead[];
  readonly answered: number;
  /** Of what something newer could be hidden, which the caller accepted; empty when of nothing. */
  readonly stale: readonly string[];
};

/**
 * Throws `altered` when two sites give different heads of one size, and `site-unavailable` when too few
 * answer to know, or none has a checkpoint.
 *
 * @param demands each is met when so many of its sites answered that what is committed is with one of them;
 *   one without sites is met
 * @param acceptStale take what there is, though something newer may be hidden
 */
export function agreeOnHead(
  answers: readonly HeadAnswer[],
  { demands, acceptStale }: { readonly demands: readonly Demand[]; readonly acceptStale: boolean },
): AgreedHead {
  const answering = answers.flatMap((one) => ("unavailable" in one ? [] : [one]));
  const answered = new Set(answering.map(({ site }) => site));
  const unmet = demands.flatMap((demand) => {
    const lack = lackOf(demand, answered);
    return lack === undefined ? [] : [{ what: demand.what, lack, sites: demand.sites }];
  });
  if (unmet.length > 0 && !acceptStale) {
    const silent = new Set(unmet.flatMap(({ sites }) => sites.filter((one) => !answered.has(one))));
    const reasons = [...silent].map((name) => {
      const answer = answers.find((one) => one.site === name);
      return `${name}: ${answer && "unavailable" in answer ? answer.unavailable : "it was not asked"}`;
    });
    throw new ExclaveError(
      "site-unavailable",
      `something newer could be hidden: ${unmet.map(({ lack }) => lack).join("; ")}. Silent are ${reasons.join("; ")}. Nothing was taken; bring back a site, or take what there is with --accept-stale`,
    );
  }
  const heads = answering.flatMap(({ site, signed }) => (signed ? [{ site, signed }] : []));
  const [newest] = heads.toSorted((a, b) => b.signed.head.size - a.signed.head.size);
  if (!newest) {
    throw new ExclaveError(
      "site-unavailable",
      `none of the ${answered.size} sites that answered holds a checkpoint of this ledger`,
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
    answered: answered.size,
    stale: unmet.map(({ what }) => what),
  };
}

/** What a demand lacks, for people; undefined when it is met. */
function lackOf(
  { what, sites, quorum }: Demand,
  answered: ReadonlySet<string>,
): string | undefined {
  const names = new Set(sites);
  if (names.size === 0) return undefined;
  // A quorum that its sites cannot reach says nothing: all must answer.
  const needed = quorum > names.size ? names.size : names.size - quorum + 1;
  const got = [...names].filter((name) => answered.has(name)).length;
  if (got >= needed) return undefined;
  return `of ${what}, ${got} of ${names.size} sites answered and ${needed} must`;
}
