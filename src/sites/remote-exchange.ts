/**
 * One request and its answer on one connection. Nothing that was handed over is touched after it settles: what
 * failed, or was not read to its end, has cost the connection, and that was waited for.
 */
import {
  type Agent,
  type ClientRequest,
  type IncomingHttpHeaders,
  type IncomingMessage,
  request as newRequest,
} from "node:http";
import type { TLSSocket } from "node:tls";
import { ExclaveError } from "../errors.ts";
import { HEADER_BYTES_MAX, PACED_PIECE_BYTES_MAX, PIECE_BYTES_MAX } from "./remote-limits.ts";
import { type Watch, type WatchLimits, watch } from "./remote-watch.ts";

/** A connection, and the agent that has no other. */
export type Line = { readonly socket: TLSSocket; readonly agent: Agent };

/** Resolves when so many bytes may go or have come; see `bandwidth.ts`. */
export type Pace = (bytes: number, signal?: AbortSignal) => Promise<void>;

export type Head = { readonly status: number; readonly headers: IncomingHttpHeaders };

export type Message = {
  /** The site's name, for errors. */
  readonly site: string;
  readonly method: string;
  readonly path: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly parts?: readonly Uint8Array[] | undefined;
  /** Where the answer's body goes, once its head is known; it is read no further than this is long. */
  readonly room: (head: Head) => Uint8Array;
  readonly limits: WatchLimits;
  readonly signal?: AbortSignal | undefined;
  readonly pace?: Pace | undefined;
};

export type Answer = Head & {
  /** What of the room was filled. */
  readonly body: Uint8Array;
  /** False when the body was longer than the room. */
  readonly whole: boolean;
};

/** Why there is no answer: `site-unavailable`, whatever happened to the connection, the answer or the time. */
export type Failure = {
  readonly failure: ExclaveError;
  /** The connection ended before anything of an answer had come. */
  readonly isHungUp: boolean;
};

export async function exchange(line: Line, message: Message): Promise<Answer | Failure> {
  const { site, method, path, headers, signal } = message;
  const { socket, agent } = line;
  const request = newRequest({
    agent,
    method,
    path,
    headers,
    setHost: false,
    maxHeaderSize: HEADER_BYTES_MAX,
  });
  const failed = Promise.withResolvers<Failure>();
  let isOver = false;
  const fail = (what: string, cause?: unknown, isHungUp = false): void => {
    if (isOver) return;
    isOver = true;
    const failure = new ExclaveError("site-unavailable", `site ${site} ${what}`, { cause });
    failed.resolve({ failure, isHungUp });
  };
  let hasHead = false;
  const hungUp = (what: string, cause?: unknown): void => fail(what, cause, !hasHead);
  const timer = watch(message.limits, fail);
  const giveUp = (): void => fail("was not waited for any longer");
  signal?.addEventListener("abort", giveUp, { once: true });
  if (signal?.aborted) giveUp();
  request.on("error", (cause) => hungUp(`lost the connection (${reasonOf(cause)})`, cause));
  request.on("close", () => hungUp("closed the connection"));
  const response = Promise.withResolvers<IncomingMessage>();
  request.on("response", response.resolve);
  const sending = new Sending(request, message, timer);
  let receiving: Receiving | undefined;
  let mayGoOn = false;
  try {
    sending.run().catch((cause: unknown) => fail("was not sent what it should store", cause));
    const incoming = await Promise.race([response.promise, failed.promise]);
    if ("failure" in incoming) return incoming;
    hasHead = true;
    timer.progress();
    const head: Head = { status: incoming.statusCode ?? 0, headers: incoming.headers };
    const room = message.room(head);
    receiving = new Receiving(room, message, timer, fail);
    const body = await Promise.race([receiving.run(incoming), failed.promise]);
    if ("failure" in body) return body;
    const { bytes, whole } = body;
    mayGoOn = whole && request.writableFinished && head.headers.connection !== "close";
    return { ...head, body: room.subarray(0, bytes), whole };
  } finally {
    isOver = true;
    timer.stop();
    signal?.removeEventListener("abort", giveUp);
    sending.stop();
    receiving?.stop();
    if (!mayGoOn) await closeSocket(socket, request);
  }
}

