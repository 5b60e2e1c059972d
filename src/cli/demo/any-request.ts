/** Any request to a site, also such as no client of ours makes: a thief has software of their own. */
import { Agent, request as begin } from "node:https";
import { text } from "node:stream/consumers";
import { z } from "zod";
import { fromBase64 } from "../../crypto/bytes.ts";
import { sha256 } from "../../crypto/hash.ts";
import { contentDigest, signRequest } from "../../crypto/http-signature.ts";
import { parseSigningPublicKey, type SigningKey } from "../../crypto/signing.ts";
import type { DemoSite } from "./sites.ts";

const ANSWER_MS_MAX = 30_000;
const CONNECTIONS_MAX = 4;

/** Connections to one site that are used again; whoever made them ends them with `destroy`. */
export function connections(): Agent {
  return new Agent({ keepAlive: true, maxSockets: CONNECTIONS_MAX });
}

export type AnyRequest = {
  readonly method: string;
  /** Path and query. */
  readonly target: string;
  readonly body?: Uint8Array;
  /** Who signs it; nobody when absent. */
  readonly signer?: SigningKey | undefined;
  /** By default a connection of its own. */
  readonly agent?: Agent;
};

export type Answered = {
  readonly site: string;
  readonly status: number;
  /** Of a refusal: its code, and why. */
  readonly code: string;
  readonly message: string;
};

const problemSchema = z.object({ error: z.string(), message: z.string() });

/** Sends a request, signed as docs/site-protocol.md has it, and gives the answer whatever it is. */
export async function send({ card }: DemoSite, asked: AnyRequest): Promise<Answered> {
  const { method, target, body, agent = false } = asked;
  const response = Promise.withResolvers<{ readonly status: number; readonly text: string }>();
  const request = begin(new URL(target, card.url), {
    method,
    headers: headersOf(card.signing, asked),
    agent,
    // A thief does not care whom they talk to; nor is anything said that is secret.
    rejectUnauthorized: false,
    minVersion: "TLSv1.3",
    timeout: ANSWER_MS_MAX,
  });
  request.on("timeout", () => request.destroy(new Error("the site did not answer")));
  request.on("error", response.reject);
  request.on("response", (incoming) => {
    text(incoming).then(
      (said) => response.resolve({ status: incoming.statusCode ?? 0, text: said }),
      response.reject,
    );
  });
  request.end(body);
  const { status, text: said } = await response.promise;
  const problem = problemSchema.safeParse(jsonOf(said)).data;
  return {
    site: card.name,
    status,
    code: problem?.error ?? "",
    message: problem?.message ?? said.trim(),
  };
}

/** A witness answers in text, and what is stored is not spoken of at all. */
function jsonOf(said: string): unknown {
  try {
    return JSON.parse(said);
  } catch {
    return undefined;
  }
}

function headersOf(siteKey: string, { method, target, body, signer }: AnyRequest) {
  const isShard = target.includes("/objects/shard/");
  const contentLength = body && `${body.length}`;
  const digest = body && !isShard ? contentDigest(sha256(body)) : undefined;
  const site = parseSigningPublicKey(fromBase64(siteKey)).id;
  const signed = { method, target, site, contentLength, contentDigest: digest };
  return {
    "exclave-site": site,
    ...(contentLength === undefined ? {} : { "content-length": contentLength }),
    ...(digest === undefined ? {} : { "content-digest": digest }),
    ...(signer ? signRequest(signed, signer, Math.floor(Date.now() / 1000)) : {}),
  };
}
