/** A ceremony without people: the passphrases that were given, by whose they are. */

import type { Table } from "../../src/governance/ceremony.ts";
import type { FoundingPlan } from "../../src/governance/found-state.ts";
import { publicKey } from "./charter.ts";

/** Opening a kit must not take a second in every story. */
const WORK_FACTOR = 10;

export const PLAN: FoundingPlan = {
  state: "Belize",
  country: "BZ",
  preset: "state",
  keyHolders: {
    threshold: 3,
    holders: [1, 2, 3, 4, 5].map((number) => ({
      name: `Person ${number}`,
      office: `Office ${number}`,
      jurisdiction: number > 3 ? "LU" : "BZ",
    })),
  },
  seats: ["pm", "justice", "interior", "opposition", "abroad"].map((name) => ({
    name,
    office: `The office of ${name}`,
    institution: "Government",
    jurisdiction: name === "abroad" || name === "opposition" ? "LU" : "BZ",
    people: [{ name: `Holder of ${name}` }],
  })),
  sites: [{ name: "lu", country: "LU", operator: "Luxembourg", where: "Bissen" }],
};

/** The signing keys of the plan's seats: test/support/charter.ts has their private halves. */
export const SEAT_KEYS = PLAN.seats.map(({ name }) => [publicKey(name)]);

export type RehearsalTable = Table & { readonly given: ReadonlyMap<string, string> };

/** A table where everybody writes down what they get, and who is in `duress` agrees a second passphrase. */
export function rehearsal(
  options: { readonly absent?: readonly number[]; readonly duress?: readonly number[] } = {},
): RehearsalTable {
  const given = new Map<string, string>();
  return {
    given,
    workFactor: WORK_FACTOR,
    onStep: () => undefined,
    give: async (who, passphrase) => {
      given.set(who, passphrase);
      const number = Number(/^key holder (\d+),/.exec(who)?.[1] ?? 0);
      return options.duress?.includes(number) ? { duressPassphrase: duressOf(number) } : {};
    },
    typeAgain: async (holder, office) =>
      options.absent?.includes(holder) ? undefined : given.get(`key holder ${holder}, ${office}`),
  };
}

export function duressOf(number: number): string {
  return `they are making me ${number}`;
}
