/** What a State and a site that enforces agree on. docs/site-protocol.md. */
import { z } from "zod";
import { type ErrorCode, ExclaveError } from "../errors.ts";
import { OBJECT_KINDS, type ObjectKind, parseObjectName } from "./site.ts";

export const IDENTITY_PATH = "/v1/identity";
export const PROGRAM_PATH = "/v1/program";
export const WITNESS_PATH = "/v1/witness";
/** Names in one answer to `list`. */
export const LIST_PAGE_NAMES = 10_000;
/** Objects in one receipt. */
export const RECEIPT_OBJECTS_MAX = 4096;
/** Between the clocks of a requester and a site. */
export const CLOCK_SKEW_SECONDS_MAX = 300;
/** Set on answers for what the site took and set aside. */
export const OBJECT_HEADER = "exclave-object";
export const QUARANTINED = "quarantined";

export function statePath(state: string): string {
  return `/v1/states/${state}`;
}

/** The path of an object, whose name needs no escaping. */
export function objectPath(state: string, name: string): string {
  return `${statePath(state)}/objects/${name}`;
}

export function listPath(state: string, kind: ObjectKind, after: string | undefined): string {
  return `${statePath(state)}/list/${kind}${after === undefined ? "" : `?after=${after}`}`;
}

/** Kinds that a site gives to whoever knows the State's id: whoever verifies a ledger reads them. */
export const GOVERNANCE_KINDS: readonly ObjectKind[] = OBJECT_KINDS.filter(
  (kind) => !["shard", "manifest", "wrap", "annex", "site", "site-receipt"].includes(kind),
);

const STATUS_OF: Partial<Record<ErrorCode, number>> = {
  malformed: 400,
  untrusted: 401,
  refused: 403,
  "not-found": 404,
  exists: 409,
  altered: 422,
  "site-unavailable": 503,
  "disk-full": 507,
};

/** The status of an answer that says this; 500 for what no site says. */
export function statusOf(code: ErrorCode): number {
  return STATUS_OF[code] ?? 500;
}

const problemSchema = z.object({
  error: z.string().max(64),
  message: z.string().max(4000),
});
const CODES = Object.keys(STATUS_OF) as readonly ErrorCode[];

/**
 * The error that an answer stands for. The code is the site's where it agrees with the status; what a
 * stranger on the way has answered is `site-unavailable`.
 *
 * @param body the answer's body, parsed or undefined
 */
export function errorFrom(site: string, status: number, body: unknown): ExclaveError {
  const parsed = problemSchema.safeParse(body);
  const code = parsed.success ? CODES.find((one) => one === parsed.data.error) : undefined;
  const fits =
    code !== undefined &&
    [
      statusOf(code),
      code === "malformed" ? 413 : 0,
      code === "site-unavailable" ? 429 : 0,
    ].includes(status);
  if (parsed.success && code && fits) {
    return new ExclaveError(code, `site ${site}: ${printable(parsed.data.message)}`);
  }
  return new ExclaveError("site-unavailable", `site ${site} answered with status ${status}`);
}

/** Words of a site that may lie, for a terminal: nothing in them moves a cursor. */
function printable(text: string): string {
  return text.replace(/[^\p{L}\p{M}\p{N}\p{P}\p{S} ]/gu, " ");
}

/** An object's name from the two last parts of its path; undefined for what none can be called. */
export function nameFromPath(kind: string, rest: string): string | undefined {
  const name = `${kind}/${rest}`;
  return parseObjectName(name) ? name : undefined;
}
