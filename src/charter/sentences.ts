/** What a person reads before signing: a decision as a sentence, and what it changes, line by line. */
import { toHex, utf8 } from "../crypto/bytes.ts";
import { sha256 } from "../crypto/hash.ts";
import { displayName, fromText } from "../platform/names.ts";
import type { Charter } from "./charter.ts";
import type { Decision } from "./decision.ts";
import { classOf, type Order } from "./orders.ts";

const DAY_SECONDS = 86_400;
const HASH_CHARACTERS = 16;
const LONG_CHARACTERS = 60;

/**
 * A key or another long value, short enough to compare: by its hash, because two keys can be made to
 * begin alike.
 */
function hashOf(text: string): string {
  return `#${toHex(sha256(utf8(text))).slice(0, HASH_CHARACTERS)}`;
}

/** A name as it may be shown: nothing in it can steer a terminal or pass for something else. */
function shown(text: string): string {
  return displayName(fromText(text));
}

const countries = new Intl.DisplayNames(["en"], { type: "region", fallback: "code" });

function country(code: string): string {
  return `${countries.of(code) ?? code} (${code})`;
}

/**
 * The order as one sentence, such as "Expel the site ca in Canada (CA), run by …".
 *
 * @param charter the charter that it would change
 * @param registerName the name of a register, where the reader may know it; else its pseudonym is shown
 */
export function sentenceOf(
  order: Order,
  charter: Charter,
  registerName: (id: string) => string | undefined = () => undefined,
): string {
  const register = (id: string): string => {
    const name = registerName(id);
    return name === undefined ? `the register ${id}` : `the register "${shown(name)}"`;
  };
  switch (order.kind) {
    case "amend":
      return `Amend the charter of ${shown(charter.name)}: ${listed(amendedParts(order))}.`;
    case "admit-site": {
      const { name, country: code, operator, hazardZone } = order.site;
      return `Admit the site ${name} in ${country(code)}, run by ${shown(operator)}, in the hazard zone ${shown(hazardZone)}.`;
    }
    case "expel-site": {
      const site = charter.sites.find(({ name }) => name === order.site);
      const where = site ? ` in ${country(site.country)}, run by ${shown(site.operator)}` : "";
      return `Expel the site ${order.site}${where}: nothing is written to it any more, and what it says counts no more.`;
    }
    case "define-register": {
      const { id, sites, k, survive } = order.register;
      if (sites.length === 0)
        return `Declare ${register(id)} to be vital; nothing protects it yet.`;
      return `Keep ${register(id)} at ${listed(sites)}: any ${k} of these ${sites.length} bring it back, fewer learn nothing, and each recovery point survives the loss of ${survive} from the start.`;
    }
    case "retire-register":
      return `Stop protecting ${register(order.register)}. Its recovery points stay; to destroy them is a decision of its own.`;
    case "rotate-epoch":
      return `Begin a new epoch of ${register(order.register)}, under new keys.`;
    case "revoke-agent":
      return `Take the right to write from the machine with the key ${hashOf(order.signing)}; ignore what it signed since ${order.suspectFrom}.`;
    case "release":
      return `Release ${epochs(order.epochs)} of ${register(order.register)} to the ${order.to} key: who holds that key can then read them.`;
    case "destroy":
      return `DESTROY ${epochs(order.epochs)} of ${register(order.register)} at every site. This cannot be undone.`;
    case "activate":
      return `Let another machine write from now on, in term ${order.agent.term}; the one before writes no more.`;
  }
}

