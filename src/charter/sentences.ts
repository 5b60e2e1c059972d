/** What a person reads before signing: a decision as a sentence, and what it changes, line by line. */
import { fromBase64, toHex, utf8 } from "../crypto/bytes.ts";
import { sha256 } from "../crypto/hash.ts";
import { parseSigningPublicKey, SIGNING_PUBLIC_KEY_BYTES } from "../crypto/signing.ts";
import { invariant } from "../errors.ts";
import { displayName, fromText } from "../platform/names.ts";
import { type Charter, constitutionId, ORDER_CLASSES } from "./charter.ts";
import type { Decision } from "./decision.ts";
import { amendsConstitutionAlone, classOf, type Order, requirementsOf } from "./orders.ts";
import type { Succession } from "./succession.ts";

type Amendment = Order & { readonly kind: "amend" };

const DAY_SECONDS = 86_400;
/** The shortest text that is taken for a key: no hash or label is as long. */
const KEY_CHARACTERS = 201;
/** A signing key in base64. */
const SIGNING_KEY_CHARACTERS = 4 * Math.ceil(SIGNING_PUBLIC_KEY_BYTES / 3);

/** A key by its SHA-256: two keys can be made to begin alike. */
function hashOf(text: string): string {
  return `SHA-256 ${toHex(sha256(utf8(text)))}`;
}

/** A signing key as its card shows it, so that people can compare the two; any other key by its hash. */
function keyText(text: string): string {
  if (text.length !== SIGNING_KEY_CHARACTERS) return hashOf(text);
  return `fingerprint ${parseSigningPublicKey(fromBase64(text)).id.replaceAll(/(.{8})(?!$)/g, "$1 ")}`;
}

/** A name as it may be shown: nothing in it can steer a terminal or pass for something else. */
function shown(text: string): string {
  return displayName(fromText(text));
}

const BY_RECOVERY =
  "The recovery key can sign in their place; the seats that would follow must meet their own threshold all the same.";

/** Made when it is first needed: few commands are, and it takes a while. */
let countries: Intl.DisplayNames | undefined;

function country(code: string): string {
  countries ??= new Intl.DisplayNames(["en"], { type: "region", fallback: "code" });
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
      return `Amend the charter of ${shown(charter.name)}: ${listed(amendedParts(order, charter))}.`;
    case "admit-site": {
      const { name, country: code, operator, hazardZone, signing } = order.site;
      const site = `Admit the site ${name} in ${country(code)}, run by ${shown(operator)}, in the hazard zone ${shown(hazardZone)}`;
      return signing === undefined
        ? `${site}. It only stores: what it holds can be removed there.`
        : `${site}. It enforces the charter, with the key ${keyText(signing)}.`;
    }
    case "expel-site": {
      const site = charter.sites.find(({ name }) => name === order.site);
      const where = site ? ` in ${country(site.country)}, run by ${shown(site.operator)}` : "";
      return `Expel the site ${order.site}${where}: nothing is written to it any more, and what it says counts no more.`;
    }
    case "define-register": {
      const { id, sites, k, survive, epochSeconds, sensitivity } = order.register;
      if (sites.length === 0)
        return charter.registers.some((one) => one.id === id)
          ? `Take all sites from ${register(id)}: nothing protects it any more.`
          : `Declare ${register(id)} to be vital; nothing protects it yet.`;
      return `Keep ${register(id)} (${sensitivity}) at ${listed(sites)}: any ${k} of these ${sites.length} bring it back, fewer learn nothing, and each recovery point survives the loss of ${survive} from the start. Its epochs last ${duration(epochSeconds)}.`;
    }
    case "retire-register":
      return `Stop protecting ${register(order.register)}. Its recovery points stay; to destroy them is a decision of its own.`;
    case "rotate-epoch":
      return `Begin a new epoch of ${register(order.register)}, under new keys.`;
    case "revoke-agent":
      return `Take the right to write from the machine with the key ${keyText(order.signing)}; ignore what it signed since ${order.suspectFrom}.`;
    case "release":
      return `Release ${epochs(order.epochs)} of ${register(order.register)} to the ${order.to} key: who holds that key can then read them.`;
    case "destroy":
      return `DESTROY ${epochs(order.epochs)} of ${register(order.register)} at every site. This cannot be undone.`;
    case "activate":
      return `Let another machine, with the key ${keyText(order.agent.signing)}, write from now on, in term ${order.agent.term}; the one before writes no more.`;
  }
}

