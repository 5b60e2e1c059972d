/**
 * What a site knows of a State: the charter in force, who may ask what of it, and which decisions it carries out. It
 * follows the ledger in its own objects, by itself, and believes nobody. docs/site-protocol.md.
 *
 *     view/          the ledger and its documents as they were followed: a cache
 *     sight.sqlite   what this site saw, and when: no cache
 */
import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { keysFor } from "../charter/assess.ts";
import { type OpenedPaper, openPaper, type PaperKind } from "../charter/decision.ts";
import { openDecision } from "../charter/history.ts";
import { recoveryKey, seatKeys, seatsThatSigned } from "../charter/thresholds.ts";
import { fromBase64 } from "../crypto/bytes.ts";
import { envelopeId } from "../crypto/dsse.ts";
import { type PublicSigningKey, parseSigningPublicKey } from "../crypto/signing.ts";
import { ExclaveError, invariant, isExclaveError } from "../errors.ts";
import { fileName } from "../ledger/at-sites.ts";
import { earliestCosignatures, verifyCheckpoint } from "../ledger/checkpoint.ts";
import { GOVERNING_KINDS } from "../ledger/entry.ts";
import { parseNote, type VerifierKey } from "../ledger/note.ts";
import { parseObjectName, type Site } from "../sites/site.ts";
import { type Generation, type KnownState, knowState, witnessesOf } from "../vault/known-state.ts";
import { type Delivered, Sight } from "./sight.ts";
import { dropFollowed, type Followed, openFollowed, readAnew } from "./view-cache.ts";
import { tileBytes, tileNamed } from "./view-ledger.ts";
import { censored, type EnforcedOrder, enforcedOrders } from "./view-orders.ts";
import { requireContinues, unknownSuccession, withoutRivals } from "./view-succession.ts";

/** Sentences that are not said again. */
const SAID_MAX = 1024;
/** Clocks are put right by less without anybody having to know. */
const CLOCK_BEHIND_SECONDS = 600;

/** Something that people should know; a fork is an alarm. */
export type ViewNotice = {
  /** `fork`: two histories; `waits`: something is missing; `left-out`: it counts for nothing; `clock`: it went back. */
  readonly code: "fork" | "waits" | "left-out" | "clock";
  readonly message: string;
};

export type KnownRequester = {
  /** `contact`: the next home, by a succession of which the ledger is not here yet; it may bring that. */
  readonly kind: "agent" | "seat" | "recovery" | "reader" | "site" | "contact";
  readonly key: PublicSigningKey;
};

/** What the site knows of a State at one moment. It never changes; the next one takes its place. */
export type SiteView = {
  readonly state: string;
  readonly known: KnownState;
  /** As of when: what the newest checkpoint says of its time, but not later than it was seen here. */
  readonly followedAt: Date;
  /** Of the open ledger. */
  readonly size: number;
  readonly origin: string;
  /** Newest epoch of a statement that counts, by register. */
  readonly openEpochs: ReadonlyMap<string, number>;
  /** Of the sites that enforce, by name. */
  readonly siteKeys: ReadonlyMap<string, PublicSigningKey>;
  /** Every key that the charter in force names, by its id. */
  readonly requesters: ReadonlyMap<string, KnownRequester>;
  /** What sites carry out, and from when this one does. */
  readonly orders: readonly EnforcedOrder[];
  /** Papers that were brought here, the first one first. */
  readonly delivered: readonly Delivered[];
  /** The newest time that was ever seen here. */
  readonly newest: Date;
};

export type StateViewOptions = {
  /** The State's own; made when it is not there. */
  readonly folder: string;
  readonly state: string;
  /** What the site stores of the State. */
  readonly objects: Site;
  readonly now: () => Date;
  readonly onNotice: (notice: ViewNotice) => void;
};

export class StateView {
  readonly #options: StateViewOptions;
  readonly #sight: Sight;
  readonly #said = new Set<string>();
  /** Successions that were looked at, and change nothing under the charter in force. */
  readonly #settled = new Set<string>();
  #followed: Followed | undefined;
  #view: SiteView | undefined;
  #running: Promise<unknown> = Promise.resolve();
  #closed = false;

  private constructor(options: StateViewOptions, sight: Sight) {
    this.#options = options;
    this.#sight = sight;
  }