/** When it can take effect, who must sign, and what becomes of it: sentences. */
export function termsOf(decision: Decision, charter: Charter): readonly string[] {
  const orderClass = classOf(decision.order);
  const { signatures, groups, timelockSeconds } = charter.constitution.thresholds[orderClass];
  const terms = [
    `It needs ${signatures} of ${charter.constitution.seats.length} seats${groups
      .map(
        (group) =>
          `, ${group.signatures} of them from ${group.jurisdictions.map(country).join(" or ")}`,
      )
      .join("")}.`,
    timelockSeconds === 0
      ? "It takes effect as soon as it is in the ledger."
      : `It takes effect ${duration(timelockSeconds)} after it is seen in the ledger, unless ${charter.constitution.vetoSignatures} seats veto it.`,
    `It counts when it is in the ledger from ${decision.notBefore} to ${decision.notAfter}.`,
  ];
  if (orderClass !== "destructive") return terms;
  return [
    ...terms,
    decision.carriesOut === undefined
      ? "It announces, and does nothing else: to carry it out takes a second decision."
      : `It carries out what was announced by ${decision.carriesOut.slice(0, HASH_CHARACTERS)}….`,
  ];
}

/** One thing that differs: where in the charter, and how it reads before and after; absent where it was not. */
export type Difference = {
  readonly path: string;
  readonly before?: string;
  readonly after?: string;
};

/** What differs between two charters, version and the like aside. */
export function differencesOf(before: Charter, after: Charter): readonly Difference[] {
  const bookkeeping = new Set(["version", "previous", "decision", "time", "random"]);
  const [one, other] = [leaves(before), leaves(after)];
  const paths = [...new Set([...one.keys(), ...other.keys()])];
  return paths
    .filter((path) => !bookkeeping.has(path) && one.get(path) !== other.get(path))
    .map((path) => ({
      path,
      ...(one.has(path) ? { before: leafText(one.get(path) ?? "") } : {}),
      ...(other.has(path) ? { after: leafText(other.get(path) ?? "") } : {}),
    }));
}

/** Every value of a document by its path; members of lists by what they are called, so that order is no change. */
function leaves(value: unknown, path = "", into = new Map<string, string>()): Map<string, string> {
  if (Array.isArray(value)) {
    for (const [i, one] of value.entries()) leaves(one, `${path}[${nameIn(one) ?? i}]`, into);
  } else if (typeof value === "object" && value !== null) {
    for (const [key, one] of Object.entries(value))
      leaves(one, path ? `${path}.${key}` : key, into);
  } else {
    into.set(path, String(value));
  }
  return into;
}

function leafText(text: string): string {
  return text.length > LONG_CHARACTERS ? hashOf(text) : shown(text);
}

function nameIn(one: unknown): string | undefined {
  if (typeof one !== "object" || one === null) return undefined;
  const { name, id, signing, person } = one as Readonly<Record<string, unknown>>;
  const called = name ?? id ?? person ?? signing;
  return typeof called === "string" ? leafText(called) : undefined;
}

function amendedParts(order: Order & { readonly kind: "amend" }): readonly string[] {
  const names: Readonly<Record<string, string>> = {
    constitution: "seats, thresholds and delays",
    recovery: "the recovery key or its holders",
    agents: "the machines that may write",
    ledger: "the ledger and its witnesses",
    retentionSeconds: "how long recovery points are kept",
    releaseDelaySeconds: "how long a release waits",
    review: "when the charter is due for review",
    annex: "the sealed annex",
  };
  return Object.keys(order).flatMap((part) => names[part] ?? []);
}

function epochs(list: readonly number[]): string {
  return list.length === 1 ? `epoch ${list[0]}` : `the ${list.length} epochs ${list.join(", ")}`;
}

function listed(parts: readonly string[]): string {
  return parts.length < 2 ? parts.join("") : `${parts.slice(0, -1).join(", ")} and ${parts.at(-1)}`;
}

function duration(seconds: number): string {
  const [count, unit] =
    seconds % DAY_SECONDS === 0
      ? [seconds / DAY_SECONDS, "day"]
      : seconds % 3600 === 0
        ? [seconds / 3600, "hour"]
        : [seconds, "second"];
  return `${count} ${unit}${count === 1 ? "" : "s"}`;
}
