/**
 * Requests to one site: signed, in their turn, each tried again while it may pass. Every request of the protocol may
 * be sent twice: an object is put once, a read gives the same again, and a witness that has cosigned already answers
 * with the size that it has by now, from which it is asked anew.
 */
import { randomInt } from "node:crypto";
import { setTimeout as delay } from "node:timers/promises";
import { type SignedRequest, signRequest } from "../crypto/http-signature.ts";
import type { PublicSigningKey, SigningKey } from "../crypto/signing.ts";
import { parseStrictJson } from "../crypto/strict-json.ts";
import { ExclaveError, invariant, isExclaveError } from "../errors.ts";
import { ConnectionPool } from "./remote-connection.ts";
import { type Answer, exchange, type Head, type Pace } from "./remote-exchange.ts";
import { ERROR_BYTES_MAX, type RemoteLimits } from "./remote-limits.ts";
import { CallWindow } from "./remote-window.ts";
import { errorFrom } from "./wire.ts";

/** A clock that is off by less is not why a request was refused. */
const CLOCK_OFF_SECONDS_MIN = 30;
/** What the site, or somebody on the way, says of now only. */
const PASSING: readonly number[] = [408, 429, 500, 502, 503, 504];
const MINUTE_MS = 60_000;

export type CallerOptions = {
  /** The site's name, for errors. */
  readonly name: string;
  readonly url: URL;
  readonly key: PublicSigningKey | undefined;
  readonly signer: SigningKey | undefined;
  readonly now: () => Date;
  readonly limits: RemoteLimits;
  readonly pace?: Pace | undefined;
  /** How to wait before a call is tried again; for tests. */
  readonly wait?: ((ms: number, signal?: AbortSignal) => Promise<unknown>) | undefined;
};

export type Call = {
  readonly method: "GET" | "HEAD" | "PUT" | "POST";
  /** Path and query. */
  readonly target: string;
  readonly range?: string;
  readonly parts?: readonly Uint8Array[];
  readonly digest?: string | undefined;
  /** Where the body of a good answer goes; one that is longer than this is cut. */
  readonly room: (head: Head) => Uint8Array;
  /** Bytes that the answer will have at most, for the time that it may take; with `parts` their own count too. */
  readonly answerBytes?: number;
  readonly signal?: AbortSignal | undefined;
};

/** How one attempt ended: with an answer, or with something that may pass. */
type Outcome =
  | { readonly answer: Answer }
  | {
      readonly passing: ExclaveError;
      readonly afterMs?: number | undefined;
      /** It met a connection that the site had given up in the meantime. */
      readonly isStale?: boolean;
    };

export class RemoteCaller {
  readonly #options: CallerOptions;
  readonly #pool: ConnectionPool;
  readonly #window: CallWindow;
  readonly #budget: RetryBudget;
  /** What the site's clock is ahead of ours. */
  #clockOffsetMs = 0;

  constructor(options: CallerOptions) {
    this.#options = options;
    this.#pool = new ConnectionPool(options);
    this.#window = new CallWindow({ site: options.name, ...options.limits });
    this.#budget = new RetryBudget(options.limits.retriesPerMinute);
  }

