/** Opens what a site keeps for one State: storage, index, book, and the view of its ledger. */
import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import type { Logger } from "pino";
import type { ObjectKind, SiteIdentity } from "../sites/site.ts";
import { witnessesOf } from "../vault/known-state.ts";
import type { Grant } from "./grant.ts";
import { judgeOf } from "./judge.ts";
import type { Limits } from "./limits.ts";
import type { MirroredLog } from "./mirror.ts";
import type { OpenFiles } from "./open-files.ts";
import { removable } from "./policy.ts";
import type { SiteSettings } from "./settings.ts";
import { StateService } from "./state-service.ts";
import { openDirectoryStorage, type Storage } from "./storage.ts";
import { ObjectStore } from "./store.ts";
import type { RipeRemoval } from "./sweep.ts";
import { StateView, type ViewNotice } from "./view.ts";

export type OpenStateOptions = {
  /** The State's own: objects/, index.sqlite, book.sqlite, sight.sqlite, view/. */
  readonly folder: string;
  readonly grant: Grant;
  readonly storage: SiteSettings["storage"];
  readonly identity: SiteIdentity;
  readonly limits: Limits;
  /** What is open to be read, of all States together. */
  readonly openFiles: OpenFiles;
  readonly log: Logger;
  readonly now: () => Date;
  readonly onNotice: (notice: ViewNotice) => void;
  readonly onPaper: (paper: {
    readonly kind: ObjectKind;
    readonly name: string;
    readonly bytes: Uint8Array;
  }) => void;
  /** Puts something around what stores; for tests. */
  readonly around?: ((storage: Storage) => Storage) | undefined;
};

/** A State that is served. */
export type ServedState = {
  readonly service: StateService;
  readonly view: StateView;
  readonly granted: () => Grant;
  /** From now on by another grant for the same State. */
  regrant(grant: Grant): void;
  /** The open ledger, as far as it was followed. */
  mirrored(): MirroredLog | undefined;
  /** Destructions that are ripe here. */
  ripe(): readonly RipeRemoval[];
  close(): Promise<void>;
};

export async function openState(options: OpenStateOptions): Promise<ServedState> {
  const { folder, limits, log, now } = options;
  let { grant } = options;
  await mkdir(folder, { recursive: true, mode: 0o700 });
  let view: StateView | undefined;
  const opened = await openStorage(options, (name) => {
    const expected = view?.expectedLedgerFile(name);
    return typeof expected === "string" ? undefined : expected;
  });
  const storage = options.around?.(opened) ?? opened;
  const store = await ObjectStore.open({ folder, state: grant.state, storage, now });
  const { onNotice, onPaper } = options;
  try {
    view = await StateView.open({
      folder,
      state: grant.state,
      objects: storage.site,
      now,
      onNotice,
    });
  } catch (error) {
    store.close();
    throw error;
  }
  const known = view;
  const service = new StateService({
    grant,
    store,
    judge: judgeOf(known, () => grant, now),
    following: {
      follow: async () => {
        const before = known.current;
        return (await known.follow()) !== before;
      },
      followedAt: () => known.current?.followedAt,
      ledger: () => known.current,
    },
    limits,
    log,
    now,
    onPaper,
  });
  return {
    service,
    view: known,
    granted: () => grant,
    regrant: (next) => {
      grant = next;
      service.grant = next;
    },
    mirrored: () => mirroredLog(known, service),
    ripe: () => (known.current ? removable(known.current, grant, now()) : []),
    close: async () => {
      await service.close();
      await known.close();
      store.close();
      storage.close?.();
    },
  };
}

async function openStorage(
  { folder, grant, identity, storage, openFiles }: OpenStateOptions,
  expectedLedgerFile: (name: string) => Uint8Array | undefined,
): Promise<Storage> {
  if (storage.kind === "directory") {
    return openDirectoryStorage(join(folder, "objects"), grant.state, identity, openFiles);
  }
  // Megabytes that a site with a disk does not need.
  const { openS3Storage } = await import("./storage-s3.ts");
  return openS3Storage(storage.file, grant.state, identity, expectedLedgerFile);
}

function mirroredLog(view: StateView, service: StateService): MirroredLog | undefined {
  const { current } = view;
  const keys = current && view.logs().get(current.origin);
  const [ed25519, mlDsa44] = keys ?? [];
  if (!current || !ed25519 || !mlDsa44) return undefined;
  const { witnesses } = witnessesOf(current.known.charter);
  return {
    origin: current.origin,
    size: current.size,
    keys: [ed25519, mlDsa44],
    cosigners: witnesses.flatMap((one) => one.keys),
    service,
  };
}
