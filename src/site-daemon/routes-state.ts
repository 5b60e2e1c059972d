/** What is asked of a State as a whole: lists, receipts, its status. */
import type { IncomingMessage } from "node:http";
import { z } from "zod";
import { sha256 } from "../crypto/hash.ts";
import { contentDigest } from "../crypto/http-signature.ts";
import type { SigningKey } from "../crypto/signing.ts";
import { parseStrictJson } from "../crypto/strict-json.ts";
import { ExclaveError, isExclaveError } from "../errors.ts";
import type { ObjectKind } from "../sites/site.ts";
import { signSiteReceipt } from "../sites/site-receipt.ts";
import { GOVERNANCE_KINDS, LIST_PAGE_NAMES, RECEIPT_OBJECTS_MAX } from "../sites/wire.ts";
import { tooLong } from "./answers.ts";
import { one } from "./authenticate.ts";
import { dayOf } from "./book.ts";
import type { Requester } from "./judge.ts";
import { BODY_BYTES_MAX } from "./limits.ts";
import { readBody } from "./read-body.ts";
import { contentLengthOf, type ObjectRoutes } from "./routes-objects.ts";
import type { StateService } from "./state-service.ts";
import { requireName } from "./verify-object.ts";

/** A promise is not made for longer than this, whatever the charter says: dates end somewhere. */
const RETENTION_SECONDS_MAX = 200 * 366 * 86_400;

/** A page of names, without the kind. Throws `untrusted` for what strangers are not told. */
export function listPage(
  service: StateService,
  requester: Requester,
  kind: ObjectKind,
  after: string | undefined,
): string {
  if (requester.kind === "anybody" && !GOVERNANCE_KINDS.includes(kind)) {
    throw new ExclaveError("untrusted", "this is listed with signed requests alone");
  }
  const seesAll = seesAside(service, requester);
  const names: string[] = [];
  let at = after ?? "";
  for (;;) {
    const some = service.store.index.page(kind, at, LIST_PAGE_NAMES + 1 - names.length);
    const last = some.at(-1);
    for (const rest of some) {
      if (seesAll || !service.store.isAside(`${kind}/${rest}`)) names.push(rest);
    }
    if (last === undefined || names.length > LIST_PAGE_NAMES) break;
    at = last;
  }
  const page = names.slice(0, LIST_PAGE_NAMES).map((rest) => `${rest}\n`);
  return `${page.join("")}${names.length > LIST_PAGE_NAMES ? "\n" : ""}`;
}

/** Whether the requester is shown what was set aside. */
function seesAside({ judge }: StateService, requester: Requester): boolean {
  try {
    judge.mayRead(requester, {
      kind: "charter",
      name: `charter/${"0".repeat(64)}`,
      quarantined: true,
    });
    return true;
  } catch (error) {
    if (isExclaveError(error, "refused")) return false;
    throw error;
  }
}

const receiptsSchema = z.strictObject({
  objects: z.array(z.string().max(200)).max(RECEIPT_OBJECTS_MAX),
});

/** The site's receipt for what it is asked for. Throws `refused` for whom it gives none. */
export async function giveReceipt(
  { limits, room }: ObjectRoutes,
  service: StateService,
  requester: Requester,
  request: IncomingMessage,
  key: SigningKey,
): Promise<Uint8Array> {
  if (requester.kind === "anybody") {
    throw new ExclaveError("untrusted", "receipts are given to signed requests alone");
  }
  if (requester.kind !== "agent") {
    throw new ExclaveError("refused", "receipts are given to the State's agents");
  }
  const bytes = contentLengthOf(request);
  if (bytes > BODY_BYTES_MAX.receipts) throw tooLong();
  const never = new AbortController();
  const held = await room.take(bytes, service.id, limits.roomMsMax, never.signal);
  let names: readonly string[];
  try {
    await readBody(request, held.bytes, limits);
    if (one(request.headers, "content-digest") !== contentDigest(sha256(held.bytes))) {
      throw new ExclaveError("altered", "what came does not have the digest that was signed");
    }
    const parsed = receiptsSchema.safeParse(
      parseStrictJson(Uint8Array.from(held.bytes), { bytesMax: BODY_BYTES_MAX.receipts }),
    );
    if (!parsed.success) throw new ExclaveError("malformed", "not a request for receipts");
    names = [...new Set(parsed.data.objects)];
  } finally {
    held.release();
  }
  for (const name of names) requireName(name);
  return receiptFor(service, names, key, limits.statsAtOnce);
}

async function receiptFor(
  service: StateService,
  names: readonly string[],
  key: SigningKey,
  statsAtOnce: number,
): Promise<Uint8Array> {
  const { store, judge } = service;
  const held = new Set<string>();
  for (let at = 0; at < names.length; at += statsAtOnce) {
    const some = names.slice(at, at + statsAtOnce);
    // Looked at where it lies, not in the index: this is a promise.
    const infos = await Promise.all(
      some.map(async (name) => (store.isAside(name) ? undefined : store.storage.site.stat(name))),
    );
    for (const info of infos) {
      if (info && store.find(info.name)?.bytes === info.bytes) held.add(info.name);
    }
  }
  const time = service.now();
  const seconds = Math.min(judge.retentionSeconds(), RETENTION_SECONDS_MAX);
  const retainUntil = new Date(time.getTime() + seconds * 1000);
  const rows = names.flatMap((name) => (held.has(name) ? (store.find(name) ?? []) : []));
  const promised = new Set(rows.map(({ name }) => name));
  const epochs = new Map(
    rows.flatMap(({ shard }) =>
      shard ? [[`${shard.register} ${shard.epoch}`, shard] as const] : [],
    ),
  );
  // Kept before it is given.
  store.book.promise([...epochs.values()], retainUntil);
  return signSiteReceipt(key, {
    state: service.id,
    time,
    retainUntil,
    objects: rows.map(({ name, bytes, storedAt }) => ({ name, bytes, storedAt })),
    missing: names.filter((name) => !promised.has(name)),
  });
}

/** The site's view of the State, as it tells it to whom the State knows. */
export function statusOfState(service: StateService, requester: Requester): unknown {
  if (requester.kind === "anybody") {
    throw new ExclaveError("untrusted", "the status is told to signed requests alone");
  }
  const { store, grant, following, judge } = service;
  const now = service.now();
  const ledger = following.ledger();
  const followedAt = following.followedAt();
  const ageSeconds = followedAt && Math.floor((now.getTime() - followedAt.getTime()) / 1000);
  const allowed = judge.allowance(requester);
  return {
    format: 1,
    state: service.id,
    time: now.toISOString(),
    ledger: ledger && {
      origin: ledger.origin,
      size: ledger.size,
      followedAt: followedAt?.toISOString(),
      fresh: ageSeconds !== undefined && ageSeconds <= grant.viewSecondsMax,
    },
    objects: Object.fromEntries(store.index.totals().map(({ kind, ...total }) => [kind, total])),
    bytes: store.bytes,
    quotaBytes: grant.quotaBytes,
    quarantined: store.book.asideCount,
    locks: store.storage.locks,
    ...(allowed && requester.kind === "agent"
      ? { today: { used: store.book.used(requester.keyId, dayOf(now)), allowed } }
      : {}),
    removed: store.book.removals(),
  };
}
