/** PUT, GET and HEAD of objects. docs/site-protocol.md, sections 3 to 5. */
import type { IncomingMessage, ServerResponse } from "node:http";
import { sha256 } from "../crypto/hash.ts";
import { contentDigest } from "../crypto/http-signature.ts";
import { ExclaveError, isExclaveError } from "../errors.ts";
import type { ObjectKind } from "../sites/site.ts";
import { GOVERNANCE_KINDS, OBJECT_HEADER, QUARANTINED } from "../sites/wire.ts";
import { parseShardName } from "../vault/shard.ts";
import { drained, notHere, Refusal, tooLong } from "./answers.ts";
import { one } from "./authenticate.ts";
import type { BodyRoom } from "./body-room.ts";
import { type Allowance, dayOf } from "./book.ts";
import type { ReadObject, Requester } from "./judge.ts";
import {
  GOVERNANCE_BYTES_PER_DAY_MAX,
  GOVERNANCE_OBJECTS_PER_DAY_MAX,
  type Limits,
} from "./limits.ts";
import { giveBack } from "./memory.ts";
import type { Metrics } from "./metrics.ts";
import type { IndexRow, ShardFacts } from "./object-index.ts";
import type { Places } from "./places.ts";
import { readBody } from "./read-body.ts";
import type { StateService } from "./state-service.ts";
import type { PutOutcome } from "./store.ts";
import { bytesMaxOf, ShardVerifier, verifyDocument } from "./verify-object.ts";

/** What the routes of objects share. */
export type ObjectRoutes = {
  readonly limits: Limits;
  readonly metrics: Metrics;
  /** Memory for bodies, of those who are known and of strangers. */
  readonly room: BodyRoom;
  readonly strangersRoom: BodyRoom;
  /** Pieces that are read at once. */
  readonly pieces: Places;
};

/** Papers that anybody may bring. */
const PAPERS: readonly ObjectKind[] = ["decision", "veto", "freeze", "succession"];
/** Kinds whose name is not the whole hash of what they hold: nothing ever takes the place of what is there. */
const HALF_NAMED: readonly ObjectKind[] = ["ledger", "checkpoint"];
type PaperKind = "decision" | "veto" | "freeze" | "succession";

/** Whose papers are stored as they come: the ledger names them by their envelopes. */
const LEDGER_BRINGERS: readonly Requester["kind"][] = ["agent", "recovery", "contact"];
const HERE_ALREADY: PutOutcome = { isNew: false, quarantined: false, healed: false };

function isPaper(kind: ObjectKind): kind is PaperKind {
  return PAPERS.includes(kind);
}

export type Asked = {
  readonly service: StateService;
  readonly requester: Requester;
  readonly kind: ObjectKind;
  readonly name: string;
  readonly request: IncomingMessage;
};

/** Takes an object. Throws what the answer is when it is not stored. */
export async function putObject(routes: ObjectRoutes, asked: Asked): Promise<PutOutcome> {
  const { service, requester, kind, name, request } = asked;
  const bytes = contentLengthOf(request);
  if (bytes > bytesMaxOf(kind)) throw tooLong();
  const known = requester.kind !== "anybody";
  const digest = one(request.headers, "content-digest");
  if (known && kind !== "shard" && digest === undefined) {
    throw new ExclaveError("malformed", "the request has no content-digest");
  }
  const quarantine = service.judge.mayPut(requester, { kind, name }) === "quarantine";
  const owner = requester.kind === "anybody" ? "" : requester.keyId;
  const budget = new Budget(service, requester, kind, bytes);
  try {
    const signal = new AbortController();
    const gone = (): void => signal.abort();
    request.once("close", gone);
    if (request.destroyed) gone();
    const { room, strangersRoom, limits, metrics } = routes;
    const held = await (known ? room : strangersRoom)
      .take(bytes, known ? service.id : "", limits.roomMsMax, signal.signal)
      .finally(() => request.off("close", gone));
    try {
      const shard = await receive(routes, asked, held.bytes);
      metrics.moved("in", bytes);
      // Documents are parsed, and some are kept a while: a copy of their own, outside of what is handed out again.
      const whole = kind === "shard" ? held.bytes : Uint8Array.from(held.bytes);
      if (kind !== "shard") verifyWhole(asked, whole, digest);
      if (isPaper(kind) && !deliver(asked, kind, whole)) return HERE_ALREADY;
      const object = { name, kind, bytes: whole, shard, owner, quarantine };
      const isNamedByHash = !HALF_NAMED.includes(kind) && service.judge.ground() !== undefined;
      const outcome =
        kind === "ledger"
          ? await service.store.putLedgerFile({ ...object, isNamedByHash }, (file) =>
              service.judge.expectedLedgerFile(file),
            )
          : await service.store.put({ ...object, isNamedByHash });
      if (outcome.isNew) budget.keep();
      service.stored({ kind, name, bytes: whole }, outcome.isNew);
      if (outcome.healed) service.log.warn({ object: name }, "a damaged copy was replaced");
      return outcome;
    } finally {
      held.release();
    }
  } finally {
    budget.close();
  }
}