/** Resolves when nothing of the connection is left, nor of what was being written to it. */
export async function closeSocket(socket: TLSSocket, request?: ClientRequest): Promise<void> {
  request?.destroy();
  socket.destroy();
  if (!socket.closed) await new Promise((resolve) => socket.once("close", resolve));
}

/** Writes a body piece by piece, as fast as the connection takes it. */
class Sending {
  readonly #request: ClientRequest;
  readonly #message: Message;
  readonly #timer: Watch;
  #isStopped = false;
  #wake: () => void = () => undefined;

  constructor(request: ClientRequest, message: Message, timer: Watch) {
    this.#request = request;
    this.#message = message;
    this.#timer = timer;
    request.on("drain", () => this.#wake());
    request.on("close", () => this.stop());
  }

  /** From here on the parts are left alone. */
  stop(): void {
    this.#isStopped = true;
    this.#wake();
  }

  async run(): Promise<void> {
    const { parts = [], pace, signal } = this.#message;
    for (const piece of piecesOf(parts, pace ? PACED_PIECE_BYTES_MAX : PIECE_BYTES_MAX)) {
      if (pace) await this.#timer.pause(pace(piece.length, signal));
      if (this.#isStopped) return;
      if (!this.#request.write(piece)) {
        await new Promise<void>((resolve) => {
          this.#wake = resolve;
        });
      }
      this.#timer.progress();
      if (this.#isStopped) return;
    }
    this.#request.end();
  }
}

function* piecesOf(parts: readonly Uint8Array[], bytesMax: number): Generator<Uint8Array> {
  for (const part of parts) {
    for (let at = 0; at < part.length; at += bytesMax) {
      yield part.subarray(at, at + bytesMax);
    }
  }
}

/** Reads a body into the room; stops, and cuts it, where that ends. */
class Receiving {
  readonly #room: Uint8Array;
  readonly #message: Message;
  readonly #timer: Watch;
  readonly #fail: (what: string, cause?: unknown) => void;
  #isStopped = false;

  constructor(
    room: Uint8Array,
    message: Message,
    timer: Watch,
    fail: (what: string, cause?: unknown) => void,
  ) {
    this.#room = room;
    this.#message = message;
    this.#timer = timer;
    this.#fail = fail;
  }

  /** From here on the room is left alone. */
  stop(): void {
    this.#isStopped = true;
  }

  /** Resolves at the end of the body or of the room; never where it is broken off, which is told to `fail`. */
  run(incoming: IncomingMessage): Promise<{ readonly bytes: number; readonly whole: boolean }> {
    const { pace, signal } = this.#message;
    const { promise, resolve } = Promise.withResolvers<{ bytes: number; whole: boolean }>();
    let bytes = 0;
    const breakOff = (cause?: unknown): void =>
      this.#fail("broke off in the middle of an answer", cause);
    incoming.on("data", (chunk: Buffer) => {
      if (this.#isStopped) return;
      if (bytes + chunk.length > this.#room.length) {
        this.stop();
        resolve({ bytes, whole: false });
        return;
      }
      this.#room.set(chunk, bytes);
      bytes += chunk.length;
      this.#timer.progress();
      if (!pace) return;
      incoming.pause();
      this.#timer.pause(pace(chunk.length, signal)).then(() => incoming.resume(), breakOff);
    });
    incoming.on("end", () => (incoming.complete ? resolve({ bytes, whole: true }) : breakOff()));
    incoming.on("error", breakOff);
    incoming.on("close", () => breakOff());
    return promise;
  }
}

function reasonOf(error: Error): string {
  return (error as NodeJS.ErrnoException).code ?? error.message;
}
