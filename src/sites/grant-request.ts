/**
 * What a State gives to a site's operator who is to serve it: its id, and the key of the agent that will write.
 * Signed by that key. The operator compares the fingerprint by voice, and makes a grant of it.
 */
import { randomBytes } from "node:crypto";
import { z } from "zod";
import { toBase64, toHex } from "../crypto/bytes.ts";
import { signEnvelope } from "../crypto/dsse.ts";
import type { PublicSigningKey, SigningKey } from "../crypto/signing.ts";
import { encodeJson } from "../crypto/strict-json.ts";
import { ExclaveError } from "../errors.ts";
import { openSelfSigned, secondOf, selfSignedFields } from "./self-signed.ts";

const TYPE = "application/vnd.exclave.grant-request.v1+json";

const { hex, label, moment, signing } = selfSignedFields;

const requestSchema = z.strictObject({
  kind: z.literal("grant-request"),
  format: z.literal(1),
  /** Id of the State: SHA-256 of its founding charter. */
  state: hex(32),
  /** The State's name, as its charter has it. */
  name: label,
  /** SHA-256 of the charter in force when it was signed. */
  charter: hex(32),
  /** The agent, who signed it and is the contact until the site knows the charter. */
  signing,
  quotaBytes: z.int().min(1),
  time: moment,
  random: hex(16),
});
export type GrantRequest = Readonly<z.infer<typeof requestSchema>>;

/** What a request asks for, and for whom. */
export type RequestedGrant = Pick<GrantRequest, "state" | "name" | "charter" | "quotaBytes">;

/** The request, as it is handed out: a DSSE envelope. Throws `usage` for what none can say. */
export function signGrantRequest(
  agent: SigningKey,
  requested: RequestedGrant,
  now: Date,
): Uint8Array {
  const parsed = requestSchema.safeParse({
    ...requested,
    kind: "grant-request",
    format: 1,
    signing: toBase64(agent.publicKey.bytes),
    time: secondOf(now),
    random: toHex(randomBytes(16)),
  });
  if (!parsed.success) {
    const [issue] = parsed.error.issues;
    throw new ExclaveError(
      "usage",
      `a site cannot be asked for this (${issue?.path.join(".") ?? ""}: ${issue?.message ?? ""}). Nothing was made`,
      { cause: parsed.error },
    );
  }
  return signEnvelope(TYPE, encodeJson(parsed.data), [agent]);
}

/** A request whose signature by the key that it names verified. Throws as `openSelfSigned` does. */
export function openGrantRequest(bytes: Uint8Array): {
  readonly request: GrantRequest;
  readonly key: PublicSigningKey;
} {
  const { document, key } = openSelfSigned(bytes, {
    type: TYPE,
    schema: requestSchema,
    what: "a State's request, such as `exclave site request` makes",
  });
  return { request: document, key };
}
