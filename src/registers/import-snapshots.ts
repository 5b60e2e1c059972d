/** Learns from the sites which snapshots there are: for `rebuild`, `recover`, and at the start of every `protect`. */
import { ExclaveError, isExclaveError } from "../errors.ts";
import type { Catalog } from "../vault/catalog.ts";
import {
  epochKeyIdOf,
  epochOf,
  type Opened,
  openStatement,
  type SnapshotRoot,
  type Statement,
} from "../vault/documents.ts";
import type { Home } from "../vault/home.ts";
import {
  type DocumentId,
  type EpochContext,
  parseId,
  type RegisterId,
} from "../vault/identifiers.ts";
import { type KnownState, statementTimes } from "../vault/known-state.ts";
import { decodeManifest } from "../vault/manifest.ts";
import type { SitePlace } from "../vault/open-sites.ts";
import type { QuorumWriter } from "../vault/quorum-writer.ts";
import { allNames, fetchDocument, namesAt, readEach } from "../vault/site-documents.ts";
import { EpochReader, segmentFileName, startReadPool } from "./epoch-reader.ts";

export type ImportOptions = {
  readonly known: KnownState;
  /** When the ledger had a statement, by its object's id; undefined when it has not. */
  readonly loggedAt: (statement: DocumentId) => Date | undefined;
  /** What to do with one's own statements that the ledger lacks; without it they are as anybody's. */
  readonly own?: OwnStatements;
  readonly catalog: Catalog;
  readonly cachePath: string;
  readonly places: readonly SitePlace[];
  /** Only this register's; the places are where its shards are. */
  readonly register?: RegisterId;
  /** Which can be read at all; all unless told. */
  readonly canBeRead?: (statement: Statement) => boolean;
  /** The key of an epoch, when this home can have it; its id says which, should there be several. */
  readonly epochKey: (
    register: RegisterId,
    epoch: number,
    epochKeyId: string,
  ) => Promise<Uint8Array | undefined>;
  /** Told in a sentence of each thing that could not be believed or read; none stops the rest. */
  readonly onNotice: (notice: string) => void;
};

export type OwnStatements = {
  readonly is: (statement: Statement) => boolean;
  /** Makes them durable and takes them into the ledger, in this order; false when that must wait. */
  readonly commit: (statements: readonly Fresh[]) => Promise<boolean>;
};

/** A statement that verified, with the envelope it came in. */
export type Fresh = {
  readonly opened: Opened<"statement">;
  readonly envelope: Uint8Array;
  readonly quarantined?: string;
};

/** Imports every statement that the catalog does not have. Returns how many snapshots came in. */
export async function importSnapshots(options: ImportOptions): Promise<number> {
  const { catalog, known, places, loggedAt, own, canBeRead = always, onNotice } = options;
  const fresh = new Map<DocumentId, Fresh>();
  const uncommitted = new Map<DocumentId, Fresh>();
  const named = await namesAt(places, "statement", { onNotice });
  await readEach(named, "statement", {
    ids: unknownStatements(options, allNames(named)),
    onNotice,
    take: (object, envelope) => {
      const opened = openStatement(envelope, known);
      const register = parseId("RegisterId", opened.document.register);
      if (options.register !== undefined && register !== options.register) {
        catalog.addOtherStatement(object, register);
        return;
      }
      if (!canBeRead(opened.document)) return;
      // The same statement in another envelope is no other recovery point.
      if (catalog.hasSnapshot(opened.payloadId)) catalog.addKnownStatement(object);
      else if (!fresh.has(opened.payloadId)) {
        if (loggedAt(object) === undefined && own?.is(opened.document)) {
          uncommitted.set(opened.payloadId, { opened, envelope });
          return;
        }
        const quarantined = doubtOf(options, opened);
        if (quarantined !== undefined) {
          onNotice(leftOut(`statement/${object}`, `it is set aside: ${quarantined}`));
        }
        fresh.set(opened.payloadId, {
          opened,
          envelope,
          ...(quarantined === undefined ? {} : { quarantined }),
        });
      }
    },
    onLeftOut: (object, { message }) => onNotice(leftOut(`statement/${object}`, message)),
  });
  // The ledger's envelope of a statement stands for it, and that is read first.
  for (const id of fresh.keys()) uncommitted.delete(id);
  if (uncommitted.size > 0) {
    const isCommitted = await own?.commit([...uncommitted.values()]);
    for (const [id, statement] of uncommitted) {
      if (isCommitted) fresh.set(id, statement);
      else onNotice(leftOut(`statement/${statement.opened.id}`, NOT_COMMITTED));
    }
  }
  const byEpoch = Map.groupBy(
    fresh.values(),
    ({ opened: { document } }) => `${document.register}/${document.epoch}`,
  );
  let imported = 0;
  for (const statements of byEpoch.values()) {
    // What is set aside comes last: it must not choose the key of an epoch, nor be built on.
    const ordered = statements.toSorted(
      (a, b) => Number(isAside(a)) - Number(isAside(b)) || sequenceOf(a) - sequenceOf(b),
    );
    imported += await importEpoch(options, withOneKey(options, ordered));
  }
  return imported;
}