/**
 * A succession as one text: what ends, what begins, and what to know before the recovery key signs it.
 *
 * @param charter the charter that it follows
 */
export function successionSentence(succession: Succession, charter: Charter): string {
  const { closes, ledger, agent } = succession;
  const [one, other] = ledger.keys.map(hashOf);
  const { witnesses, quorum } = charter.ledger;
  const kept = ledger.witnesses.filter((next) =>
    witnesses.some((witness) => JSON.stringify(witness) === JSON.stringify(next)),
  );
  return [
    `Close the ledger ${shown(closes.origin)} of ${shown(charter.name)} at its first ${closes.size} entries, with the root ${closes.root}; what came after them counts for nothing.`,
    `Go on in the ledger ${shown(ledger.origin)}, generation ${ledger.generation}, with the keys ${one} and ${other}.`,
    `What counts must have been seen by ${ledger.quorum} of its ${ledger.witnesses.length} witnesses (until now ${quorum} of ${witnesses.length}; ${kept.length} stay).`,
    `Let another machine, with the key ${keyText(agent.signing)}, write from now on, in term ${agent.term}; the one before writes no more.`,
    "It takes effect at once, and nobody can veto it; seats, thresholds and delays stay as they are.",
  ].join(" ");
}

/**
 * Who must sign, when it can take effect, and what else to know: sentences.
 *
 * @param after the charter that would follow, as `applyDecision` gives it
 */
export function termsOf(
  decision: Decision,
  before: Charter,
  after: Charter,
  now: Date,
): readonly string[] {
  const { order } = decision;
  const { signatures, groups, timelockSeconds, vetoSignatures } = requirementsOf(
    order,
    before,
    after,
    now,
  );
  const from = groups
    .map(
      (group) =>
        `, ${group.signatures} of them from ${group.jurisdictions.map(country).join(" or ")}`,
    )
    .join("");
  const terms = [
    `It needs ${signatures} of ${before.constitution.seats.length} seats${from}.`,
    ...(amendsConstitutionAlone(order) ? [BY_RECOVERY] : []),
    timelockSeconds === 0
      ? "It takes effect as soon as the ledger has all signatures."
      : `It takes effect ${duration(timelockSeconds)} after the ledger has all signatures, unless ${vetoSignatures} seats veto it.`,
    `It counts from ${decision.notBefore} to ${decision.notAfter}.`,
  ];
  if (constitutionId(before) !== constitutionId(after)) {
    const { thresholds } = after.constitution;
    for (const name of ORDER_CLASSES) {
      terms.push(
        `From then on ${name} decisions need ${thresholds[name].signatures} of ${after.constitution.seats.length} seats and wait ${duration(thresholds[name].timelockSeconds)}.`,
      );
    }
  }
  if (order.kind === "release") {
    terms.push(
      `The recovery key can sign it alone: then it takes effect ${duration(before.releaseDelaySeconds)} after the ledger has it, unless one seat vetoes it.`,
      "A site that enforces gives nothing out before it has itself known of the decision for as long.",
    );
  }
  if (classOf(order, before, now) === "destructive") {
    terms.push(
      decision.carriesOut === undefined
        ? "It announces, and does nothing else: to carry it out takes a second decision, made after it took effect."
        : `It carries out what was announced by decision ${decision.carriesOut}.`,
    );
  }
  return terms;
}

