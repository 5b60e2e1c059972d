/**
 * How a pouch comes in, on the operator's listener: whoever stands at the machine with the medium sends what is on it,
 * and the agent's signature on the pouch stands in for those of the requests. All else is as over the network: who
 * the agent is by the ledger that this site follows, quotas, quarantine, and every byte held against its name.
 *
 *   POST /pouch                                   the manifest; answers with what the pouch is called here
 *   PUT  /pouch/{pouch}/lists/{sha256}            a list of it: from now on its objects are taken
 *   PUT  /pouch/{pouch}/objects/{kind}/{rest}     201, 200, and refusals as in docs/site-protocol.md
 *   POST /pouch/{pouch}/receipts                  the site's receipt for objects of the State
 */
import type { IncomingMessage, ServerResponse } from "node:http";
import { toHex } from "../crypto/bytes.ts";
import { ENVELOPE_BYTES_MAX } from "../crypto/dsse.ts";
import { sha256 } from "../crypto/hash.ts";
import { contentDigest } from "../crypto/http-signature.ts";
import type { SigningKey } from "../crypto/signing.ts";
import { ExclaveError } from "../errors.ts";
import {
  LIST_BYTES_MAX,
  openPouch,
  type Pouch,
  type PouchEntry,
  parseList,
} from "../sites/pouch.ts";
import { notHere, problemOf, sendProblem, tooLong } from "./answers.ts";
import { one } from "./authenticate.ts";
import type { Requester } from "./judge.ts";
import { readBody } from "./read-body.ts";
import { contentLengthOf, type ObjectRoutes, outcomeHeaders, putObject } from "./routes-objects.ts";
import { giveReceipt } from "./routes-state.ts";
import { messageOf, type StateService } from "./state-service.ts";
import { requireName } from "./verify-object.ts";

export const POUCH_PATH = "/pouch";
/** Pouches that are being delivered at once. */
const POUCHES_MAX = 8;

export type PouchIntakeOptions = {
  readonly routes: ObjectRoutes;
  readonly signing: SigningKey;
  readonly states: () => ReadonlyMap<string, StateService>;
};

/** A pouch that is being delivered. */
type Delivery = {
  readonly service: StateService;
  readonly pouch: Pouch;
  readonly keyId: string;
  /** The list whose objects are taken now. */
  entries: ReadonlyMap<string, PouchEntry>;
};

export class PouchIntake {
  readonly #options: PouchIntakeOptions;
  /** By the SHA-256 of the manifest; the one that was begun first is forgotten first. */
  readonly #deliveries = new Map<string, Delivery>();

  constructor(options: PouchIntakeOptions) {
    this.#options = options;
  }