  /** Opens what was followed before; what of that is damaged is forgotten, and followed again. */
  static async open(options: StateViewOptions): Promise<StateView> {
    await mkdir(options.folder, { recursive: true, mode: 0o700 });
    const view = new StateView(options, Sight.open(join(options.folder, "sight.sqlite")));
    try {
      view.#followed = await openFollowed(options.folder, view.#source());
      if (view.#followed) view.#view = view.#build(view.#know(view.#followed));
    } catch (error) {
      if (isExclaveError(error, "bug")) {
        await view.close();
        throw error;
      }
      view.#say("waits", `what was followed before is damaged, and is read anew: ${said(error)}`);
      view.#followed?.close();
      view.#followed = undefined;
      await dropFollowed(options.folder);
    }
    return view;
  }

  /** Undefined until the ledger was followed for the first time. */
  get current(): SiteView | undefined {
    return this.#view;
  }

  /** The site's time, which never goes back. */
  now(): Date {
    return this.#sight.now(this.#options.now());
  }

  /** Takes in what is new among the objects. One call after another; bad content is noticed, and never thrown. */
  follow(): Promise<SiteView | undefined> {
    const next = this.#running.then(() => this.#follow());
    this.#running = next.catch(() => undefined);
    return next;
  }

  /**
   * Takes a paper that somebody brought: who they are does not matter, who signed it does. Returns whether it is new.
   *
   * @throws ExclaveError `untrusted`, `malformed`, `altered` or `foreign-state` for what is no such paper by seats in
   *   force or the recovery key; `refused` when there is no room, or the ledger was not followed yet
   */
  deliver(kind: PaperKind, envelope: Uint8Array): boolean {
    const view = this.#view;
    if (!view) {
      throw new ExclaveError(
        "refused",
        "the site has not followed this State's ledger yet, and cannot tell who may sign papers",
      );
    }
    const now = this.now();
    const opened = openDelivered(kind, envelope, view, now);
    const { decisions, vetoes, freezes } = view.known.history;
    const named = new Set([...decisions, ...vetoes, ...freezes].map((one) => one.opened.id));
    const isNew = this.#sight.deliver(kind, opened, now, {
      isNamed: ({ id }) => named.has(id),
      keysMax: seatKeys(view.known.charter.constitution).size + 1,
    });
    if (isNew) {
      const { delivered } = this.#sight;
      const orders = enforcedOrders(view.known.history, (id) => this.#sight.of(id), delivered);
      const requesters = requestersOf(view.known, delivered);
      this.#view = { ...view, delivered, orders, requesters, newest: now };
    }
    return isNew;
  }

