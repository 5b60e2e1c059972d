/** Whether a set of sites may hold the shards of a register. DESIGN: no one may read, no one may withhold. */
import { ExclaveError } from "../errors.ts";
import type { SiteIdentity } from "./site.ts";

export type PlacementProblem = {
  readonly kind: "country" | "operator" | "hazard zone";
  readonly name: string;
  readonly sites: readonly string[];
  /** What this one could do alone. */
  readonly could: "read" | "withhold" | "read and withhold";
};

/**
 * Every country, operator and hazard zone that would hold k shards or more (it could read, with the
 * State's keys stolen), or more than n - k (it could withhold); one shard a site.
 */
export function placementProblems(
  sites: readonly SiteIdentity[],
  k: number,
): readonly PlacementProblem[] {
  const groups = [
    { kind: "country", of: (site: SiteIdentity) => site.country },
    { kind: "operator", of: (site: SiteIdentity) => site.operator },
    { kind: "hazard zone", of: (site: SiteIdentity) => site.hazardZone },
  ] as const;
  const problems: PlacementProblem[] = [];
  for (const { kind, of } of groups) {
    for (const [name, members] of Map.groupBy(sites, of)) {
      const reads = members.length >= k;
      const withholds = members.length > sites.length - k;
      if (!reads && !withholds) continue;
      const could = reads && withholds ? "read and withhold" : reads ? "read" : "withhold";
      problems.push({ kind, name, sites: members.map((site) => site.name), could });
    }
  }
  return problems;
}

/** Throws `unlawful-placement`, naming every problem that `accepted` (names) does not accept. */
export function checkPlacement(
  sites: readonly SiteIdentity[],
  k: number,
  accepted: readonly string[],
): void {
  const refused = placementProblems(sites, k).filter((problem) => !accepted.includes(problem.name));
  if (refused.length === 0) return;
  const sentences = refused.map(
    ({ kind, name, could, sites: held }) =>
      `${kind} ${name} (${held.join(", ")}) could ${could} the register alone`,
  );
  const names = [...new Set(refused.map(({ name }) => `--accept ${name}`))].join(" ");
  throw new ExclaveError(
    "unlawful-placement",
    `${sentences.join("; ")}. Nothing was changed. Spread it over more places, or accept it by name: ${names}`,
  );
}
