/** The demo's people: five key holders, five seats. Their names are invented; only the sealed annex has them. */
import type { FoundingPlan } from "../../governance/found-state.ts";
import { seat } from "../founding-plan.ts";
import { hosts } from "./hosts.ts";
import { stateName } from "./names.ts";

/** ISO 3166 leaves these letters to its users; no country has them. */
export const stateCountry = "XB";
/** Key holders who together bring the State back. */
export const holdersNeeded = 3;
/** Key holders who are lost with home, from 1 on. */
export const holdersLost: readonly number[] = [1, 2];

/** What the founding begins with. */
export const plan: FoundingPlan = {
  state: stateName,
  country: stateCountry,
  preset: "state",
  keyHolders: {
    threshold: holdersNeeded,
    holders: [
      { name: "Dorla Haylock", office: "Registrar General", jurisdiction: stateCountry },
      { name: "Ernan Novelo", office: "Chief Justice", jurisdiction: stateCountry },
      { name: "Marva Gladwell", office: "High Commissioner in London", jurisdiction: "GB" },
      { name: "Tiburcio Arana", office: "Ambassador in Brussels", jurisdiction: "BE" },
      { name: "Nicte Quarmby", office: "Envoy in New York", jurisdiction: "US" },
    ],
  },
  seats: [
    seat("prime-minister", "Prime Minister", "Cabinet Office", stateCountry, "Corina Neal"),
    seat("opposition", "Leader of the Opposition", "House", stateCountry, "Kenrick Peraza"),
    seat("chief-justice", "Chief Justice", "Supreme Court", stateCountry, "Ernan Novelo"),
    seat("london", "High Commissioner in London", "Foreign Service", "GB", "Marva Gladwell"),
    seat("brussels", "Ambassador in Brussels", "Foreign Service", "BE", "Tiburcio Arana"),
  ],
  sites: hosts.map(({ site, code, country, operator }) => ({
    name: site,
    country: code,
    operator,
    where: country,
  })),
};

/** Witnesses, of the five host countries, that must have seen a decision before it counts. */
export const witnessQuorum = 3;
/** Key holders who fall into somebody's hands, with their kits: enough to bring the State back. */
export const holdersCaptured: readonly number[] = [1, 2, 3];
/** The seat abroad that stops what they want. */
export const vetoingSeat = "brussels";

/** The seats that sign, in this order; the first two alone are not enough. */
export const usualSignatories: readonly string[] = ["prime-minister", "opposition", "brussels"];
