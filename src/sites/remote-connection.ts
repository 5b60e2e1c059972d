/**
 * Connections to one site. On each, before anything is asked, the key of the TLS certificate is held against the
 * site's own word for it (docs/site-protocol.md, section 2); who issued the certificate says nothing.
 */
import { Agent } from "node:http";
import { isIP } from "node:net";
import type { Duplex } from "node:stream";
import { connect, type TLSSocket } from "node:tls";
import type { PublicSigningKey } from "../crypto/signing.ts";
import { ExclaveError, isExclaveError } from "../errors.ts";
import { ENDORSEMENT_BYTES_MAX, readEndorsement, tlsKeyId } from "./endorsement.ts";
import { closeSocket, exchange, type Line } from "./remote-exchange.ts";
import type { RemoteLimits } from "./remote-limits.ts";
import { IDENTITY_PATH } from "./wire.ts";

/** TLS keys whose endorsement is remembered: a site has one, and another while it changes. */
const REMEMBERED_MAX = 8;

export type RemoteConnection = Line & {
  /** When its endorsement ends. */
  readonly until: Date;
  /** Whether a request has gone well on it: one that fails then may have met a site that had just hung up. */
  wasUsed: boolean;
};

export type PoolOptions = {
  /** The site's name, for errors. */
  readonly name: string;
  readonly url: URL;
  /** The key that the site must have; undefined to learn it at the first connection. */
  readonly key: PublicSigningKey | undefined;
  readonly now: () => Date;
  readonly limits: RemoteLimits;
};

/** The connections to one site: those that are free, the last used first. */
export class ConnectionPool {
  readonly #options: PoolOptions;
  #free: RemoteConnection[] = [];
  readonly #open = new Set<TLSSocket>();
  readonly #endorsed = new Map<string, Date>();
  #key: PublicSigningKey | undefined;
  #isClosed = false;

  constructor(options: PoolOptions) {
    this.#options = options;
    this.#key = options.key;
  }

  /** The site's key, as it was given or learned. */
  get key(): PublicSigningKey | undefined {
    return this.#key;
  }

  /**
   * A connection to the site, and to nobody else. Rejects with `site-unavailable`; with `untrusted` when who
   * answers is not the site.
   */
  async take(signal?: AbortSignal): Promise<RemoteConnection> {
    const now = this.#options.now().getTime();
    for (let one = this.#free.pop(); one; one = this.#free.pop()) {
      if (one.socket.writable && now < one.until.getTime()) return one;
      one.socket.destroy();
    }
    return this.#connect(signal);
  }

