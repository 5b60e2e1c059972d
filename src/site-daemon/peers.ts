/**
 * Sites tell each other of objections: a veto or a freeze that came here is brought to the other sites of the State,
 * so that who signs it needs to reach one of them. There it is judged by who signed it, as everywhere.
 */
import { setTimeout as delay } from "node:timers/promises";
import type { Logger } from "pino";
import type { PublicSigningKey, SigningKey } from "../crypto/signing.ts";
import { isExclaveError } from "../errors.ts";
import { openRemoteSite } from "../sites/remote.ts";
import {
  PEER_ATTEMPTS_MAX,
  PEER_PAPERS_MAX,
  PEER_RETRY_FIRST_MS,
  PEER_RETRY_MS_MAX,
} from "./limits.ts";
import { messageOf } from "./state-service.ts";

export type KnownPeer = {
  /** As the charter calls the site. */
  readonly name: string;
  readonly url: string;
  readonly key: PublicSigningKey;
};

export type ToldPaper = {
  readonly state: string;
  readonly name: string;
  readonly bytes: Uint8Array;
};

export type PeersOptions = {
  readonly peers: readonly KnownPeer[];
  readonly signer: SigningKey;
  /** Whether the State's charter has a site of that key: others are not told. */
  readonly isSiteOf: (state: string, keyId: string) => boolean;
  readonly log: Logger;
  readonly now: () => Date;
  readonly wait?: (ms: number, signal: AbortSignal) => Promise<unknown>;
};

export class Peers {
  readonly #options: PeersOptions;
  readonly #stop = new AbortController();
  readonly #queues = new Map<KnownPeer, { papers: ToldPaper[]; running: Promise<void> }>();

  constructor(options: PeersOptions) {
    this.#options = options;
    for (const peer of options.peers) {
      this.#queues.set(peer, { papers: [], running: Promise.resolve() });
    }
  }

  tell(paper: ToldPaper): void {
    for (const [peer, queue] of this.#queues) {
      if (!this.#options.isSiteOf(paper.state, peer.key.id)) continue;
      if (queue.papers.length >= PEER_PAPERS_MAX) {
        this.#options.log.error({ peer: peer.name }, "too many papers wait to be told; one is not");
        continue;
      }
      queue.papers.push(paper);
      queue.running = queue.running.then(() => this.#tellNext(peer, queue.papers));
    }
  }

  /** Resolves when everything was told, or given up. */
  async settled(): Promise<void> {
    await Promise.all([...this.#queues.values()].map(({ running }) => running));
  }

  async close(): Promise<void> {
    this.#stop.abort();
    await this.settled();
  }

  async #tellNext(peer: KnownPeer, papers: ToldPaper[]): Promise<void> {
    const [paper] = papers;
    if (!paper) return;
    const { log, wait = (ms, signal) => delay(ms, undefined, { signal }) } = this.#options;
    const { signal } = this.#stop;
    for (let attempt = 1; !signal.aborted; attempt++) {
      try {
        await this.#put(peer, paper);
        log.info({ peer: peer.name, object: paper.name }, "a paper was told to another site");
        break;
      } catch (error) {
        const isFinal = isExclaveError(error) && ["malformed", "altered"].includes(error.code);
        log.warn({ peer: peer.name, attempt, err: messageOf(error) }, "a paper was not told");
        if (isFinal || attempt >= PEER_ATTEMPTS_MAX) break;
      }
      const waitMs = Math.min(PEER_RETRY_MS_MAX, PEER_RETRY_FIRST_MS * 2 ** (attempt - 1));
      await wait(waitMs, signal).catch(() => undefined);
    }
    papers.shift();
  }

  async #put({ name, url, key }: KnownPeer, { state, name: object, bytes }: ToldPaper) {
    const { signer, now, isSiteOf } = this.#options;
    const site = await openRemoteSite({
      url,
      identity: { name, country: "", operator: "", hazardZone: "" },
      state,
      site: key,
      // Papers are taken from anybody; whom the charter names need not stand in line with strangers.
      signer: isSiteOf(state, signer.id) ? signer : undefined,
      now,
    });
    try {
      await site.put(object, [bytes], { signal: this.#stop.signal });
    } finally {
      await site.close();
    }
  }
}
