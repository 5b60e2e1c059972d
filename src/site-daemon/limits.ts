/** Every bound of the daemon, in one place. Whoever asks for more waits, or is told to come back. */
import { ADD_CHECKPOINT_BYTES_MAX } from "../ledger/witness.ts";
import { DOCUMENT_BYTES_MAX } from "../sites/site.ts";
import { PACK_BYTES_MAX, SITES_MAX, shardBytes } from "../vault/shard.ts";

/** A pack of the largest kind, mirrored whole. */
export const SHARD_BYTES_MAX = shardBytes({ packBytes: PACK_BYTES_MAX, k: 1, n: SITES_MAX });

export type Limits = {
  /** Open connections on one listener, and of them from one address. */
  readonly connectionsMax: number;
  readonly connectionsPerAddressMax: number;
  /** Requests on one connection before it is closed, so that none lives for ever. */
  readonly requestsPerConnectionMax: number;
  /** Of everything before a body. */
  readonly headerBytesMax: number;
  /** Header lines of one request. */
  readonly headersMax: number;
  /** From the first byte of a request to the end of its headers. */
  readonly headerMsMax: number;
  readonly handshakeMsMax: number;
  /** A connection on which nothing is asked. */
  readonly idleMsMax: number;
  /** A body that comes slower than this, after the grace, is cut off. */
  readonly bodyBytesPerSecondMin: number;
  readonly bodyGraceMs: number;
  /** Nothing of a body came for so long. */
  readonly bodySilenceMsMax: number;
  /** A reader that takes nothing for so long is cut off. */
  readonly readSilenceMsMax: number;
  /** What requests of all States hold in memory of their bodies. */
  readonly bodyBytesInFlightMax: number;
  /** Of it one State's. */
  readonly stateBytesInFlightMax: number;
  /** The same for what strangers send, who have room of their own and cannot take away that of agents. */
  readonly strangerBytesInFlightMax: number;
  /** A body that finds no room for so long is refused, to be sent again. */
  readonly roomMsMax: number;
  /** Bodies that wait for room. */
  readonly roomWaitersMax: number;
  /** A request whose body is not wanted is answered, and so much of the body thrown away for so long. */
  readonly discardBytesMax: number;
  readonly discardMsMax: number;
  /** Read from storage and written to the socket at once. */
  readonly readPieceBytes: number;
  /** Pieces under way, of all readers. */
  readonly readPiecesMax: number;
  /** Requests in a second, lasting, and the burst on top; by State, by address, by address unsigned. */
  readonly requestsPerSecond: {
    readonly state: Rate;
    readonly address: Rate;
    readonly stranger: Rate;
    /** Signatures that were not good, of an address: then none of its signatures is looked at for a while. */
    readonly failures: Rate;
    /** On the plain listener. */
    readonly monitor: Rate;
  };
  /** Addresses whose rates are remembered. */
  readonly addressesMax: number;
  /** Checks of many objects that one request may have run at once. */
  readonly statsAtOnce: number;
  /** How long to wait for what is stored already to be followed, before saying that a key is not known. */
  readonly followMsMax: number;
  /** From the last object that asks for it to following the ledger. */
  readonly followDebounceMs: number;
  /** Requests that are finished when the daemon is stopped. */
  readonly closeMsMax: number;
};

export type Rate = { readonly perSecond: number; readonly burst: number };

const MIB = 1024 * 1024;

export const LIMITS: Limits = {
  connectionsMax: 512,
  connectionsPerAddressMax: 256,
  requestsPerConnectionMax: 1_000_000,
  headerBytesMax: 8192,
  headersMax: 64,
  headerMsMax: 15_000,
  handshakeMsMax: 10_000,
  idleMsMax: 75_000,
  bodyBytesPerSecondMin: 8192,
  bodyGraceMs: 20_000,
  bodySilenceMsMax: 30_000,
  readSilenceMsMax: 60_000,
  // Room for one shard of the largest kind and some of the usual ones.
  bodyBytesInFlightMax: SHARD_BYTES_MAX + 16 * MIB,
  stateBytesInFlightMax: SHARD_BYTES_MAX,
  strangerBytesInFlightMax: 8 * MIB,
  roomMsMax: 60_000,
  roomWaitersMax: 1024,
  discardBytesMax: 16 * MIB,
  discardMsMax: 5000,
  readPieceBytes: 128 * 1024,
  readPiecesMax: 64,
  requestsPerSecond: {
    state: { perSecond: 10_000, burst: 20_000 },
    address: { perSecond: 10_000, burst: 20_000 },
    stranger: { perSecond: 50, burst: 500 },
    failures: { perSecond: 10, burst: 200 },
    monitor: { perSecond: 200, burst: 2000 },
  },
  addressesMax: 10_000,
  statsAtOnce: 32,
  followMsMax: 10_000,
  followDebounceMs: 200,
  closeMsMax: 20_000,
};

/** The largest body that a request of any kind has. */
export const BODY_BYTES_MAX = {
  shard: SHARD_BYTES_MAX,
  document: DOCUMENT_BYTES_MAX,
  addCheckpoint: ADD_CHECKPOINT_BYTES_MAX,
  /** 4096 names of at most 95 characters, quoted. */
  receipts: 512 * 1024,
} as const;

/** How often, asked or not, ledgers are followed, the alarm is looked at, and ripe orders are executed. */
export const WATCH_EVERY_MS = 60_000;
/** A ledger that was not looked at for so long is a trouble. */
export const FOLLOW_OVERDUE_MS = 10 * WATCH_EVERY_MS;
/** Files that are kept open to be read, of all States. */
export const OPEN_FILES_MAX = 1024;
/** A webhook, an e-mail, a command: tries, and what each may take. */
export const ALARM_ATTEMPTS_MAX = 5;
export const ALARM_ATTEMPT_MS_MAX = 30_000;
export const ALARM_RETRY_FIRST_MS = 60_000;
/** Papers that wait to be told to other sites, and tries of each. */
export const PEER_PAPERS_MAX = 4096;
export const PEER_ATTEMPTS_MAX = 20;
export const PEER_RETRY_FIRST_MS = 5000;
export const PEER_RETRY_MS_MAX = 3_600_000;

/**
 * What governing documents and records may take of a day beside an agent's quota, and of the site beside the
 * State's, so that junk up to a quota never keeps a decision, a checkpoint or a veto away.
 */
export const GOVERNANCE_BYTES_PER_DAY_MAX = 256 * MIB;
export const GOVERNANCE_OBJECTS_PER_DAY_MAX = 50_000;
export const GOVERNANCE_RESERVE_BYTES = 1024 * MIB;
/** Of a quota, what is set aside at once: a crash costs the agent at most so much of its day. */
export const QUOTA_STEPS = 64;
