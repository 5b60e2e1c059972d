/** Takes the body of a request into memory that is there already, and cuts off whoever is too slow. */
import type { IncomingMessage } from "node:http";
import { ExclaveError } from "../errors.ts";
import type { Limits } from "./limits.ts";
import { giveBack } from "./memory.ts";

const WATCH_MS = 1000;

/**
 * Fills `into` with the body, which has exactly as many bytes. Rejects with `site-unavailable` when it comes too slowly or
 * breaks off, and with whatever `arrived` throws, at once.
 *
 * @param arrived called with how much there is by now, from the first byte on
 */
export function readBody(
  request: IncomingMessage,
  into: Uint8Array,
  limits: Limits,
  arrived: (filled: number) => void = () => undefined,
): Promise<void> {
  return new Promise((resolve, reject) => {
    // Whoever left while it was looked at who asks is not waited for.
    if (request.destroyed) return reject(cutShort());
    const beganMs = performance.now();
    let lastMs = beganMs;
    let filled = 0;
    const done = (error?: unknown): void => {
      clearInterval(watch);
      request.off("data", onData).off("end", onEnd).off("close", onClose).off("error", onClose);
      if (error === undefined) {
        resolve();
        return;
      }
      // What still comes is thrown away with the answer, or not read at all.
      request.pause();
      reject(error);
    };
    const onData = (chunk: Uint8Array): void => {
      lastMs = performance.now();
      if (filled + chunk.length > into.length) {
        done(new ExclaveError("malformed", "the body is longer than it was said to be"));
        return;
      }
      into.set(chunk, filled);
      filled += chunk.length;
      giveBack(chunk);
      try {
        arrived(filled);
      } catch (error) {
        done(error);
      }
    };
    const onEnd = (): void => done(filled === into.length ? undefined : cutShort());
    const onClose = (): void => done(cutShort());
    const watch = setInterval(() => {
      const nowMs = performance.now();
      const spentMs = nowMs - beganMs;
      const slow = filled < ((spentMs - limits.bodyGraceMs) / 1000) * limits.bodyBytesPerSecondMin;
      if (!slow && nowMs - lastMs < limits.bodySilenceMsMax) return;
      done(new ExclaveError("site-unavailable", "the body came too slowly. Nothing was stored"));
    }, WATCH_MS);
    request.on("data", onData).on("end", onEnd).on("close", onClose).on("error", onClose);
  });
}

function cutShort(): ExclaveError {
  return new ExclaveError("site-unavailable", "the body broke off. Nothing was stored");
}