/**
 * Statements that the catalog does not have, those that the ledger has first: anybody can put what an agent
 * signed into another envelope, and that one must not stand for the statement.
 */
function unknownStatements(
  { catalog, loggedAt, register }: ImportOptions,
  ids: ReadonlySet<DocumentId>,
): readonly DocumentId[] {
  const unknown = [...ids].filter((id) => {
    const other = register === undefined ? undefined : catalog.otherStatement(id);
    return !catalog.isKnownStatement(id) && (other === undefined || other === register);
  });
  const { true: logged = [], false: others = [] } = Object.groupBy(unknown, (id) =>
    loggedAt(id) === undefined ? "false" : "true",
  );
  return [...logged, ...others];
}

const always = (): boolean => true;

const NOT_COMMITTED =
  "the run that wrote it was stopped before it was committed. The next protect commits it";

function leftOut(document: string, why: string): string {
  return `${document} was left out: ${why}`;
}

/**
 * Imports what the sites have of a register that home does not know. What home itself wrote and was stopped before it
 * could commit, it commits: the statement durable at the write quorum, as everything it names is, then the ledger, and
 * only then the catalog. It is a recovery point for others when a checkpoint that covers it is at the sites.
 *
 * @param writer undefined when fewer sites are open than the write quorum; then what was not committed is left out
 */
export async function importForHome(
  home: Home,
  catalog: Catalog,
  writer: QuorumWriter | undefined,
  places: readonly SitePlace[],
  register: RegisterId,
  now: Date,
  onNotice: ImportOptions["onNotice"],
): Promise<void> {
  const own: OwnStatements = {
    is: ({ agent, term }) => agent === home.agent.id && term === home.charter.term,
    commit: async (statements) => {
      if (!writer) return false;
      for (const { opened, envelope } of statements) {
        await writer.putEverywhere(`statement/${opened.id}`, envelope);
      }
      await home.withLedger((log) => {
        log.append(
          statements.map(({ opened: { id: envelope } }) => ({ kind: "statement", envelope })),
        );
        log.sign(now);
      });
      return true;
    },
  };
  await home.withGenerations((generations) =>
    importSnapshots({
      known: home.known,
      loggedAt: statementTimes(generations, home.known),
      own,
      catalog,
      cachePath: home.cachePath,
      places,
      register,
      epochKey: (id, epoch) => home.epochKey(id, epoch),
      onNotice,
    }),
  );
}

/** Why a statement is not to be believed, though an agent signed it; undefined when it is. */
function doubtOf(
  { known, loggedAt }: ImportOptions,
  opened: Opened<"statement">,
): string | undefined {
  const at = loggedAt(opened.id);
  if (at === undefined) return "the ledger does not have it";
  return suspicionOf(known, opened.document, at);
}

/**
 * Why what an agent wrote no longer counts; undefined when it does. Its own time speaks against it as well as
 * the ledger's.
 */
export function suspicionOf(
  { agents }: KnownState,
  { agent, time }: Pick<Statement, "agent" | "time">,
  at: Date,
): string | undefined {
  const suspectFrom = agents.get(agent)?.suspectFrom;
  if (!suspectFrom || (at < suspectFrom && Date.parse(time) < suspectFrom.getTime())) {
    return undefined;
  }
  return `its agent was revoked, and is suspect from ${suspectFrom.toISOString()} on`;
}

function isAside({ quarantined }: Fresh): boolean {
  return quarantined !== undefined;
}

function sequenceOf({ opened }: Fresh): number {
  return opened.document.sequence;
}

/**
 * An epoch has one key: the one that its recovery points in the catalog use, else the one that its first
 * statement names. Statements that name another are left out.
 */
