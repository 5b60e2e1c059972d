/**
 * The State's inventory: which registers it has, protected or not yet, and by what terms. What they are called
 * and whose they are is sealed; the charter has their pseudonyms and terms.
 */
import type { Charter } from "../charter/charter.ts";
import type { Order } from "../charter/orders.ts";
import { ExclaveError } from "../errors.ts";
import { documentRandom } from "../vault/documents.ts";
import type { Home, RegisterConfig, RegisterDetails } from "../vault/home.ts";
import { randomId } from "../vault/identifiers.ts";
import { digestOf, sealAnnex } from "./annex.ts";
import { type Given, give } from "./carry-out.ts";
import { draftDecision } from "./decide.ts";
import { REGISTER_EPOCH_SECONDS } from "./found.ts";

export type Sensitivity = Charter["registers"][number]["sensitivity"];
/** What people say of a register when they declare it. */
export type Declaration = Omit<RegisterDetails, "kind" | "format" | "id" | "random">;

/** The register of that name in the inventory. */
export function inventoryOf(home: Home, name: string): RegisterDetails | undefined {
  return home.config.inventory.find((details) => details.name === name);
}

/** How a register stands in the charter; undefined when nothing was decided about it. */
export function decidedTerms(home: Home, id: string): Charter["registers"][number] | undefined {
  return home.charter.registers.find((register) => register.id === id);
}

/**
 * Declares a register: vital to the State, and not protected yet. It comes into the inventory, sealed for the
 * sites, and into the charter by its pseudonym. Throws `usage` when there is one of that name.
 */
export async function declareRegister(
  home: Home,
  declaration: Declaration,
  sensitivity: Sensitivity,
  now: Date,
): Promise<Given> {
  const before = inventoryOf(home, declaration.name);
  if (before && decidedTerms(home, before.id)) {
    throw new ExclaveError("usage", `there is a register "${declaration.name}" already`);
  }
  const details = newDetails(declaration);
  const order: Order = {
    kind: "define-register",
    register: {
      id: details.id,
      details: digestOf(details),
      sites: [],
      k: 1,
      survive: 0,
      epochSeconds: REGISTER_EPOCH_SECONDS,
      sensitivity,
    },
  };
  // Every host country reads the reason: what a register is called is not in it.
  const reason = "A register is vital to the State";
  const grounds = { reason, citation: "none given; proposed with exclave register declare" };
  await draftDecision(home, order, grounds, now);
  await keepDetails(home, details, now);
  return give(home, order, grounds, now);
}

/**
 * Protects a register by these terms: decided, or proposed where people have to sign. A declared one of that
 * name becomes this one. Throws as `give` does.
 */
export async function addRegister(
  home: Home,
  plan: Omit<RegisterConfig, "id" | "epoch"> & { readonly epochSeconds?: number },
  now: Date,
): Promise<{ readonly config: RegisterConfig; readonly given: Given }> {
  const { epochSeconds, ...terms } = plan;
  const { name, sites, k, survive } = terms;
  const known = inventoryOf(home, name);
  const details = known ?? newDetails({ name });
  const before = decidedTerms(home, details.id);
  const order: Order = {
    kind: "define-register",
    register: {
      id: details.id,
      details: digestOf(details),
      sites,
      k,
      survive,
      epochSeconds: epochSeconds ?? before?.epochSeconds ?? REGISTER_EPOCH_SECONDS,
      sensitivity: before?.sensitivity ?? "confidential",
    },
  };
  const reason = "A register is to be kept abroad";
  const grounds = { reason, citation: "none given; proposed with exclave register add" };
  // Before anything is touched: an order that no charter could follow is refused.
  await draftDecision(home, order, grounds, now);
  if (!known) await keepDetails(home, details, now);
  const given = await give(home, order, grounds, now);
  const config = { ...terms, id: details.id, epoch: 0 };
  await home.saveRegister(config);
  return { config, given };
}

function newDetails(declaration: Declaration): RegisterDetails {
  return {
    kind: "register-details",
    format: 1,
    id: randomId("RegisterId"),
    ...declaration,
    random: documentRandom(),
  };
}

async function keepDetails(home: Home, details: RegisterDetails, now: Date): Promise<void> {
  // One of that name was never decided: it gives way.
  await home.changeConfig((config) => {
    const others = config.inventory.filter(({ name }) => name !== details.name);
    return { ...config, inventory: [...others, details] };
  });
  await home.saveAnnex(
    sealAnnex(
      details,
      { state: home.state, recovery: home.charter.recovery },
      { agent: home.agent, time: now },
    ),
  );
}
