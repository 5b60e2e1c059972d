/**
 * A proposal: a decision, veto or freeze on its way from hand to hand, with the signatures that it has, maybe
 * none, and the charter that its author saw. A file of strict JSON that fits on any stick. Nothing in it is
 * believed for being in it: who signs reads what it says, and the signatures are counted where it is submitted.
 */
import { z } from "zod";
import { assess, keysFor, type Standing } from "../charter/assess.ts";
import { type Charter, readCharter, type Seat } from "../charter/charter.ts";
import {
  type Decision,
  type Freeze,
  mergePapers,
  type OpenedPaper,
  openPaper,
  type PaperKind,
  paperPayload,
  payloadTypeOf,
  readPayload,
  type Veto,
} from "../charter/decision.ts";
import { mayBeByRecovery } from "../charter/orders.ts";
import { recoveryKey, seatsThatSigned } from "../charter/thresholds.ts";
import { fromBase64, toBase64, toHex } from "../crypto/bytes.ts";
import { mergeEnvelopes, signEnvelope } from "../crypto/dsse.ts";
import { sha256 } from "../crypto/hash.ts";
import type { PublicSigningKey, SigningKey } from "../crypto/signing.ts";
import { encodeJson, parseStrictJson } from "../crypto/strict-json.ts";
import { ExclaveError, isExclaveError } from "../errors.ts";

/** A charter of at most 400 KiB and an envelope of at most 1 MiB, each in base64. */
const PROPOSAL_BYTES_MAX = 2 * 1024 * 1024;
const KINDS = ["decision", "veto", "freeze"] as const satisfies readonly PaperKind[];
export type ProposalKind = (typeof KINDS)[number];

const proposalSchema = z.strictObject({
  kind: z.literal("proposal"),
  format: z.literal(1),
  paper: z.enum(KINDS),
  /** The charter that its author saw: its payload, base64. */
  charter: z.string().max(PROPOSAL_BYTES_MAX),
  /** What is to be signed, base64. */
  payload: z.string().max(PROPOSAL_BYTES_MAX),
  /** The DSSE envelope around it, base64; absent before the first signature. */
  envelope: z.string().max(PROPOSAL_BYTES_MAX).optional(),
});

type Said = Decision | Veto | Freeze;

export type Proposal = {
  readonly kind: ProposalKind;
  readonly charter: Charter;
  readonly charterPayload: Uint8Array;
  readonly payload: Uint8Array;
  /** SHA-256 of the payload: what it is called. */
  readonly id: string;
  readonly state: string;
  /** What the payload says. */
  readonly said: Said;
  /** With its signatures by keys that may count; undefined before the first. */
  readonly opened?: OpenedPaper<ProposalKind>;
};

/**
 * A proposal, without signatures unless there is an envelope with some. Throws `usage` when it says what no
 * reader would accept.
 */
export function newProposal(
  kind: ProposalKind,
  paper: Parameters<typeof paperPayload>[0],
  charterPayload: Uint8Array,
  envelope?: Uint8Array,
): Uint8Array {
  return encode({
    paper: kind,
    charter: charterPayload,
    payload: paperPayload(paper),
    ...(envelope ? { envelope } : {}),
  });
}

/**
 * Reads a proposal. Throws `malformed` for another form, `altered` when a signature does not verify or the
 * envelope holds another paper than the proposal shows.
 */
export function readProposal(bytes: Uint8Array): Proposal {
  const parsed = proposalSchema.safeParse(
    parseStrictJson(bytes, { bytesMax: PROPOSAL_BYTES_MAX, depthMax: 2 }),
  );
  if (!parsed.success) {
    throw new ExclaveError(
      "malformed",
      "the file is no proposal: exclave decide propose makes one",
    );
  }
  const { paper: kind, charter, payload, envelope } = parsed.data;
  const charterPayload = fromBase64(charter);
  const stored = readCharter(charterPayload);
  const payloadBytes = fromBase64(payload);
  const said = readPayload(kind, payloadBytes);
  if (kind === "decision" && (said as Decision).charter !== stored.id) {
    throw new ExclaveError(
      "altered",
      "the proposal was made under another charter than it carries",
    );
  }
  const proposal = {
    kind,
    charter: stored.charter,
    charterPayload,
    payload: payloadBytes,
    id: toHex(sha256(payloadBytes)),
    state: said.state,
    said,
  };
  if (envelope === undefined) return proposal;
  const trusted = trustedFor(said, stored.charter);
  const opened = openPaper(kind, fromBase64(envelope), said.state, trusted);
  if (opened.id !== proposal.id) {
    throw new ExclaveError(
      "altered",
      "the signatures are under another paper than the proposal shows",
    );
  }
  return { ...proposal, opened };
}