function withOneKey(
  { catalog, known, onNotice }: ImportOptions,
  statements: readonly Fresh[],
): readonly Fresh[] {
  const [first] = statements;
  if (!first) return [];
  const { register, epoch } = epochOf(first.opened.document);
  const before = catalog.snapshots(register).find((snapshot) => snapshot.epoch === epoch);
  const { epochKeyId: keyId } = before
    ? openStatement(before.envelope, known).document
    : first.opened.document;
  return statements.filter(({ opened }) => {
    const same = opened.document.epochKeyId === keyId;
    if (!same) onNotice(leftOut(`statement/${opened.id}`, "it names a second key of its epoch"));
    return same;
  });
}

async function importEpoch(options: ImportOptions, statements: readonly Fresh[]): Promise<number> {
  const [first] = statements;
  if (!first) return 0;
  const { catalog, places, onNotice } = options;
  const context = epochOf(first.opened.document);
  for (const statement of statements) {
    const { opened } = statement;
    for (const manifest of opened.document.manifests) {
      try {
        await importManifest(
          options,
          context,
          parseId("DocumentId", manifest),
          !isAside(statement),
        );
      } catch (error) {
        if (!isExclaveError(error)) throw error;
        onNotice(leftOut(`manifest/${manifest} of statement/${opened.id}`, error.message));
      }
    }
  }
  const { epochKeyId } = first.opened.document;
  const key = await options.epochKey(context.register, context.epoch, epochKeyId);
  if (!key || epochKeyIdOf(key, context) !== epochKeyId) {
    onNotice(
      leftOut(
        `epoch ${context.epoch} of register ${context.register}`,
        "its key is not here, so its recovery points cannot be opened",
      ),
    );
    return 0;
  }
  const startPool = () =>
    startReadPool({
      workers: 1,
      places,
      shapes: catalog.shapes(context.register, context.epoch),
      epoch: { key, context },
      numericOwner: false,
      // Made good from other sites; only what cannot be had at all is worth a word.
      onProblem: () => undefined,
    });
  const reader = new EpochReader(startPool, catalog, options.cachePath, context);
  try {
    return await importRoots(options, reader, context, statements);
  } finally {
    await reader.close();
  }
}

async function importRoots(
  { catalog, onNotice }: ImportOptions,
  reader: EpochReader,
  context: EpochContext,
  statements: readonly Fresh[],
): Promise<number> {
  const { register, epoch } = context;
  const latest = catalog.snapshots(register).find((snapshot) => snapshot.epoch === epoch);
  let imported = 0;
  for (const { opened, envelope, quarantined } of statements) {
    const { id, payloadId, document } = opened;
    try {
      const root = await reader.root(document);
      catalog.transaction(() => {
        catalog.addSnapshot({
          id: payloadId,
          register,
          epoch,
          term: document.term,
          sequence: document.sequence,
          time: document.time,
          envelope,
          root: JSON.stringify(root),
          ...(quarantined === undefined ? {} : { quarantined }),
        });
        catalog.addKnownStatement(id);
        if (quarantined !== undefined) return;
        // An older one that comes late must not bring back its older index.
        if (!latest || document.sequence >= latest.sequence) {
          catalog.setSegments(register, epoch, segmentsOf(root));
        }
      });
      imported++;
    } catch (error) {
      if (!isExclaveError(error)) throw error;
      onNotice(leftOut(`statement/${id}`, error.message));
    }
  }
  return imported;
}

async function importManifest(
  options: ImportOptions,
  context: EpochContext,
  id: DocumentId,
  /** False for packs that nobody is held to: no check asks for what was made up. */
  committed: boolean,
): Promise<void> {
  const { context: stated, refs } = decodeManifest(
    await fetchDocument(options.places, "manifest", id),
  );
  if (
    stated.state !== context.state ||
    stated.register !== context.register ||
    stated.epoch !== context.epoch
  ) {
    throw new ExclaveError("altered", "a manifest belongs to another epoch than its statement");
  }
  options.catalog.transaction(() => {
    for (const ref of refs)
      options.catalog.addPack(context.register, context.epoch, ref, committed);
  });
}

/** The index segments of a root, as the catalog keeps them. */
export function segmentsOf(
  root: Pick<SnapshotRoot, "index">,
): readonly { readonly file: string; readonly bytes: number; readonly ref: string }[] {
  return root.index.map((segment) => ({
    file: segmentFileName(segment),
    bytes: segment.segment.bytes,
    ref: JSON.stringify(segment),
  }));
}