  /**
   * What an object of the ledger must hold: its bytes, once a checkpoint that was followed covers it; before that it
   * may be replaced.
   */
  expectedLedgerFile(name: string): Uint8Array | "not-covered" | "not-a-file" {
    const { kind, rest = "" } = parseObjectName(name) ?? {};
    const tile = kind === "ledger" ? tileNamed(rest.slice(rest.indexOf(".") + 1)) : undefined;
    if (!tile || !/^[0-9a-f]{8}\./.test(rest)) return "not-a-file";
    const generation = this.#followed?.generations.find(({ log }) =>
      name.startsWith(fileName(log.origin, "")),
    );
    if (!generation) return "not-covered";
    const { log, closedAt } = generation;
    return tileBytes(log, tile, Math.min(log.size, closedAt ?? log.size)) ?? "not-covered";
  }

  /** The ledger that is open, with its keys, for the witness: one that was closed is not cosigned any more. */
  logs(): ReadonlyMap<string, readonly VerifierKey[]> {
    const log = this.#view && this.#followed?.open.log;
    return new Map(log ? [[log.origin, log.keys]] : []);
  }

  /** Whether the witness may cosign a checkpoint of so many entries. docs/site-protocol.md, section 7. */
  mayCosign(origin: string, size: number): "yes" | { readonly no: string } {
    const followed = this.#followed;
    if (!this.#view || !followed || followed.open.log.origin !== origin) {
      return { no: "this site does not follow that ledger, or it was closed" };
    }
    const { size: known } = this.#view;
    if (size > known) {
      return { no: `this site has followed ${known} entries of the ledger, and not ${size} yet` };
    }
    const { delivered } = this.#sight;
    if (delivered.length === 0) return "yes";
    // As it would be if what is cosigned now were counted from now on: that is what is asked for.
    const isCounted = !hasGoverning(followed.open, followed.ledger.countedSize());
    const { history } = isCounted ? this.#view.known : this.#know(followed, this.now());
    const why = censored(history, delivered);
    return why === undefined ? "yes" : { no: why };
  }

  /** Waits for what is under way, and closes. */
  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    await this.#running;
    this.#followed?.close();
    this.#followed = undefined;
    this.#sight.close();
  }

  async #follow(): Promise<SiteView | undefined> {
    if (this.#closed) return this.#view;
    try {
      this.#watchClock();
      if (this.#followed) await this.#followOpen(this.#followed);
      if (!this.#followed) await this.#readAnew();
      else await this.#followSuccession(this.#followed);
    } catch (error) {
      if (!isExclaveError(error) || error.code === "bug") throw error;
      this.#say(error.code === "altered" ? "fork" : "waits", error.message);
    }
    return this.#view;
  }

  /** The newest time at which the site was at work is kept; one that lies ahead stops everything that has to wait. */
  #watchClock(): void {
    const newest = this.now();
    const behindMs = newest.getTime() - this.#options.now().getTime();
    if (behindMs < CLOCK_BEHIND_SECONDS * 1000) return;
    this.#say(
      "clock",
      `the clock of this site is behind ${newest.toISOString()}, which it showed before. Delays and the age of what is known are reckoned from then; set the clock right`,
    );
  }

  async #followOpen(followed: Followed): Promise<void> {
    const { objects } = this.#options;
    const counted = followed.ledger.countedSize();
    const { isNew, isDatedAnew } = await followed.ledger.follow();
    // A statement may come after the checkpoint that covers it.
    if (!isNew && this.#view && !(await followed.statements.hasCome(objects))) return;
    // Most of what comes in are statements, from which no charter follows.
    const isSame = this.#view && !isDatedAnew && !hasGoverning(followed.open, counted);
    const known = isSame && this.#view ? this.#view.known : this.#know(followed);
    await followed.statements.read(objects, followed.generations, known);
    this.#view = this.#build(known);
  }

  async #followSuccession({ generations }: Followed): Promise<void> {
    const { objects, state } = this.#options;
    const [view, settled] = [this.#view, this.#settled];
    if (!view) return;
    const name = await unknownSuccession({ objects, state, view, generations, settled });
    if (name === undefined) return;
    try {
      await this.#readAnew();
      settled.add(name);
    } catch (error) {
      // What is only missing may still come; what is not to be believed is looked at once.
      if (isExclaveError(error, "untrusted")) settled.add(name);
      throw error;
    }
  }

  /** Reads the State from its beginning: the first time, and when a succession has begun another ledger. */
  async #readAnew(): Promise<void> {
    const { folder, state, objects } = this.#options;
    if (!(await objects.stat(`charter/${state}`))) return;
    const [before, followed] = [this.#view, this.#followed];
    const source = this.#source();
    const next = await readAnew({
      folder,
      state,
      source,
      from: before && followed ? withoutRivals(objects, before, followed.generations) : objects,
      onNotice: (message) => this.#say("left-out", message),
      // Nothing of what was followed is given up before all of it has been held against that.
      accept: (known, generations) => {
        requireContinues({
          before,
          known,
          generations,
          headOf: (origin) => this.#sight.head(origin),
        });
        this.#followed?.close();
        this.#followed = undefined;
      },
    });
    this.#followed = next;
    const known = this.#know(next);
    await next.statements.read(objects, next.generations, known);
    this.#view = this.#build(known);
  }

  #source() {
    return {
      objects: this.#options.objects,
      onNotice: ({ code, message }: ViewNotice) => this.#say(code, message),
    };
  }

  #know({ generations, document }: Followed, uncoveredAt?: Date): KnownState {
    const founding = document("charter", this.#options.state);
    return knowState(founding, generations, document, this.now(), uncoveredAt);
  }

  #build(known: KnownState): SiteView {
    const followed = this.#followed;
    invariant(followed, "a view is of a ledger that is followed");
    const { log } = followed.open;
    const now = this.now();
    const { history, charter } = known;
    followed.ledger.believe(witnessesOf(charter));
    if (this.#view && this.#view.known.charterId !== known.charterId) this.#settled.clear();
    this.#sight.see(
      [
        ...[...history.decisions, ...history.vetoes, ...history.freezes].map(({ opened }) =>
          envelopeId(opened.envelope),
        ),
        ...history.history.map(({ id }) => id),
      ],
      now,
    );
    const seen = this.#sight.headSeen(log.head(), now);
    const { delivered } = this.#sight;
    return {
      state: this.#options.state,
      known,
      followedAt: new Date(Math.min(seen.getTime(), newestSeconds(followed) * 1000)),
      size: log.size,
      origin: log.origin,
      openEpochs: followed.statements.openEpochs(followed.generations, known),
      siteKeys: new Map(
        charter.sites.flatMap(({ name, signing }) =>
          signing === undefined
            ? []
            : [[name, parseSigningPublicKey(fromBase64(signing))] as const],
        ),
      ),
      requesters: requestersOf(known, delivered),
      orders: enforcedOrders(history, (id) => this.#sight.of(id), delivered),
      delivered,
      newest: now,
    };
  }

  #say(code: ViewNotice["code"], message: string): void {
    if (this.#said.has(message)) return;
    if (this.#said.size >= SAID_MAX) this.#said.clear();
    this.#said.add(message);
    this.#options.onNotice({ code, message });
  }
}

