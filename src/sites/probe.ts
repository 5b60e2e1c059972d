/**
 * Tries what an S3 engine promises, for real, on canaries of its own in the bucket: some engines take the
 * header of a lock and delete all the same. What is said here was seen, by its effect and not by its status alone.
 *
 * Canaries are locked for about a minute, lie under PREFIX probe/, and are cleared away by the next probe.
 */
import { randomBytes } from "node:crypto";
import { isExclaveError } from "../errors.ts";
import { PROMISES, type ProbeReport, type ProbeResult, type PromiseName } from "./probe-report.ts";
import {
  header,
  lockHeaders,
  openS3Client,
  orWhenAbsent,
  refusal,
  retainRequest,
  type S3Client,
} from "./s3-client.ts";
import type { S3Config } from "./s3-config.ts";
import { hashOf, type S3Answer, type S3ConnectionOptions, type S3Request } from "./s3-http.ts";
import { parseErrorCode, parseUploadId, type S3Page } from "./s3-xml.ts";

export type ProbeOptions = S3ConnectionOptions & {
  /** How long canaries are locked at first. The attempts on the lock must be over by then. */
  readonly lockSeconds?: number;
  readonly now?: () => number;
};

const LOCK_SECONDS = 60;
const SKEW_SECONDS_MAX = 60;
const OLD_REQUEST_MS = 20 * 60 * 1000;
const CANARY = Buffer.from("exclave probe: these bytes must stay");
const OTHER = Buffer.from("exclave probe: these bytes came later");
const CLEARED_MAX = 1000;
const NOT_TRIED = "not tried: no canary could be stored";

/**
 * Probes the engine in about fifty requests. Throws `usage`, and `site-unavailable` when it does not answer or
 * does not take the credentials; whatever it does wrong after that stands in the report.
 */
export async function probeS3(config: S3Config, options: ProbeOptions = {}): Promise<ProbeReport> {
  const client = await openS3Client(config, options);
  try {
    return await new Probe(client, config, options).run();
  } finally {
    client.close();
  }
}

type Seen = readonly [held: boolean, detail: string];

class Probe {
  readonly #client: S3Client;
  readonly #config: S3Config;
  readonly #now: () => number;
  readonly #lockMs: number;
  readonly #folder: string;
  readonly #key: string;
  readonly #results = new Map<PromiseName, Seen>();
  /** The canary's version, once it is stored, and when its first lock ends. */
  #version = "";
  #lockedUntil = new Date(0);
  #engine = "unknown";

  constructor(client: S3Client, config: S3Config, options: ProbeOptions) {
    this.#client = client;
    this.#config = config;
    this.#now = options.now ?? Date.now;
    this.#lockMs = (options.lockSeconds ?? LOCK_SECONDS) * 1000;
    this.#folder = `${config.prefix}probe/`;
    this.#key = `${this.#folder}${randomBytes(16).toString("hex")}`;
  }

  async run(): Promise<ProbeReport> {
    const probedAt = new Date(this.#now()).toISOString();
    const first = await this.#client.send({ method: "GET", query: { versioning: "" } });
    if (first.status !== 200) throw refusal(this.#client.where, first);
    this.#engine = /^[\w ./()-]{1,64}$/.exec(header(first, "server") ?? "")?.[0] ?? "unknown";
    await this.#clearEarlier();
    await this.#tryWhoAsks(first);
    await this.#tryBucket();
    await this.#see("canary-stored", () => this.#storeCanary());
    if (this.#version) {
      // First what must be tried while the first lock lasts.
      await this.#tryReading();
      await this.#tryOverwriting();
      await this.#tryDeleting();
      await this.#tryChangingLock();
      await this.#tryWrongBodies();
      await this.#see("conditional-write", () => this.#tryCondition());
      await this.#see("multipart-locked", () => this.#tryMultipart());
    }
    return this.#report(probedAt);
  }

  #report(probedAt: string): ProbeReport {
    const { endpoint, region, bucket, prefix } = this.#config;
    const results = Object.entries(PROMISES).map(([name, { needed }]): ProbeResult => {
      const key = name as PromiseName;
      const [held, detail] = this.#results.get(key) ?? [false, NOT_TRIED];
      return { name: key, held, needed, detail };
    });
    return {
      kind: "s3-probe",
      format: 1,
      endpoint,
      region,
      bucket,
      prefix,
      engine: this.#engine,
      probedAt,
      results,
      trustworthy: results.every(({ held, needed }) => held || !needed),
    };
  }

  /** Notes what was seen; a request that failed is a promise that was not seen held. */
  async #see(name: PromiseName, attempt: () => Promise<Seen>): Promise<void> {
    try {
      this.#results.set(name, await attempt());
    } catch (error) {
      if (!isExclaveError(error) || error.code === "interrupted") throw error;
      this.#results.set(name, [false, `could not be seen: ${error.message}`]);
    }
  }