  /** Answers a request under `POUCH_PATH`. Never rejects. */
  async answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const { limits } = this.#options.routes;
    try {
      await this.#answer(request, response);
    } catch (error) {
      const problem = problemOf(error);
      if (problem.status >= 500) this.#log(error);
      await sendProblem(request, response, problem, limits, true).catch(() => response.destroy());
    }
  }

  async #answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const [, , id = "", what = "", ...rest] = (request.url ?? "").split("/");
    const send = (status: number, body: Uint8Array | string = "", headers = {}): void => {
      response.writeHead(status, { "cache-control": "no-store", ...headers }).end(body);
    };
    if (request.method === "POST" && id === "") {
      return send(201, JSON.stringify(await this.#begin(request)));
    }
    const delivery = this.#deliveries.get(id);
    if (!delivery) throw notHere();
    if (request.method === "PUT" && what === "lists" && rest.length === 1) {
      await this.#takeList(delivery, rest[0] ?? "", request);
      return send(204);
    }
    if (request.method === "PUT" && what === "objects" && rest.length === 2) {
      const outcome = await this.#takeObject(delivery, rest.join("/"), request);
      return send(outcome.isNew ? 201 : 200, "", outcomeHeaders(outcome));
    }
    if (request.method === "POST" && what === "receipts" && rest.length === 0) {
      const { service } = delivery;
      const { routes, signing } = this.#options;
      // What came last may be what makes the rest count.
      await service.follow();
      const agent = this.#agentOf(delivery);
      return send(200, await giveReceipt(routes, service, agent, request, signing));
    }
    throw new ExclaveError("malformed", "there is no such request");
  }

  async #begin(request: IncomingMessage) {
    const envelope = await this.#body(request, ENVELOPE_BYTES_MAX, "");
    const { pouch, key } = openPouch(envelope);
    const service = this.#options.states().get(pouch.state);
    if (!service) throw notHere();
    if (pouch.site !== this.#options.signing.id) {
      throw new ExclaveError(
        "refused",
        `the pouch is for another site, "${pouch.siteName}". Nothing was taken`,
      );
    }
    const delivery = { service, pouch, keyId: key.id, entries: new Map<string, PouchEntry>() };
    // Throws unless the State, or who granted it, knows the key.
    this.#requesterOf(delivery);
    const id = toHex(sha256(envelope));
    this.#deliveries.delete(id);
    this.#deliveries.set(id, delivery);
    const [oldest] = this.#deliveries.keys();
    if (this.#deliveries.size > POUCHES_MAX && oldest !== undefined)
      this.#deliveries.delete(oldest);
    service.log.info({ pouch: pouch.pouch, part: pouch.part }, "a pouch is being delivered");
    return { pouch: id };
  }

  async #takeList(delivery: Delivery, id: string, request: IncomingMessage): Promise<void> {
    const list = delivery.pouch.lists.find((listed) => listed.sha256 === id);
    if (!list) throw notHere();
    const text = await this.#body(request, LIST_BYTES_MAX, delivery.service.id);
    delivery.entries = parseList(text, list);
    // Who the agent is, and what it may write, may stand in what came just now.
    await delivery.service.follow();
  }

  async #takeObject(delivery: Delivery, name: string, request: IncomingMessage) {
    const { service, entries } = delivery;
    const entry = entries.get(name);
    if (!entry) throw new ExclaveError("refused", `${name} is not on the list that is being taken`);
    const digest = one(request.headers, "content-digest");
    if (contentLengthOf(request) !== entry.bytes) throw notSigned(name);
    if (entry.sha256 !== undefined) {
      const signed = contentDigest(Buffer.from(entry.sha256, "hex"));
      if (digest !== signed) throw notSigned(name);
    }
    const requester = this.#requesterOf(delivery);
    const kind = requireName(name);
    return putObject(this.#options.routes, { service, requester, kind, name, request });
  }

  /** Who signed the pouch, by what is known now. Throws `untrusted`. */
  #requesterOf({ service, keyId }: Delivery): Requester {
    const known = service.judge.requesterOf(keyId);
    if (known && ["agent", "contact"].includes(known.requester.kind)) return known.requester;
    throw new ExclaveError(
      "untrusted",
      "the pouch is not signed by an agent of the State. Nothing was taken",
    );
  }

  #agentOf(delivery: Delivery): Requester {
    const requester = this.#requesterOf(delivery);
    if (requester.kind === "agent") return requester;
    throw new ExclaveError(
      "site-unavailable",
      "the site has not followed the State's ledger yet, so it signs for nothing. Deliver the pouch again",
    );
  }

  async #body(request: IncomingMessage, bytesMax: number, owner: string): Promise<Uint8Array> {
    const bytes = contentLengthOf(request);
    if (bytes > bytesMax) throw tooLong();
    const { room, limits } = this.#options.routes;
    const held = await room.take(bytes, owner, limits.roomMsMax, new AbortController().signal);
    try {
      await readBody(request, held.bytes, limits);
      return Uint8Array.from(held.bytes);
    } finally {
      held.release();
    }
  }

  #log(error: unknown): void {
    const [service] = this.#options.states().values();
    service?.log.error({ err: messageOf(error) }, "a pouch could not be taken in");
  }
}

function notSigned(name: string): ExclaveError {
  return new ExclaveError(
    "altered",
    `${name} is not what the pouch's agent has signed. It was not taken`,
  );
}