/** What the newest checkpoint says of its time: the log's own, or a witness's that is later. */
function newestSeconds({ open, ledger }: Followed): number {
  const latest = open.log.latest();
  invariant(latest, "a ledger that was followed has a checkpoint");
  const { seconds } = verifyCheckpoint(latest.checkpoint, open.log.keys);
  const cosigned = earliestCosignatures(parseNote(latest.checkpoint), ledger.cosigners());
  return Math.max(seconds, ...cosigned.map((one) => one.seconds));
}

/** Whether a charter may follow from what the ledger has from a position on. */
function hasGoverning({ log }: Generation, from: number): boolean {
  for (const { position } of log.entriesOf(GOVERNING_KINDS)) if (position >= from) return true;
  return false;
}

/** The keys of a charter, by id; a key that is named twice is what it may do most by. */
function requestersOf(
  { agents, charter }: KnownState,
  delivered: readonly Delivered[],
): ReadonlyMap<string, KnownRequester> {
  const keysOf = (named: readonly { readonly signing?: string | undefined }[]) =>
    named.flatMap(({ signing }) =>
      signing === undefined ? [] : [parseSigningPublicKey(fromBase64(signing))],
    );
  const sites = keysOf(charter.sites);
  const readers = keysOf(charter.reader ? [charter.reader] : []);
  return new Map<string, KnownRequester>([
    ...successors(charter, delivered).map((key) => [key.id, { kind: "contact", key }] as const),
    ...sites.map((key) => [key.id, { kind: "site", key }] as const),
    ...readers.map((key) => [key.id, { kind: "reader", key }] as const),
    ...[...seatKeys(charter.constitution)].map(([id, key]) => [id, { kind: "seat", key }] as const),
    ...[...recoveryKey(charter)].map(([id, key]) => [id, { kind: "recovery", key }] as const),
    ...[...agents].map(([id, { key }]) => [id, { kind: "agent", key }] as const),
  ]);
}

/** Who writes next, by the recovery key in force, in papers that were brought here; their ledger is not here yet. */
function successors(
  charter: KnownState["charter"],
  delivered: readonly Delivered[],
): readonly PublicSigningKey[] {
  const recovery = recoveryKey(charter);
  return delivered.flatMap((one) => {
    if (one.kind !== "succession" || !one.keyIds.some((id) => recovery.has(id))) return [];
    const { ledger, agent } = one.paper as Delivered<"succession">["paper"];
    if (ledger.generation <= charter.ledger.generation) return [];
    return [parseSigningPublicKey(fromBase64(agent.signing))];
  });
}

/** A paper that somebody brought, by those who may sign it now. */
function openDelivered(
  kind: PaperKind,
  envelope: Uint8Array,
  { state, known }: SiteView,
  now: Date,
): OpenedPaper<PaperKind> {
  const { charter } = known;
  const recovery = recoveryKey(charter);
  const opened =
    kind === "decision"
      ? openDecision(envelope, state, charter)
      : openPaper(kind, envelope, state, kind === "succession" ? recovery : keysFor([charter]));
  const isBySeat = seatsThatSigned(charter.constitution, opened.keyIds, now).length > 0;
  if (isBySeat || opened.keyIds.some((id) => recovery.has(id))) return opened;
  throw new ExclaveError(
    "untrusted",
    `the ${kind} is signed by no seat that is in force. It was not taken`,
  );
}

function said(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
