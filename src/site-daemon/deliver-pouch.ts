/**
 * Delivers a pouch to the site that runs on this machine, and brings its receipts onto the medium. Nothing on the
 * medium is believed: what was not signed, or is not as it was signed, is refused by name, and the rest is taken.
 */
import { createHash } from "node:crypto";
import { createReadStream } from "node:fs";
import { readFile, stat } from "node:fs/promises";
import { Agent, type IncomingMessage, request } from "node:http";
import { join } from "node:path";
import { setTimeout } from "node:timers/promises";
import { fromBase64 } from "../crypto/bytes.ts";
import { contentDigest } from "../crypto/http-signature.ts";
import { parseStrictJson } from "../crypto/strict-json.ts";
import { ExclaveError, isExclaveError } from "../errors.ts";
import { objectPlace } from "../sites/directory.ts";
import { OBJECTS_FOLDER, type Pouch, type PouchEntry } from "../sites/pouch.ts";
import {
  checkProgram,
  entriesOf,
  type FoundPouch,
  readList,
  readPouch,
  writeReceipt,
} from "../sites/pouch-medium.ts";
import { errorFrom, OBJECT_HEADER, QUARANTINED } from "../sites/wire.ts";
import { POUCH_PATH } from "./pouch-intake.ts";
import type { Listener } from "./settings.ts";

export type DeliverOptions = {
  /** On the medium. */
  readonly folder: string;
  /** Where the site's operator reaches it. */
  readonly admin: Listener;
  /** Where receipts go; onto the medium when absent. */
  readonly receiptsFolder?: string | undefined;
  readonly onProgress?: (progress: DeliverProgress) => void;
  /** How to wait before something is sent again; for tests. */
  readonly wait?: (ms: number) => Promise<unknown>;
};

export type DeliverProgress = {
  readonly objects: number;
  readonly objectsTotal: number;
  readonly bytes: number;
};

export type DeliverReport = {
  readonly pouch: string;
  readonly part: number;
  readonly site: string;
  readonly objects: number;
  /** Taken in now, and those that the site had already. */
  readonly taken: number;
  readonly there: number;
  /** Of both: set aside, until the site's view of the ledger is fresh again. */
  readonly aside: number;
  /** Objects that are not on the medium as they were signed, or that the site refused. */
  readonly refused: number;
  readonly problems: readonly string[];
  /** Objects that the site has signed for. */
  readonly signed: number;
  /** Whether the program on the medium is the one that was signed; absent when there is none. */
  readonly program?: { readonly sha256: string; readonly good: boolean };
};

const SHARDS_IN_FLIGHT_MAX = 4;
const PROBLEMS_KEPT_MAX = 100;
/** So many refusals in a row are no accident: a quota is used up, say. */
const REFUSED_IN_A_ROW_MAX = 64;
const ATTEMPTS_MAX = 5;
const RETRY_AFTER_MS_MAX = 30_000;
const ANSWER_BYTES_MAX = 2 * 1024 * 1024;

/**
 * Delivers what is on the medium; again takes up what is missing.
 *
 * @throws ExclaveError `usage` when there is no pouch, `site-unavailable` when no site runs here or it takes nothing
 *   now, `untrusted`, `refused` and `not-found` when it takes no pouch of this kind, `disk-full`
 */
export async function deliverPouch(options: DeliverOptions): Promise<DeliverReport> {
  const found = await readPouch(options.folder);
  const run = new Delivery(options, found);
  try {
    await run.begin();
    for (const list of found.pouch.lists) await run.list(list);
    await run.receipts();
    const { program } = found.pouch;
    const isGood = await checkProgram(found);
    return {
      ...run.report(),
      ...(program && isGood !== undefined
        ? { program: { sha256: program.sha256, good: isGood } }
        : {}),
    };
  } finally {
    run.close();
  }
}

type Answer = {
  readonly status: number;
  readonly headers: IncomingMessage["headers"];
  readonly body: Uint8Array;
};

