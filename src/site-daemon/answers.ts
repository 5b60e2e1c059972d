/** Answers on the wire: refusals, also while a body is still on its way, and large bodies in bounded pieces. */
import type { IncomingMessage, ServerResponse } from "node:http";
import { type ErrorCode, ExclaveError, isExclaveError } from "../errors.ts";
import { statusOf } from "../sites/wire.ts";
import type { Limits } from "./limits.ts";

/** A refusal that says when to come back, or has a status that its code alone does not tell. */
export class Refusal extends ExclaveError {
  readonly status: number;
  readonly retryAfterSeconds: number | undefined;

  constructor(code: ErrorCode, message: string, status: number, retryAfterSeconds?: number) {
    super(code, message);
    this.status = status;
    this.retryAfterSeconds = retryAfterSeconds;
  }
}

/** What every State that is not served, and everything that is not there, looks like. */
export function notHere(): ExclaveError {
  return new ExclaveError("not-found", "there is no such State here, or no such object");
}

export function tooMany(seconds: number): Refusal {
  return new Refusal("site-unavailable", "too many requests. Send it again later", 429, seconds);
}

export function tooLong(): Refusal {
  return new Refusal("malformed", "it is longer than any object of that kind", 413);
}

const RETRY_AFTER_SECONDS = 5;

export type Problem = {
  readonly status: number;
  readonly code: ErrorCode;
  readonly message: string;
  readonly retryAfterSeconds: number | undefined;
};

/** How an error is told to whoever asked: nothing of the machine is in it that the rules do not tell. */
export function problemOf(error: unknown): Problem {
  if (error instanceof Refusal) {
    const { status, code, message, retryAfterSeconds } = error;
    return { status, code, message, retryAfterSeconds };
  }
  if (!isExclaveError(error) || statusOf(error.code) === 500) {
    return {
      status: 500,
      code: "bug",
      message: "the site made a mistake, which it has noted. Nothing was acknowledged",
      retryAfterSeconds: undefined,
    };
  }
  const { code } = error;
  // What the place behind says of itself, paths and all, is for the operator.
  const ownWords = error.cause === undefined;
  const message = ownWords ? error.message : (ABOUT[code] ?? error.message);
  return {
    status: statusOf(code),
    code,
    message,
    retryAfterSeconds: code === "site-unavailable" ? RETRY_AFTER_SECONDS : undefined,
  };
}

const ABOUT: Partial<Record<ErrorCode, string>> = {
  "disk-full": "the site's disk is full. Nothing was acknowledged",
  "site-unavailable": "the site's storage does not answer. Nothing was acknowledged",
};

/**
 * Sends a refusal. A body that is still coming is thrown away up to a bound, so that whoever sends it gets to read the
 * answer; then the connection is closed.
 *
 * @param isKnown whether the request was signed by somebody whom the State knows: then the whole body is let come
 */
export async function sendProblem(
  request: IncomingMessage,
  response: ServerResponse,
  problem: Problem,
  limits: Limits,
  isKnown: boolean,
): Promise<void> {
  if (response.headersSent || response.destroyed) {
    response.destroy();
    return;
  }
  const body = Buffer.from(
    request.method === "HEAD"
      ? ""
      : JSON.stringify({ error: problem.code, message: problem.message.slice(0, 4000) }),
  );
  const discardMax = isKnown ? Number.POSITIVE_INFINITY : limits.discardBytesMax;
  const left = bytesLeft(request);
  const keeps = left <= discardMax;
  const headers: Record<string, string | number> = {
    "content-type": "application/json",
    "content-length": body.length,
    "cache-control": "no-store",
    ...(problem.retryAfterSeconds === undefined
      ? {}
      : { "retry-after": problem.retryAfterSeconds }),
    ...(keeps ? {} : { connection: "close" }),
  };
  response.writeHead(problem.status, headers);
  if (left === 0 && keeps) {
    response.end(body);
    return;
  }
  response.write(body);
  const whole = await discard(request, Math.min(left, discardMax), limits.discardMsMax);
  response.end();
  // Half a body is no place for the next request to begin.
  if (!whole) request.socket.destroySoon();
}

/** What of a body is still to come, at the most. */
function bytesLeft({ complete, headers }: IncomingMessage): number {
  if (complete) return 0;
  if (headers["transfer-encoding"] !== undefined) return Number.POSITIVE_INFINITY;
  return Number(headers["content-length"] ?? 0);
}

/** Throws away what comes, and says whether it was all. */
function discard(request: IncomingMessage, bytesMax: number, msMax: number): Promise<boolean> {
  return new Promise((resolve) => {
    let bytes = 0;
    const done = (): void => {
      clearTimeout(timer);
      request.off("data", onData).off("end", done).off("close", done).off("error", done);
      resolve(request.complete);
    };
    const timer = setTimeout(done, msMax);
    const onData = (chunk: Uint8Array): void => {
      bytes += chunk.length;
      // The sender is held back from now on, and has the answer; it closes, or time is up.
      if (bytes > bytesMax) request.pause();
    };
    if (request.complete || request.destroyed) return done();
    request.on("data", onData).on("end", done).on("close", done).on("error", done);
    request.resume();
  });
}

/** Resolves when the socket takes more. Rejects when it is gone, or takes nothing for too long. */
export function drained(response: ServerResponse, msMax: number): Promise<void> {
  return new Promise((resolve, reject) => {
    const done = (error?: ExclaveError): void => {
      clearTimeout(timer);
      response.off("drain", onDrain).off("close", onClose);
      if (error) reject(error);
      else resolve();
    };
    const onDrain = (): void => done();
    const onClose = (): void => done(new ExclaveError("site-unavailable", "the reader is gone"));
    const timer = setTimeout(onClose, msMax);
    if (response.destroyed) return onClose();
    response.on("drain", onDrain).on("close", onClose);
  });
}
