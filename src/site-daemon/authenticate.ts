/** Who sends a request, by its signature, before anything of its body is read. docs/site-protocol.md, section 3. */
import type { IncomingHttpHeaders, IncomingMessage } from "node:http";
import { claimedSignature, isSignedBy, type SignedRequest } from "../crypto/http-signature.ts";
import { ExclaveError } from "../errors.ts";
import { CLOCK_SKEW_SECONDS_MAX } from "../sites/wire.ts";
import type { Judge, Requester } from "./judge.ts";

export type AuthenticationGround = {
  /** Id of this site's key. */
  readonly site: string;
  readonly now: Date;
  readonly judge: Judge;
  /** Waits for what is stored already to be followed: a key that is not known yet may be in it. */
  readonly settled: () => Promise<void>;
};

/**
 * Who signed the request; anybody when it is not signed at all. Throws `untrusted` when it is signed and not as it
 * must be, by nobody who is known, for another site, or at another time.
 */
export async function authenticate(
  request: IncomingMessage,
  { site, now, judge, settled }: AuthenticationGround,
): Promise<Requester> {
  const { headers } = request;
  const input = one(headers, "signature-input");
  const signature = one(headers, "signature");
  if (input === undefined && signature === undefined) return { kind: "anybody" };
  const claimed = claimedSignature(input);
  const skewSeconds = Math.abs(now.getTime() / 1000 - claimed.created);
  if (skewSeconds > CLOCK_SKEW_SECONDS_MAX) {
    throw untrusted(
      `the request was signed ${Math.round(skewSeconds)} seconds away from this site's time`,
    );
  }
  if (one(headers, "exclave-site") !== site) throw untrusted("the request is to another site");
  let known = judge.requesterOf(claimed.keyId);
  // A contact may be an agent as soon as what it has brought was followed.
  if (!known || known.requester.kind === "contact") {
    await settled();
    known = judge.requesterOf(claimed.keyId);
  }
  const headersOf = { input, signature };
  if (!known || !(await isSignedBy(signed(request, site), headersOf, known.key, claimed))) {
    throw untrusted("the request is not signed by anybody whom the State's charter names");
  }
  return known.requester;
}

/** What of the request its signature covers. */
function signed({ method = "", url = "", headers }: IncomingMessage, site: string): SignedRequest {
  const hasBody = method === "PUT" || method === "POST";
  return {
    method,
    target: url,
    site,
    range: one(headers, "range"),
    contentLength: hasBody ? one(headers, "content-length") : undefined,
    contentDigest: hasBody && !isShardPut(method, url) ? one(headers, "content-digest") : undefined,
  };
}

/** A shard's name is the hash of what is in it, so nothing else says it. */
export function isShardPut(method: string, target: string): boolean {
  return method === "PUT" && /^\/v1\/states\/[0-9a-f]{64}\/objects\/shard\//.test(target);
}

/** The one value of a header. */
export function one(headers: IncomingHttpHeaders, name: string): string | undefined {
  const value = headers[name];
  return Array.isArray(value) ? value.join(", ") : value;
}

function untrusted(message: string): ExclaveError {
  return new ExclaveError("untrusted", message);
}
