/**
 * Trust policies (C2SP tlog-policy): which logs are known, which witnesses, and which of them must have
 * cosigned a checkpoint before it is believed.
 *
 * Stricter than C2SP's text, each time where it matters for a State:
 *
 * - Every `log` line whose key is named as the checkpoint's origin must have signed, not any one of
 *   them. A ledger of Exclave has two such lines, Ed25519 and ML-DSA-44, and either key alone, stolen
 *   or broken, forges nothing.
 * - A public key is in one line only, of logs and witnesses together: else a log could be its own witness.
 * - The file is UTF-8, and its last line is whole.
 */
import { fromUtf8, utf8 } from "../crypto/bytes.ts";
import { ExclaveError, invariant } from "../errors.ts";
import { type OpenedCheckpoint, openCheckpoint, requireLog } from "./checkpoint.ts";
import {
  COSIGNATURE_ED25519,
  formatVerifierKey,
  isSameKey,
  NOTE_ED25519,
  parseVerifierKey,
  type VerifierKey,
} from "./note.ts";
import { malformed } from "./text.ts";
import type { TreeHead } from "./tree-head.ts";

/** As many as C2SP asks every reader to take. */
export const POLICY_LOGS_MAX = 32;
export const POLICY_WITNESSES_MAX = 32;
export const POLICY_GROUPS_MAX = 32;
/** 64 lines with ML-DSA-44 keys are 120 kB. */
export const POLICY_BYTES_MAX = 256 * 1024;

/** The quorum that asks for nobody. */
const NONE = "none";

export interface PolicyLog {
  /** Named as the origin of the log's checkpoints; of type 0x01 or 0x06. */
  readonly key: VerifierKey;
  readonly url?: string;
}

export interface PolicyWitness {
  /** What groups and quorum call it; nothing outside the policy does. */
  readonly name: string;
  /** Of type 0x04 or 0x06. A witness with one of each has two lines, and a group of both. */
  readonly key: VerifierKey;
  readonly url?: string;
}

export interface PolicyGroup {
  readonly name: string;
  /** How many members must have witnessed: 1 to all of them. */
  readonly threshold: number;
  /** Names of witnesses and of groups before this one. */
  readonly members: readonly string[];
}

export interface Policy {
  readonly logs: readonly PolicyLog[];
  readonly witnesses: readonly PolicyWitness[];
  /** Each after the groups that it names. */
  readonly groups: readonly PolicyGroup[];
  /** A witness, a group, or `none`. */
  readonly quorum: string;
}

/** A witness that cosigned. */
export interface Cosigner {
  /** Its name in the policy. */
  readonly witness: string;
  /** The name of its key. */
  readonly keyName: string;
  /** Seconds since 1970; 0 when it tells no time. */
  readonly seconds: number;
}

/** A tree head that a policy believes. */
export interface WitnessedTreeHead {
  readonly head: TreeHead;
  /** When the log says this was its largest tree, in seconds since 1970; 0 when it does not say. */
  readonly logSeconds: number;
  /** Every witness of the policy that cosigned, also those beyond the quorum. */
  readonly cosigners: readonly Cosigner[];
}

/** Reads a policy file. Throws `malformed` for all that tlog-policy, the limits and the rules above exclude. */
export function parsePolicy(bytes: Uint8Array): Policy {
  if (bytes.byteLength > POLICY_BYTES_MAX) throw malformed("a policy is too large");
  const text = fromUtf8(bytes);
  if (/[\x00-\x08\x0b-\x1f\x7f]/.test(text)) throw malformed("a policy holds a control character");
  if (!text.endsWith("\n")) throw malformed("the last line of a policy is not whole");
  const reader = new PolicyReader();
  for (const line of text.split("\n")) {
    // Space and tab alone: what else Unicode takes for a space may be part of a name.
    const [keyword, ...items] = line.split(/[ \t]+/).filter((item) => item !== "");
    if (keyword !== undefined && !keyword.startsWith("#")) reader.line(keyword, items);
  }
  return reader.policy();
}

/** The text of a policy. Throws `bug` for a policy that `parsePolicy` would not have returned. */
export function formatPolicy(policy: Policy): Uint8Array {
  const urlOf = (url: string | undefined): string => (url === undefined ? "" : ` ${url}`);
  const lines = [
    ...policy.logs.map(({ key, url }) => `log ${formatVerifierKey(key)}${urlOf(url)}`),
    ...policy.witnesses.map(
      ({ name, key, url }) => `witness ${name} ${formatVerifierKey(key)}${urlOf(url)}`,
    ),
    ...policy.groups.map(
      ({ name, threshold, members }) => `group ${name} ${threshold} ${members.join(" ")}`,
    ),
    `quorum ${policy.quorum}`,
  ];
  const bytes = utf8(lines.map((line) => `${line}\n`).join(""));
  // Otherwise a line could be smuggled in, which the reader below would not know from a wanted one.
  const words = [
    ...policy.logs.map(({ url }) => url),
    ...policy.witnesses.flatMap(({ name, url }) => [name, url]),
    ...policy.groups.flatMap(({ name, members }) => [name, ...members]),
    policy.quorum,
  ];
  invariant(
    words.every((word) => word === undefined || /^[^ \t\n]+$/.test(word)),
    "names and addresses in a policy are one word each",
  );
  try {
    parsePolicy(bytes);
  } catch (cause) {
    throw new ExclaveError("bug", "a policy that no reader would take", { cause });
  }
  return bytes;
}