/** Reads the body, a shard's bytes verified as they come. */
async function receive(
  { limits }: ObjectRoutes,
  { service, requester, kind, name, request }: Asked,
  into: Uint8Array,
): Promise<ShardFacts | undefined> {
  const { judge } = service;
  if (kind !== "shard" || !judge.ground()) {
    await readBody(request, into, limits);
    return undefined;
  }
  const verifier = new ShardVerifier(into, name, service.id, ({ dispersal }) => {
    const { register, epoch, state } = dispersal;
    judge.mayPutShard(requester, { register, epoch, state });
  });
  await readBody(request, into, limits, (filled) => verifier.arrived(filled));
  const { dispersal } = verifier.finish();
  const { register, epoch, k, n } = dispersal;
  return { register, epoch, k, n };
}

function verifyWhole({ service, kind, name }: Asked, bytes: Uint8Array, digest?: string): void {
  if (digest !== undefined && digest !== contentDigest(sha256(bytes))) {
    throw new ExclaveError("altered", "what came does not have the digest that was signed");
  }
  const ground = service.judge.ground();
  if (ground) verifyDocument(kind, name, bytes, ground);
}

/**
 * A paper counts by who signed it, whoever brings it; what home brings is in its ledger, and may count for nothing.
 * Returns whether it is to be stored: anybody can make more envelopes of a paper that is here.
 */
function deliver({ service, requester }: Asked, kind: PaperKind, bytes: Uint8Array): boolean {
  const bringsLedger = LEDGER_BRINGERS.includes(requester.kind);
  try {
    return service.judge.deliver(kind, bytes) || bringsLedger;
  } catch (error) {
    if (!bringsLedger || !isExclaveError(error) || error.code === "bug") throw error;
    return true;
  }
}

/** What an object costs its sender and its State, taken before it comes and given back when it does not stay. */
class Budget {
  readonly #service: StateService;
  readonly #bytes: number;
  readonly #owner: string | undefined;
  readonly #day: string;
  #kept = false;

