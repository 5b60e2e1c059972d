/**
 * How a decision that took effect came to it: what it had to meet, when it did, and what it changed. For who holds that
 * against what they saw themselves.
 */
import { invariant } from "../errors.ts";
import { type Facts, isNeverFrozen, whenMet } from "./assess.ts";
import type { StoredCharter, Threshold } from "./charter.ts";
import type { OpenedPaper } from "./decision.ts";

/** How a decision came to take effect. */
export type Course = {
  readonly decision: OpenedPaper<"decision">;
  /** In force until then, and what followed. */
  readonly before: StoredCharter;
  readonly after: StoredCharter;
  /** When the ledger had the signatures that it needed, and what these had to meet. */
  readonly metAt: Date;
  readonly requirements: Threshold;
  readonly ripeAt: Date;
  readonly enactedAt: Date;
  readonly canBeFrozen: boolean;
};

/** Undefined for one that did not take effect. */
export function courseOf(id: string, facts: Facts): Course | undefined {
  const enacted = facts.enacted.get(id);
  const index = facts.history.findIndex(({ charter }) => charter.version === enacted?.version);
  const [before, after] = [facts.history[index - 1], facts.history[index]];
  const logged = facts.decisions.filter((one) => one.opened.id === id);
  const decision = logged[0]?.opened;
  if (!enacted || !before || !after || !decision) return undefined;
  const met = whenMet(decision.paper, logged, { now: enacted.at }, before);
  invariant(met, "what took effect had its signatures");
  const { at: metAt, requirements } = met;
  return {
    decision,
    before,
    after,
    metAt,
    requirements,
    ripeAt: new Date(metAt.getTime() + requirements.timelockSeconds * 1000),
    enactedAt: enacted.at,
    canBeFrozen: !isNeverFrozen(decision.paper, before.charter, metAt),
  };
}