/** Whether the quorum is among, or made up of, these witnesses, each of which counts once. */
export function isQuorum(policy: Policy, witnesses: Iterable<string>): boolean {
  if (policy.quorum === NONE) return true;
  const cosigned = new Set(witnesses);
  const satisfied = new Set(
    policy.witnesses.map(({ name }) => name).filter((name) => cosigned.has(name)),
  );
  for (const { name, threshold, members } of policy.groups)
    if (members.filter((member) => satisfied.has(member)).length >= threshold) satisfied.add(name);
  return satisfied.has(policy.quorum);
}

/**
 * The tree head of a checkpoint that the policy believes.
 *
 * Throws `malformed` for another form; `altered` when any signature by a key of the policy does not
 * verify; `untrusted` when no `log` line has the checkpoint's origin, one of those lines did not sign,
 * or the witnesses that cosigned are no quorum.
 */
export function verifyWitnessed(bytes: Uint8Array, policy: Policy): WitnessedTreeHead {
  const keys = [...policy.logs, ...policy.witnesses].map(({ key }) => key);
  const opened = openCheckpoint(bytes, keys);
  const { head } = opened;
  const logKeys = policy.logs.map(({ key }) => key).filter(({ name }) => name === head.origin);
  requireLog(opened, logKeys);
  const cosigners = policy.witnesses.flatMap(({ name, key }) => {
    const seconds = secondsOf(opened, key);
    return seconds === undefined ? [] : [{ witness: name, keyName: key.name, seconds }];
  });
  if (
    !isQuorum(
      policy,
      cosigners.map(({ witness }) => witness),
    )
  )
    throw new ExclaveError(
      "untrusted",
      `${cosigners.length} of the policy's witnesses cosigned the checkpoint of ${head.origin}, ` +
        "which is not the quorum",
    );
  const logSeconds = Math.max(...logKeys.map((key) => secondsOf(opened, key) ?? 0));
  return { head, logSeconds, cosigners };
}

function secondsOf({ signed }: OpenedCheckpoint, key: VerifierKey): number | undefined {
  return signed.find((one) => one.key === key)?.seconds;
}

class PolicyReader {
  readonly #logs: PolicyLog[] = [];
  readonly #witnesses: PolicyWitness[] = [];
  readonly #groups: PolicyGroup[] = [];
  /** Names of witnesses and groups so far; those that are a group's member already, false. */
  readonly #free = new Map<string, boolean>();
  #quorum: string | undefined;

  line(keyword: string, items: readonly string[]): void {
    switch (keyword) {
      case "log":
        this.#log(items);
        break;
      case "witness":
        this.#witness(items);
        break;
      case "group":
        this.#group(items);
        break;
      case "quorum":
        this.#setQuorum(items);
        break;
      default:
        throw malformed("a line of a policy begins with an unknown word");
    }
  }

  policy(): Policy {
    if (this.#quorum === undefined) throw malformed("a policy names no quorum");
    return {
      logs: this.#logs,
      witnesses: this.#witnesses,
      groups: this.#groups,
      quorum: this.#quorum,
    };
  }

  #log([text, url, ...more]: readonly string[]): void {
    if (text === undefined || more.length > 0)
      throw malformed("a log line is not `log <key> [<url>]`");
    const key = this.#key(text, COSIGNATURE_ED25519);
    if (this.#logs.length === POLICY_LOGS_MAX) throw malformed("a policy names too many logs");
    this.#logs.push(url === undefined ? { key } : { key, url });
  }

  #witness([name, text, url, ...more]: readonly string[]): void {
    if (name === undefined || text === undefined || more.length > 0)
      throw malformed("a witness line is not `witness <name> <key> [<url>]`");
    const key = this.#key(text, NOTE_ED25519);
    if (this.#witnesses.length === POLICY_WITNESSES_MAX)
      throw malformed("a policy names too many witnesses");
    this.#define(name);
    this.#witnesses.push(url === undefined ? { name, key } : { name, key, url });
  }

  #group([name, count, ...members]: readonly string[]): void {
    if (name === undefined || count === undefined || members.length === 0)
      throw malformed("a group line is not `group <name> <all|any|k> <name>...`");
    if (this.#groups.length === POLICY_GROUPS_MAX) throw malformed("a policy has too many groups");
    for (const member of members) {
      if (this.#free.get(member) !== true)
        throw malformed("a group has a member that is not defined before, or a member already");
      // A witness could otherwise be counted in two ways.
      this.#free.set(member, false);
    }
    this.#define(name);
    this.#groups.push({ name, threshold: thresholdOf(count, members.length), members });
  }

  #setQuorum([name, ...more]: readonly string[]): void {
    if (name === undefined || more.length > 0)
      throw malformed("a quorum line is not `quorum <name>`");
    if (this.#quorum !== undefined) throw malformed("a policy names more than one quorum");
    if (name !== NONE && !this.#free.has(name))
      throw malformed("the quorum of a policy is not defined before it");
    this.#quorum = name;
  }

  #define(name: string): void {
    if (name === NONE || this.#free.has(name))
      throw malformed("a policy defines a name twice, or the name none");
    this.#free.set(name, true);
  }

  /** A key that is new to the policy and not of the type that would not do in such a line. */
  #key(text: string, unfit: VerifierKey["type"]): VerifierKey {
    const key = parseVerifierKey(text);
    if (key.type === unfit) throw malformed("a key of a policy is of the wrong signature type");
    if ([...this.#logs, ...this.#witnesses].some((line) => isSameKey(line.key, key)))
      throw malformed("a policy has a key twice");
    return key;
  }
}

function thresholdOf(text: string, members: number): number {
  if (text === "all") return members;
  if (text === "any") return 1;
  const threshold = /^[1-9][0-9]?$/.test(text) ? Number(text) : 0;
  if (threshold < 1 || threshold > members)
    throw malformed("the threshold of a group is not 1 to the number of its members");
  return threshold;
}