  constructor(service: StateService, requester: Requester, kind: ObjectKind, bytes: number) {
    const governs = GOVERNANCE_KINDS.includes(kind);
    this.#service = service;
    this.#bytes = bytes;
    this.#day = dayOf(service.now());
    const { store, grant, judge } = service;
    store.reserve(bytes, grant.quotaBytes, governs);
    try {
      const allowed: Allowance | undefined = governs
        ? { bytes: GOVERNANCE_BYTES_PER_DAY_MAX, objects: GOVERNANCE_OBJECTS_PER_DAY_MAX }
        : judge.allowance(requester);
      if (requester.kind === "agent" && allowed) {
        const owner = governs ? `${requester.keyId} governing` : requester.keyId;
        store.book.spend(owner, this.#day, bytes, allowed);
        this.#owner = owner;
      }
    } catch (error) {
      store.release(bytes);
      throw error;
    }
  }

  /** It is stored, and was not before. */
  keep(): void {
    this.#kept = true;
  }

  close(): void {
    const { store } = this.#service;
    store.release(this.#bytes);
    if (this.#owner !== undefined && !this.#kept) {
      store.book.giveBack(this.#owner, this.#day, this.#bytes);
    }
  }
}

export function contentLengthOf({ headers }: IncomingMessage): number {
  const text = one(headers, "content-length");
  if (text === undefined || headers["transfer-encoding"] !== undefined) {
    throw new Refusal("malformed", "a body needs a content-length", 400);
  }
  return /^(0|[1-9][0-9]{0,15})$/.test(text) ? Number(text) : Number.POSITIVE_INFINITY;
}

export function outcomeHeaders({ quarantined }: PutOutcome): Readonly<Record<string, string>> {
  return quarantined ? { [OBJECT_HEADER]: QUARANTINED } : {};
}

/** An object that may be read, by whoever asks. Throws `refused`, `untrusted`, `not-found`. */
export function readable(asked: Asked): { readonly row: IndexRow; readonly covered?: Uint8Array } {
  const { service, requester, kind, name } = asked;
  // Of what is not for everybody, a stranger is not even told whether it is there.
  if (requester.kind === "anybody" && !GOVERNANCE_KINDS.includes(kind)) {
    throw new ExclaveError("untrusted", "this is read with signed requests alone");
  }
  const row = service.store.find(name);
  if (!row) throw notHere();
  service.judge.mayRead(requester, readObjectOf(service, kind, row));
  if (kind !== "ledger") return { row };
  const covered = service.judge.expectedLedgerFile(name);
  return covered ? { row: { ...row, bytes: covered.length }, covered } : { row };
}

export function readObjectOf(service: StateService, kind: ObjectKind, row: IndexRow): ReadObject {
  const { name, shard } = row;
  const quarantined = service.store.isAside(name);
  if (!shard) return { kind, name, quarantined };
  return { kind, name, quarantined, shard: { ...shard, ...parseShardName(name) } };
}

/** Sends the bytes that were asked for, from storage to the socket in bounded pieces. */
export async function sendObject(
  { limits, metrics, pieces }: ObjectRoutes,
  { service, name, request }: Asked,
  { row, covered }: ReturnType<typeof readable>,
  response: ServerResponse,
): Promise<void> {
  const range = rangeOf(one(request.headers, "range"), row.bytes);
  const bytes = range.end - range.start;
  const head = {
    "content-type": "application/octet-stream",
    "content-length": bytes,
    "accept-ranges": "bytes",
    "cache-control": "no-store",
    ...(range.partial
      ? { "content-range": `bytes ${range.start}-${range.end - 1}/${row.bytes}` }
      : {}),
  };
  const status = range.partial ? 206 : 200;
  for (let at = range.start; ; ) {
    const count = Math.min(limits.readPieceBytes, range.end - at);
    const leave = await pieces.enter();
    // Given back before the socket takes it: who reads slowly holds nobody up.
    const piece = await (covered
      ? Promise.resolve(covered.subarray(at, at + count))
      : readPiece(service, name, at, count)
    ).finally(leave);
    if (at === range.start) response.writeHead(status, head);
    at += count;
    metrics.moved("out", count);
    // The ledger's own bytes stay; what was read for this answer is of no use once it is sent.
    const sent = covered ? undefined : () => giveBack(piece);
    if (at >= range.end) {
      response.end(piece, sent);
      return;
    }
    if (!response.write(piece, sent)) await drained(response, limits.readSilenceMsMax);
  }
}

async function readPiece(
  { store }: StateService,
  name: string,
  at: number,
  count: number,
): Promise<Uint8Array> {
  const piece = Buffer.allocUnsafeSlow(count);
  if (count > 0 && (await store.read(name, at, piece)) !== count) {
    throw new ExclaveError("site-unavailable", "the stored copy of this object is damaged");
  }
  return piece;
}

/** One range, from a first byte on; none is the whole. Throws `malformed`, with status 416 past the end. */
export function rangeOf(
  header: string | undefined,
  size: number,
): { readonly start: number; readonly end: number; readonly partial: boolean } {
  if (header === undefined) return { start: 0, end: size, partial: false };
  const [, first, last] = /^bytes=([0-9]{1,15})-([0-9]{0,15})$/.exec(header) ?? [];
  if (first === undefined || last === undefined) {
    throw new ExclaveError("malformed", "a range is bytes=FIRST-LAST, and there is one");
  }
  const start = Number(first);
  const end = last === "" ? size : Math.min(size, Number(last) + 1);
  if (start >= size || end <= start) {
    throw new Refusal("malformed", "the range begins past the object's end", 416);
  }
  return { start, end, partial: true };
}
