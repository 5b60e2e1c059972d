/** The decisions of a ledger, as people name them: by the beginning of an id, or by a file. */
import { readFile, stat } from "node:fs/promises";
import type { OpenedPaper } from "../charter/decision.ts";
import { ExclaveError, invariant, isExclaveError } from "../errors.ts";
import { type Proposal, readProposal } from "../governance/proposal.ts";
import { Home } from "../vault/home.ts";
import type { KnownState } from "../vault/known-state.ts";
import { homePath } from "./context.ts";
import { type RegisterNames, registerNames } from "./proposed.ts";

/** A State as its ledger tells it: at home, or without one, at its sites. */
export type Told = { readonly known: KnownState; readonly home?: Home };

export function toldBy(home: Home): Told {
  return { known: home.known, home };
}

/** What its registers are called: home alone knows. */
export function namesOf({ home }: Told): RegisterNames | undefined {
  return home && registerNames(home);
}

const PREFIX_MIN = 4;

/** A decision in the ledger, with all signatures that it has there. Throws `unknown-name`. */
export function resolveDecision(
  { history }: KnownState,
  prefix: string,
): { readonly id: string; readonly opened: OpenedPaper<"decision"> } {
  const { decisions } = history;
  const wanted = prefix.toLowerCase();
  const ids = new Set(
    decisions.map(({ opened }) => opened.id).filter((id) => id.startsWith(wanted)),
  );
  const [id] = ids;
  if (wanted.length < PREFIX_MIN || id === undefined || ids.size > 1) {
    const why = ids.size > 1 ? "more than one decision begins" : "no decision begins";
    throw new ExclaveError(
      "unknown-name",
      `${why} with ${prefix}; give a file, or the id as \`exclave decide list\` shows it`,
    );
  }
  const copies = decisions.filter(({ opened }) => opened.id === id).map(({ opened }) => opened);
  const [first] = copies;
  invariant(first, "a decision that was found is there");
  const keyIds = [...new Set(copies.flatMap((one) => one.keyIds))];
  return { id, opened: { ...first, keyIds } };
}

/** A decision in the ledger as a proposal, with the charter that its author saw. */
export function proposalInLedger(known: KnownState, prefix: string): Proposal {
  const { id, opened } = resolveDecision(known, prefix);
  const { history } = known.history;
  // One whose charter never was in force is void; it is shown against the one that is.
  const basis = history.find((one) => one.id === opened.paper.charter) ?? history.at(-1);
  invariant(basis, "a State has a charter");
  return {
    kind: "decision",
    charter: basis.charter,
    charterPayload: basis.payload,
    payload: opened.payload,
    id,
    state: known.id,
    said: opened.paper,
    opened,
  };
}

/** The proposal in a file. Throws as `readProposal` does, `usage` when it cannot be read. */
export async function proposalIn(file: string): Promise<Proposal> {
  const bytes = await readFile(file).catch((cause: unknown) => {
    throw new ExclaveError("usage", `the proposal ${file} cannot be read`, { cause });
  });
  return readProposal(bytes);
}

export async function isFile(path: string): Promise<boolean> {
  return stat(path).then(
    (found) => found.isFile(),
    () => false,
  );
}

/** The home on this machine, when it is the one of that State. */
export async function homeOf(state: string): Promise<Home | undefined> {
  try {
    const home = await Home.open(homePath());
    return home.state === state ? home : undefined;
  } catch (error) {
    if (isExclaveError(error, "no-home")) return undefined;
    throw error;
  }
}

/** What the home on this machine tells of a State, when it is the State's. */
export async function toldAtHome(state: string): Promise<Told | undefined> {
  const home = await homeOf(state);
  return home && toldBy(home);
}