class Delivery {
  readonly #options: DeliverOptions;
  readonly #found: FoundPouch;
  readonly #agent = new Agent({ keepAlive: true, maxSockets: SHARDS_IN_FLIGHT_MAX });
  readonly #problems: string[] = [];
  #path = "";
  #taken = 0;
  #there = 0;
  #aside = 0;
  #refused = 0;
  #refusedInARow = 0;
  #bytes = 0;
  #signed = 0;

  constructor(options: DeliverOptions, found: FoundPouch) {
    this.#options = options;
    this.#found = found;
  }

  close(): void {
    this.#agent.destroy();
  }

  get #objects(): number {
    return this.#found.pouch.lists.reduce((sum, list) => sum + list.objects, 0);
  }

  report() {
    const { pouch, part, siteName } = this.#found.pouch;
    return {
      pouch,
      part,
      site: siteName,
      objects: this.#objects,
      taken: this.#taken,
      there: this.#there,
      aside: this.#aside,
      refused: this.#refused,
      problems: this.#problems,
      signed: this.#signed,
    };
  }

  async begin(): Promise<void> {
    const { body } = await this.#send("POST", POUCH_PATH, this.#found.envelope);
    const { pouch } = parseStrictJson(body) as { readonly pouch: string };
    this.#path = `${POUCH_PATH}/${pouch}`;
  }

  /** Delivers the objects of one list; of documents one after another, as they build on each other. */
  async list(list: Pouch["lists"][number]): Promise<void> {
    let entries: readonly PouchEntry[];
    try {
      const text = await readList(this.#found, list.sha256);
      entries = await entriesOf(this.#found, list);
      await this.#send("PUT", `${this.#path}/lists/${list.sha256}`, text);
    } catch (error) {
      if (!isExclaveError(error) || !["altered", "malformed"].includes(error.code)) throw error;
      this.#refuse(list.objects, error.message);
      return;
    }
    const inFlight: Promise<void>[] = [];
    try {
      for (const entry of entries) {
        const most = entry.name.startsWith("shard/") ? SHARDS_IN_FLIGHT_MAX : 1;
        while (inFlight.length >= most) await inFlight.shift();
        inFlight.push(this.#object(entry));
      }
      await Promise.all(inFlight);
    } finally {
      await Promise.allSettled(inFlight);
    }
  }

  async #object(entry: PouchEntry): Promise<void> {
    const { onProgress } = this.#options;
    try {
      await this.#put(entry);
      this.#refusedInARow = 0;
      this.#bytes += entry.bytes;
    } catch (error) {
      if (!isExclaveError(error) || !PASSED_OVER.includes(error.code)) throw error;
      this.#refuse(1, error.message);
      if (++this.#refusedInARow >= REFUSED_IN_A_ROW_MAX) throw error;
    }
    const objects = this.#taken + this.#there + this.#refused;
    onProgress?.({ objects, objectsTotal: this.#objects, bytes: this.#bytes });
  }

  async #put({ name, bytes }: PouchEntry): Promise<void> {
    const { file } = objectPlace(join(this.#found.folder, OBJECTS_FOLDER), name);
    const size = await stat(file).then(
      (info) => info.size,
      () => undefined,
    );
    if (size !== bytes) {
      const what = size === undefined ? "is not on the medium" : "is not as long as it was signed";
      throw new ExclaveError("altered", `${name} ${what}`);
    }
    const path = `${this.#path}/objects/${name}`;
    const isShard = name.startsWith("shard/");
    const { status, headers } = await this.#send(
      "PUT",
      path,
      isShard ? { file, bytes } : await readFile(file).catch(unreadable(name)),
    );
    if (status === 201) this.#taken++;
    else this.#there++;
    if (headers[OBJECT_HEADER] === QUARANTINED) this.#aside++;
  }

  #refuse(objects: number, why: string): void {
    this.#refused += objects;
    if (this.#problems.length < PROBLEMS_KEPT_MAX) this.#problems.push(why);
  }

  /** What the site signs for what it holds by now, a receipt for each list. */
  async receipts(): Promise<void> {
    const { folder, receiptsFolder = folder } = this.#options;
    for (const list of this.#found.pouch.lists) {
      let entries: readonly PouchEntry[];
      try {
        entries = await entriesOf(this.#found, list);
      } catch (error) {
        if (isExclaveError(error, "altered") || isExclaveError(error, "malformed")) continue;
        throw error;
      }
      const asked = Buffer.from(JSON.stringify({ objects: entries.map(({ name }) => name) }));
      const { body } = await this.#send("POST", `${this.#path}/receipts`, asked);
      this.#signed += objectsOf(body);
      await writeReceipt(receiptsFolder, list.sha256, body);
    }
  }

  /** Sends a request, again while the site asks for patience. Throws what the answer says. */
  async #send(
    method: "POST" | "PUT",
    path: string,
    body: Uint8Array | { readonly file: string; readonly bytes: number },
  ): Promise<Answer> {
    const { wait = setTimeout } = this.#options;
    for (let attempt = 1; ; attempt++) {
      const answer = await this.#once(method, path, body);
      if (answer.status < 300) return answer;
      const again = [429, 503].includes(answer.status) && attempt < ATTEMPTS_MAX;
      if (!again) throw errorFrom(this.#found.pouch.siteName, answer.status, jsonOf(answer.body));
      const seconds = Number(answer.headers["retry-after"] ?? attempt);
      await wait(Math.min(RETRY_AFTER_MS_MAX, (seconds || 1) * 1000));
    }
  }

  #once(
    method: "POST" | "PUT",
    path: string,
    body: Uint8Array | { readonly file: string; readonly bytes: number },
  ): Promise<Answer> {
    const { host, port } = this.#options.admin;
    const isBytes = body instanceof Uint8Array;
    const headers = {
      "content-length": isBytes ? body.length : body.bytes,
      ...(isBytes
        ? { "content-digest": contentDigest(createHash("sha256").update(body).digest()) }
        : {}),
    };
    return new Promise((resolve, reject) => {
      const fail = (cause: Error): void => {
        const { code = cause.message } = cause as NodeJS.ErrnoException;
        reject(
          new ExclaveError(
            "site-unavailable",
            `no site answers at ${host} port ${port} (${code}). Is it running? Start it with \`exclave site serve\`; what was taken stays`,
            { cause },
          ),
        );
      };
      const sent = request({ method, host, port, path, headers, agent: this.#agent });
      let answered = false;
      sent.once("response", (response) => {
        answered = true;
        readAnswer(response).then(resolve, fail);
      });
      // A site that refuses a body may close before it has read it all: then its answer counts.
      sent.once("error", (error) => !answered && fail(error));
      if (isBytes) return void sent.end(body);
      const stream = createReadStream(body.file, { end: body.bytes - 1 });
      stream.once("error", () => {
        answered = true;
        sent.destroy();
        reject(new ExclaveError("altered", `${body.file} cannot be read from the medium`));
      });
      sent.once("close", () => stream.destroy());
      stream.pipe(sent);
    });
  }
}

/** What is wrong with one object, and not with all of them. */
const PASSED_OVER: readonly string[] = [
  "altered",
  "malformed",
  "exists",
  "refused",
  "untrusted",
  "not-found",
  "foreign-state",
];

function unreadable(name: string) {
  return (cause: unknown): never => {
    throw new ExclaveError("altered", `${name} cannot be read from the medium`, { cause });
  };
}

async function readAnswer(response: IncomingMessage): Promise<Answer> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of response as AsyncIterable<Buffer>) {
    bytes += chunk.length;
    if (bytes > ANSWER_BYTES_MAX) throw new Error("its answer is too long");
    chunks.push(chunk);
  }
  const { statusCode: status = 0, headers } = response;
  return { status, headers, body: Buffer.concat(chunks) };
}

function jsonOf(body: Uint8Array): unknown {
  try {
    return parseStrictJson(body);
  } catch {
    return undefined;
  }
}

/** How many objects a receipt speaks of, for a report; home verifies it. */
function objectsOf(receipt: Uint8Array): number {
  const { payload } = parseStrictJson(receipt) as { readonly payload: string };
  const { objects } = parseStrictJson(fromBase64(payload)) as { readonly objects: unknown[] };
  return objects.length;
}