  async #tryWhoAsks(first: S3Answer): Promise<void> {
    const request: S3Request = { method: "GET", query: { versioning: "" } };
    await this.#see("signature-checked", async () =>
      refused(await this.#client.send({ ...request, forged: true })),
    );
    await this.#see("old-request-refused", async () => {
      const signedAtMs = this.#now() - OLD_REQUEST_MS;
      return refused(await this.#client.send({ ...request, signedAtMs }));
    });
    await this.#see("clock", async () => {
      const date = Date.parse(header(first, "date") ?? "");
      if (Number.isNaN(date)) return [false, "it does not tell the time"];
      const seconds = Math.round((date - this.#now()) / 1000);
      // The header has no fractions of a second.
      if (Math.abs(seconds) <= 1) return [true, "it agrees"];
      const detail = `it is ${Math.abs(seconds)} s ${seconds < 0 ? "behind" : "ahead"}`;
      return [Math.abs(seconds) <= SKEW_SECONDS_MAX, detail];
    });
  }

  async #tryBucket(): Promise<void> {
    await this.#see("versions-kept", async () =>
      (await this.#client.keepsVersions()) ? [true, "Enabled"] : [false, "not enabled"],
    );
    await this.#see("locks-offered", async () =>
      (await this.#client.canLock()) ? [true, "Enabled"] : [false, "not enabled"],
    );
  }

  async #storeCanary(): Promise<Seen> {
    this.#lockedUntil = wholeSecond(this.#now() + this.#lockMs);
    const put = await this.#client.put(this.#key, [CANARY], { retainUntil: this.#lockedUntil });
    if (!put.stored || !put.versionId) return [false, "it was stored without a version"];
    this.#version = put.versionId;
    return [true, "stored"];
  }

  async #tryReading(): Promise<void> {
    await this.#see("read-back", async () => [await this.#isThere(), "read by its version"]);
    await this.#see("range-read", async () => {
      const into = new Uint8Array(9);
      const got = await this.#client.get(this.#key, this.#version, 5, into);
      const same = got === 9 && CANARY.subarray(5, 14).equals(into);
      const end = await this.#client.get(this.#key, this.#version, CANARY.length, into);
      return [same && end === 0, same ? "9 bytes from the fifth on" : "other bytes came"];
    });
    await this.#see("lock-shown", () => this.#seeLock(this.#lockedUntil));
    await this.#see("listed-at-once", async () => {
      const versions = await this.#versionsOf(this.#key);
      return versions.includes(this.#version) ? [true, "listed"] : [false, "not listed"];
    });
  }

  async #tryOverwriting(): Promise<void> {
    let later: string | undefined;
    await this.#see("overwriting-keeps", async () => {
      const put = await this.#client.put(this.#key, [OTHER], {});
      if (put.stored) later = put.versionId;
      return this.#seeWhetherKept(later === undefined ? "it has no version" : "overwritten");
    });
    await this.#see("oldest-listed-last", async () => {
      const versions = await this.#versionsOf(this.#key);
      const inOrder =
        later !== undefined &&
        versions.length === 2 &&
        versions[0] === later &&
        versions[1] === this.#version;
      return [inOrder, inOrder ? "newest first" : "in another order, or not all of them"];
    });
    if (later !== undefined) await this.#delete(this.#key, later);
  }

  async #tryDeleting(): Promise<void> {
    await this.#see("deleting-keeps", async () => {
      const answer = await this.#client.send({ method: "DELETE", key: this.#key });
      const seen = await this.#seeWhetherKept(shown(answer));
      const marker = header(answer, "x-amz-version-id");
      if (marker !== undefined && marker !== this.#version) await this.#delete(this.#key, marker);
      return seen;
    });
    const query = { versionId: this.#version };
    await this.#see("locked-not-deleted", () =>
      this.#attack({ method: "DELETE", key: this.#key, query }),
    );
    const headers = { "x-amz-bypass-governance-retention": "true" };
    await this.#see("bypass-refused", () =>
      this.#attack({ method: "DELETE", key: this.#key, query, headers }),
    );
    await this.#see("bulk-delete-refused", async () => {
      const answer = await this.#client.send(bulkDelete([{ key: this.#key, ...query }]));
      // One answer for many: each refusal stands in it.
      const isRefused = answer.status >= 400 || answer.body.includes("<Error>");
      const [kept, detail] = await this.#seeWhetherKept(shown(answer));
      return [kept && isRefused, detail];
    });
  }

  async #tryChangingLock(): Promise<void> {
    const [key, version] = [this.#key, this.#version];
    const until = this.#lockedUntil;
    const sooner = new Date(until.getTime() - this.#lockMs / 2);
    const later = new Date(until.getTime() + this.#lockMs / 2);
    await this.#see("lock-not-shortened", async () => {
      const answer = await this.#client.send(retainRequest(key, version, "COMPLIANCE", sooner));
      const [same, detail] = await this.#seeLock(until);
      return [same && isRefusal(answer), `${shown(answer)}; ${detail}`];
    });
    await this.#see("lock-not-weakened", async () => {
      const request = retainRequest(key, version, "GOVERNANCE", later);
      const headers = { ...request.headers, "x-amz-bypass-governance-retention": "true" };
      const answer = await this.#client.send({ ...request, headers });
      const [same, detail] = await this.#seeLock(until);
      return [same && isRefusal(answer), `${shown(answer)}; ${detail}`];
    });
    await this.#see("lock-extended", async () => {
      await this.#client.retain(key, version, later);
      return this.#seeLock(later);
    });
  }

  async #tryWrongBodies(): Promise<void> {
    const wrong = (headers: Readonly<Record<string, string>>) => async (): Promise<Seen> => {
      const key = `${this.#key}.wrong`;
      const answer = await this.#client.send({ method: "PUT", key, parts: [CANARY], headers });
      const versionId = header(answer, "x-amz-version-id");
      if (answer.status < 300 && versionId) await this.#delete(key, versionId);
      return refused(answer);
    };
    const md5 = hashOf([OTHER], "md5", "base64");
    const sha256 = hashOf([OTHER], "sha256", "base64");
    const signed = hashOf([OTHER], "sha256", "hex");
    await this.#see("wrong-md5-refused", wrong({ "content-md5": md5 }));
    await this.#see("wrong-hash-refused", wrong({ "x-amz-content-sha256": signed }));
    await this.#see("wrong-checksum-refused", wrong({ "x-amz-checksum-sha256": sha256 }));
  }

  async #tryCondition(): Promise<Seen> {
    const key = `${this.#key}.once`;
    const first = await this.#client.put(key, [CANARY], { ifAbsent: true });
    const second = await this.#client.put(key, [OTHER], { ifAbsent: true });
    for (const put of [first, second]) {
      if (put.stored && put.versionId) await this.#delete(key, put.versionId);
    }
    if (!first.stored) return [false, "refused: nothing could be written with it"];
    return second.stored ? [false, "ignored: both writes were taken"] : [true, "honoured"];
  }

  async #tryMultipart(): Promise<Seen> {
    const key = `${this.#key}.parts`;
    const until = wholeSecond(this.#now() + this.#lockMs);
    const ask = async (request: S3Request): Promise<S3Answer> => {
      const answer = await this.#client.send({ ...request, key });
      if (answer.status !== 200) throw refusal(this.#client.where, answer);
      return answer;
    };
    const begun = await ask({
      method: "POST",
      query: { uploads: "" },
      headers: lockHeaders(until),
    });
    const uploadId = parseUploadId(begun.body);
    const content = { "content-md5": hashOf([CANARY], "md5", "base64") };
    const query = { partNumber: "1", uploadId };
    const part = await ask({ method: "PUT", query, parts: [CANARY], headers: content });
    const etag = (header(part, "etag") ?? "").replaceAll('"', "");
    const list = `<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>"${etag}"</ETag></Part></CompleteMultipartUpload>`;
    await ask({ method: "POST", query: { uploadId }, parts: [Buffer.from(list)] });
    const [versionId] = await this.#versionsOf(key);
    if (versionId === undefined) return [false, "stored, and not listed"];
    const lock = await this.#client.retention(key, versionId);
    const answer = await this.#delete(key, versionId);
    if (lock?.mode !== "COMPLIANCE" || lock.until < until)
      return [false, "stored without its lock"];
    const stays = (await this.#versionsOf(key)).includes(versionId);
    return [stays && isRefusal(answer), `${shown(answer)}; ${stays ? "it stays" : "it is gone"}`];
  }

  /** Something that must be refused, and must not take effect while the lock lasts. */
  async #attack(request: S3Request): Promise<Seen> {
    const answer = await this.#client.send(request);
    const [kept, detail] = await this.#seeWhetherKept(shown(answer));
    return [kept && isRefusal(answer), detail];
  }

  /** Whether the canary is there still, if it must be. */
  async #seeWhetherKept(after: string): Promise<Seen> {
    if (await this.#isThere()) return [true, `${after}; it stays`];
    if (this.#now() < this.#lockedUntil.getTime()) return [false, `${after}; it is gone`];
    return [false, "the lock ran out before it could be tried; probe with a longer one"];
  }

  async #isThere(): Promise<boolean> {
    const into = Buffer.alloc(CANARY.length);
    const got = await orWhenAbsent(this.#client.get(this.#key, this.#version, 0, into), 0);
    return got === CANARY.length && CANARY.equals(into);
  }

  async #seeLock(until: Date): Promise<Seen> {
    const lock = await orWhenAbsent(this.#client.retention(this.#key, this.#version), undefined);
    if (!lock) return [false, "no lock is shown"];
    const same = lock.mode === "COMPLIANCE" && lock.until.getTime() === until.getTime();
    return [same, same ? "the lock is as it was asked for" : "another lock is shown"];
  }

  async #versionsOf(key: string): Promise<readonly string[]> {
    const { versions } = await this.#client.versions(key, 100, undefined);
    return versions.filter((one) => one.key === key).map(({ versionId }) => versionId);
  }

  async #delete(key: string, versionId: string): Promise<S3Answer> {
    return this.#client.send({ method: "DELETE", key, query: { versionId } });
  }

  /** Takes away canaries whose locks have run out. What cannot go stays for the next time. */
  async #clearEarlier(): Promise<void> {
    const page: S3Page = await this.#client.versions(this.#folder, CLEARED_MAX, undefined);
    for (const { key, versionId } of page.versions) {
      if (key.startsWith(this.#folder)) await this.#delete(key, versionId);
    }
  }
}

function isRefusal(answer: S3Answer): boolean {
  return answer.status >= 400 && answer.status < 500;
}

function refused(answer: S3Answer): Seen {
  return [isRefusal(answer), shown(answer)];
}

function shown(answer: S3Answer): string {
  return `it answered ${answer.status} ${parseErrorCode(answer.body) ?? ""}`.trimEnd();
}

/** Locks end on whole seconds, so that what is shown can be compared. */
function wholeSecond(ms: number): Date {
  return new Date(Math.ceil(ms / 1000) * 1000);
}

function bulkDelete(
  objects: readonly { readonly key: string; readonly versionId: string }[],
): S3Request {
  const list = objects
    .map(
      ({ key, versionId }) =>
        `<Object><Key>${key}</Key><VersionId>${versionId}</VersionId></Object>`,
    )
    .join("");
  const parts = [
    Buffer.from(`<Delete xmlns="http://s3.amazonaws.com/doc/2006-03-01/">${list}</Delete>`),
  ];
  return {
    method: "POST",
    query: { delete: "" },
    headers: { "content-md5": hashOf(parts, "md5", "base64"), "content-type": "application/xml" },
    parts,
  };
}