/** The proposal with one signature more. Throws `usage` when this key has signed, or has no seat. */
export function signProposal(proposal: Proposal, key: SigningKey): Uint8Array {
  const { kind, opened, payload, charterPayload } = proposal;
  if (opened?.keyIds.includes(key.id) === true) {
    throw new ExclaveError("usage", "this key has signed it already. Nothing was changed");
  }
  const type = payloadTypeOf(kind);
  const own = signEnvelope(type, payload, [key]);
  const signed = openOwn(proposal, own);
  const envelope = opened
    ? mergeEnvelopes([opened.envelope, own], type, new Map([...opened.trusted, ...signed.trusted]))
    : own;
  return encode({ paper: kind, charter: charterPayload, payload, envelope });
}

/** The envelope with the signatures of several copies, as they came back. Throws `usage` when they differ. */
export function mergeProposals(proposals: readonly Proposal[]): Uint8Array {
  const [first] = proposals;
  if (!first || proposals.some(({ id }) => id !== first.id)) {
    throw new ExclaveError("usage", "these files are not copies of one paper. Nothing was changed");
  }
  const signed = proposals.flatMap(({ opened }) => (opened ? [opened] : []));
  if (signed.length > 0) return mergePapers(signed);
  throw new ExclaveError(
    "usage",
    "nobody has signed it yet. Nothing was changed; have it signed: exclave decide sign FILE --key KEY",
  );
}

/** The paper with one's own signature. Throws `untrusted` when that could never count. */
function openOwn(proposal: Proposal, own: Uint8Array): OpenedPaper<ProposalKind> {
  try {
    const { kind, state, said, charter } = proposal;
    return openPaper(kind, own, state, trustedFor(said, charter));
  } catch (cause) {
    if (!isExclaveError(cause, "untrusted")) throw cause;
    throw new ExclaveError(
      "untrusted",
      "this key belongs to no seat of the charter, so its signature would count for nothing. Nothing was signed",
      { cause },
    );
  }
}

/** Who signed a paper, as far as it shows. */
export type Signers = {
  /** Seats of the charter that its author saw. */
  readonly seats: readonly Seat[];
  /** Seats that it would bring. */
  readonly joining: readonly Seat[];
  readonly recovery: boolean;
};

/** Who signed, as of a moment: a seat whose time is over is none. */
export function signersOf({ charter, opened, said }: Proposal, now: Date): Signers {
  const keyIds = opened?.keyIds ?? [];
  const next =
    said.kind === "decision" && said.order.kind === "amend" ? said.order.constitution : undefined;
  const seats = seatsThatSigned(charter.constitution, keyIds, now);
  const joining = next ? seatsThatSigned(next, keyIds, now) : [];
  return {
    seats,
    joining: joining.filter((seat) => !seats.some((one) => isSameSeat(one, seat))),
    recovery: [...recoveryKey(charter).keys()].some((id) => keyIds.includes(id)),
  };
}

function isSameSeat(one: Seat, other: Seat): boolean {
  return one.name === other.name && one.people.some(({ key }) => other.people[0]?.key === key);
}

/** The decision in a proposal, as far as it is one, ready to be assessed; without signatures it has none. */
export function decisionIn({
  id,
  said,
  opened,
  payload,
}: Proposal): OpenedPaper<"decision"> | undefined {
  if (said.kind !== "decision") return undefined;
  const { keyIds = [], trusted = new Map(), envelope = new Uint8Array() } = opened ?? {};
  return { id, paper: said, keyIds, trusted, payload, envelope };
}

/**
 * Where a decision stands by what the proposal alone tells, on a machine that knows nothing of the State:
 * whether it has its signatures, and whether it could take effect at all.
 */
export function standingAlone(proposal: Proposal, now: Date): Standing | undefined {
  const opened = decisionIn(proposal);
  return (
    opened &&
    assess(opened, {
      history: [readCharter(proposal.charterPayload)],
      decisions: [],
      vetoes: [],
      freezes: [],
      enacted: new Map(),
      hadCheckpoint: () => true,
      now,
    })
  );
}

/**
 * The keys whose signatures may count under a paper: of the seats in force, of those that it would bring, and
 * the recovery key where that may sign. Who signs first is nobody's to say, so what a paper orders is taken as
 * it says; where it is submitted, nothing is (`openDecision`).
 */
function trustedFor(said: Said, charter: Charter): ReadonlyMap<string, PublicSigningKey> {
  if (said.kind !== "decision") return keysFor([charter]);
  const { order } = said;
  const next = order.kind === "amend" ? order.constitution : undefined;
  const seats = keysFor([charter, { ...charter, constitution: next ?? charter.constitution }]);
  return mayBeByRecovery(order) ? new Map([...seats, ...recoveryKey(charter)]) : seats;
}

function encode(parts: {
  readonly paper: ProposalKind;
  readonly charter: Uint8Array;
  readonly payload: Uint8Array;
  readonly envelope?: Uint8Array;
}): Uint8Array {
  const { paper, charter, payload, envelope } = parts;
  return encodeJson(
    {
      kind: "proposal",
      format: 1,
      paper,
      charter: toBase64(charter),
      payload: toBase64(payload),
      ...(envelope ? { envelope: toBase64(envelope) } : {}),
    },
    { bytesMax: PROPOSAL_BYTES_MAX },
  );
}