/** One thing that differs: where in the charter, and how it reads before and after; absent where it was not. */
export type Difference = {
  readonly path: string;
  readonly before?: string;
  readonly after?: string;
};

/** What differs between two charters, version and the like aside; a new charter against nothing shows all of it. */
export function differencesOf(before: Charter, after: Charter): readonly Difference[] {
  const bookkeeping = new Set(["version", "previous", "decision", "time", "random"]);
  const [one, other] = [leaves(before), leaves(after)];
  const paths = [...new Set([...one.keys(), ...other.keys()])];
  return paths
    .filter((path) => !bookkeeping.has(path) && one.get(path) !== other.get(path))
    .map((path) => ({
      path,
      ...(one.has(path) ? { before: leafText(one.get(path)) } : {}),
      ...(other.has(path) ? { after: leafText(other.get(path)) } : {}),
    }));
}

/**
 * Every value of a document by its path. Members of a list are called by what names them, where all have
 * names and no two the same, and by their place otherwise; the order of names is a value too, since it can
 * matter, and so is an empty list.
 */
function leaves(value: unknown, path = "", into = new Map<string, string>()): Map<string, string> {
  if (Array.isArray(value)) {
    const names = value.map(nameIn);
    const areNamed =
      names.every((name) => name !== undefined) && new Set(names).size === names.length;
    if (areNamed) into.set(`${path} (in order)`, names.join(", ") || "none");
    for (const [i, one] of value.entries()) {
      leaves(one, `${path}[${areNamed ? names[i] : i + 1}]`, into);
    }
  } else if (typeof value === "object" && value !== null) {
    for (const [key, one] of Object.entries(value)) {
      leaves(one, path ? `${path}.${key}` : key, into);
    }
  } else {
    invariant(!into.has(path), "every value has a path of its own");
    into.set(path, String(value));
  }
  return into;
}

/** Keys are shown by their hash, whole; all else as it is. */
function leafText(text: string | undefined): string {
  if (text === undefined) return "";
  return text.length >= KEY_CHARACTERS && /^[A-Za-z0-9+/=]+$/.test(text)
    ? keyText(text)
    : shown(text);
}

function nameIn(one: unknown): string | undefined {
  if (typeof one === "string") return undefined;
  const { name, id } = one as Readonly<Record<string, unknown>>;
  const called = name ?? id;
  return typeof called === "string" ? shown(called) : undefined;
}

function amendedParts(order: Amendment, charter: Charter): readonly string[] {
  const names: Readonly<Record<string, string>> = {
    name: `the State's name, which becomes ${shown(order.name ?? "")}`,
    constitution: constitutionPart(order, charter),
    reader:
      order.reader && "none" in order.reader
        ? "the reader key, which is taken away"
        : "the reader key",
    recovery:
      order.recovery?.kem === charter.recovery.kem
        ? "who holds shares of the recovery key"
        : "the recovery key, which becomes another one, and its holders",
    agents: "the machines that may write",
    ledger: "the ledger and its witnesses",
    retentionSeconds: "how long recovery points are kept",
    releaseDelaySeconds: "how long a release by the recovery key alone waits",
    review: "when the charter is due for review",
    annex: "the sealed annex",
  };
  return Object.keys(order).flatMap((part) => names[part] ?? []);
}

/** The offices whose people or time alone change; else all that a constitution says. */
function constitutionPart({ constitution }: Amendment, charter: Charter): string {
  const before = charter.constitution;
  const rest = (one: Charter["constitution"]): string =>
    JSON.stringify({
      ...one,
      seats: one.seats.map((seat) => ({ ...seat, people: [], until: "" })),
    });
  if (!constitution || rest(constitution) !== rest(before)) return "seats, thresholds and delays";
  const changed = constitution.seats.filter(
    (seat, i) => JSON.stringify(seat) !== JSON.stringify(before.seats[i]),
  );
  return `who signs as ${listed(changed.map(({ office }) => shown(office)))}`;
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