  /** Gives back a connection on which everything went well. */
  giveBack(connection: RemoteConnection): void {
    connection.wasUsed = true;
    if (this.#isClosed) connection.socket.destroy();
    else if (connection.socket.writable) this.#free.push(connection);
  }

  /** Lets go of the free connections: one of them was found to be dead, and they are of one age. */
  forget(): void {
    for (const { socket } of this.#free.splice(0)) socket.destroy();
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    this.#free = [];
    await Promise.all([...this.#open].map((socket) => closeSocket(socket)));
  }

  async #connect(signal: AbortSignal | undefined): Promise<RemoteConnection> {
    const { name, limits } = this.#options;
    const began = performance.now();
    if (this.#isClosed) {
      throw new ExclaveError("site-unavailable", `site ${name} was closed by who used it`);
    }
    const socket = await this.#handshake(signal);
    try {
      const line = { socket, agent: new OneSocketAgent(socket, limits.idleMs) };
      const left = limits.connectMs - (performance.now() - began);
      return { ...line, until: await this.#endorsement(line, left, signal), wasUsed: false };
    } catch (error) {
      await closeSocket(socket);
      throw error;
    }
  }

  async #handshake(signal: AbortSignal | undefined): Promise<TLSSocket> {
    const { name, url, limits } = this.#options;
    const host = url.hostname.replace(/^\[(.*)\]$/, "$1");
    const socket = connect({
      host,
      port: Number(url.port || 443),
      servername: isIP(host) ? "" : host,
      minVersion: "TLSv1.3",
      maxVersion: "TLSv1.3",
      ALPNProtocols: ["http/1.1"],
      // The certificate's key is what counts, and `#endorsement` holds it against the site's word.
      rejectUnauthorized: false,
    });
    socket.setNoDelay(true);
    this.#open.add(socket);
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    const fail = (what: string, cause?: unknown): void =>
      reject(new ExclaveError("site-unavailable", `site ${name} ${what}`, { cause }));
    const late = setTimeout(
      () => fail(`at ${url.host} did not answer within ${limits.connectMs} ms`),
      limits.connectMs,
    );
    const giveUp = (): void => fail("was not waited for any longer");
    signal?.addEventListener("abort", giveUp, { once: true });
    if (signal?.aborted) giveUp();
    socket.on("error", (error: NodeJS.ErrnoException) =>
      fail(`at ${url.host} cannot be reached (${error.code ?? error.message})`, error),
    );
    socket.once("close", () => {
      this.#open.delete(socket);
      fail(`at ${url.host} hung up`);
    });
    socket.once("secureConnect", resolve);
    try {
      await promise;
      return socket;
    } catch (error) {
      await closeSocket(socket);
      throw error;
    } finally {
      clearTimeout(late);
      signal?.removeEventListener("abort", giveUp);
    }
  }

  /** Until when the site endorses the key that this connection has; asks it, on this very connection, if need be. */
  async #endorsement(line: Line, leftMs: number, signal: AbortSignal | undefined): Promise<Date> {
    const { name, url, now } = this.#options;
    const certificate = line.socket.getPeerX509Certificate();
    if (!certificate) {
      throw new ExclaveError("untrusted", `site ${name} at ${url.host} has no certificate`);
    }
    const tls = tlsKeyId(certificate.publicKey);
    const known = this.#endorsed.get(tls);
    if (known && now() < known) return known;
    const room = new Uint8Array(ENDORSEMENT_BYTES_MAX);
    const answer = await exchange(line, {
      site: name,
      method: "GET",
      path: IDENTITY_PATH,
      headers: { host: url.host },
      room: () => room,
      limits: { silenceMs: leftMs, wholeMs: leftMs },
      signal,
    });
    if ("failure" in answer) throw answer.failure;
    const { status, body, whole } = answer;
    if (status >= 500 || status === 429) {
      throw new ExclaveError("site-unavailable", `site ${name} answered with status ${status}`);
    }
    if (status !== 200 || !whole) throw this.#impostor("it does not say who it is");
    try {
      const { site, until } = readEndorsement(body, { site: this.#key, tls, now: now() });
      this.#key = site;
      this.#remember(tls, until);
      return until;
    } catch (error) {
      if (!isExclaveError(error) || error.code === "bug") throw error;
      throw this.#impostor(error.message, error);
    }
  }

  #remember(tls: string, until: Date): void {
    this.#endorsed.delete(tls);
    this.#endorsed.set(tls, until);
    const [oldest] = this.#endorsed.keys();
    if (this.#endorsed.size > REMEMBERED_MAX && oldest !== undefined) this.#endorsed.delete(oldest);
  }

  #impostor(why: string, cause?: unknown): ExclaveError {
    const { name, url } = this.#options;
    return new ExclaveError(
      "untrusted",
      `what answers at ${url.host} is not site ${name}: ${why}. Nothing was sent to it`,
      { cause },
    );
  }
}

/** An agent with one connection, made before; it never makes another. */
class OneSocketAgent extends Agent {
  readonly #socket: TLSSocket;
  #isTaken = false;

  constructor(socket: TLSSocket, idleMs: number) {
    super({ keepAlive: true, maxSockets: 1, timeout: idleMs });
    this.#socket = socket;
  }

  override createConnection(
    _options: unknown,
    onCreated?: (error: Error | null, stream: Duplex) => void,
  ): Duplex | null | undefined {
    if (!this.#isTaken && this.#socket.writable) {
      this.#isTaken = true;
      return this.#socket;
    }
    onCreated?.(new Error("the connection is gone"), this.#socket);
    return undefined;
  }
}