  /** Connects once, and gives the site's key. Rejects with `untrusted` when it is not the site that answers. */
  async meet(): Promise<PublicSigningKey> {
    this.#pool.giveBack(await this.#pool.take());
    invariant(this.#pool.key, "a connection is to a site with a key");
    return this.#pool.key;
  }

  close(): Promise<void> {
    return this.#pool.close();
  }

  /**
   * The site's answer, whatever it says for good. Rejects with `site-unavailable` when there was none, or none but
   * "later", in the attempts that the limits allow.
   */
  async call(call: Call): Promise<Answer> {
    const { limits } = this.#options;
    const bytes = lengthOf(call.parts) + (call.answerBytes ?? 0);
    let mayBeStale = true;
    for (let attempt = 1, delayMs = limits.firstDelayMs; ; ) {
      const outcome = await this.#window.run(() => this.#attempt(call, bytes), bytes, call.signal);
      if ("answer" in outcome) return outcome.answer;
      const { passing, afterMs = 0, isStale } = outcome;
      if (call.signal?.aborted) throw passing;
      // A connection that idled to death says nothing about the site: once, that is for free.
      if (isStale && mayBeStale) {
        mayBeStale = false;
        continue;
      }
      this.#window.trouble();
      const isTooLate = attempt >= limits.attemptsMax || afterMs > limits.retryAfterMsMax;
      if (isTooLate || !this.#budget.take()) throw passing;
      const ms = Math.max(afterMs, jittered(delayMs));
      // Who gives up while it waits is told why there was something to wait for.
      await (this.#options.wait ?? sleep)(ms, call.signal).catch(() => Promise.reject(passing));
      attempt++;
      delayMs = Math.min(delayMs * 2, limits.delayMsMax);
    }
  }

  async #attempt(call: Call, bytes: number): Promise<Outcome> {
    let outcome = await this.#send(call, bytes);
    if (this.#learnTime(outcome)) outcome = await this.#send(call, bytes);
    if (!("answer" in outcome)) return outcome;
    const { status, headers } = outcome.answer;
    if (!PASSING.includes(status)) return outcome;
    return { passing: this.failure(outcome.answer), afterMs: retryAfterMs(headers["retry-after"]) };
  }

  async #send(call: Call, bytes: number): Promise<Outcome> {
    const { name, limits, pace } = this.#options;
    const connection = await this.#connection(call.signal);
    if ("passing" in connection) return connection;
    const wholeMs = limits.wholeMs + (bytes / limits.leastBytesPerSecond) * 1000;
    const answer = await exchange(connection, {
      site: name,
      method: call.method,
      path: call.target,
      headers: this.#headers(call),
      parts: call.parts,
      room: (head) => (head.status < 300 ? call.room(head) : new Uint8Array(ERROR_BYTES_MAX)),
      limits: { silenceMs: limits.silenceMs, wholeMs },
      signal: call.signal,
      pace,
    });
    if (!("failure" in answer)) {
      this.#pool.giveBack(connection);
      return { answer };
    }
    const isStale = answer.isHungUp && connection.wasUsed;
    if (isStale) this.#pool.forget();
    return { passing: answer.failure, isStale };
  }

  async #connection(
    signal: AbortSignal | undefined,
  ): Promise<Awaited<ReturnType<ConnectionPool["take"]>> | { readonly passing: ExclaveError }> {
    try {
      return await this.#pool.take(signal);
    } catch (error) {
      if (isExclaveError(error, "site-unavailable")) return { passing: error };
      // Who does the site's work then does not care why the site is not there.
      if (isExclaveError(error, "untrusted")) {
        throw new ExclaveError("site-unavailable", error.message, { cause: error });
      }
      throw error;
    }
  }

  #headers(call: Call): Record<string, string> {
    const { url, signer, now } = this.#options;
    const site = this.#pool.key;
    invariant(site, "nothing is sent to a site whose key is not known");
    const request: SignedRequest = {
      method: call.method,
      target: call.target,
      site: site.id,
      range: call.range,
      contentLength: call.parts ? `${lengthOf(call.parts)}` : undefined,
      contentDigest: call.digest,
    };
    const seconds = Math.floor((now().getTime() + this.#clockOffsetMs) / 1000);
    return {
      host: url.host,
      "exclave-site": site.id,
      ...(request.range === undefined ? {} : { range: request.range }),
      ...(request.contentLength === undefined ? {} : { "content-length": request.contentLength }),
      ...(request.contentDigest === undefined ? {} : { "content-digest": request.contentDigest }),
      ...(signer ? signRequest(request, signer, seconds) : {}),
    };
  }

  /** Takes over the site's time for requests to it; true when what was refused had been signed at another. */
  #learnTime(outcome: Outcome): boolean {
    if (!("answer" in outcome) || outcome.answer.status !== 401) return false;
    const theirs = Date.parse(outcome.answer.headers.date ?? "");
    if (Number.isNaN(theirs)) return false;
    const offset = theirs - this.#options.now().getTime();
    const isOff = Math.abs(offset - this.#clockOffsetMs) >= CLOCK_OFF_SECONDS_MIN * 1000;
    if (isOff) this.#clockOffsetMs = offset;
    return isOff;
  }

  /** The error that an answer stands for. */
  failure({ status, body, whole }: Answer): ExclaveError {
    return errorFrom(this.#options.name, status, whole ? parsed(body) : undefined);
  }
}

/** A token bucket. */
class RetryBudget {
  readonly #perMinute: number;
  #left: number;
  #at = performance.now();

  constructor(perMinute: number) {
    this.#perMinute = perMinute;
    this.#left = perMinute;
  }

  take(): boolean {
    const now = performance.now();
    const more = ((now - this.#at) / MINUTE_MS) * this.#perMinute;
    this.#left = Math.min(this.#perMinute, this.#left + more);
    this.#at = now;
    if (this.#left < 1) return false;
    this.#left--;
    return true;
  }
}

export function lengthOf(parts: readonly Uint8Array[] = []): number {
  return parts.reduce((sum, part) => sum + part.length, 0);
}

async function sleep(ms: number, signal: AbortSignal | undefined): Promise<void> {
  await delay(ms, undefined, signal ? { signal } : {});
}

/** Between half of it and all: so that many that failed together do not come back together. */
function jittered(ms: number): number {
  return ms / 2 + randomInt(0, Math.max(1, Math.ceil(ms / 2)));
}

function retryAfterMs(header: string | undefined): number | undefined {
  return /^[0-9]{1,9}$/.test(header ?? "") ? Number(header) * 1000 : undefined;
}

function parsed(body: Uint8Array): unknown {
  try {
    return parseStrictJson(body);
  } catch {
    return undefined;
  }
}
