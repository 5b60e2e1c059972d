/** How long a remote site is waited for, and how much at once. Each can be set by itself; tests do. */

export type RemoteLimits = {
  /** For a connection: TCP, TLS, and the site's word for its TLS key. */
  readonly connectMs: number;
  /** Until the first byte of an answer, and between any two steps of a body in either direction. */
  readonly silenceMs: number;
  /** For a whole request with no body to speak of. */
  readonly wholeMs: number;
  /** A body may take longer than `wholeMs` by as long as it takes at this rate. */
  readonly leastBytesPerSecond: number;
  /** A connection that nobody has used for so long is closed. */
  readonly idleMs: number;
  /** Of one call, the first included. */
  readonly attemptsMax: number;
  /** Before the second attempt; doubled before each further one, and then a random part of it. */
  readonly firstDelayMs: number;
  readonly delayMsMax: number;
  /** A site that says "later" is asked again by this one only when later is no later than this. */
  readonly retryAfterMsMax: number;
  /** Of all calls together: beyond it a call fails at its first failure, so that many do not make an outage worse. */
  readonly retriesPerMinute: number;
  /** Calls in flight: at first, and at most. */
  readonly callsAtFirst: number;
  readonly callsMax: number;
};

export const REMOTE_LIMITS: RemoteLimits = {
  connectMs: 10_000,
  silenceMs: 90_000,
  wholeMs: 90_000,
  leastBytesPerSecond: 16 * 1024,
  idleMs: 20_000,
  attemptsMax: 5,
  firstDelayMs: 200,
  delayMsMax: 10_000,
  retryAfterMsMax: 30_000,
  retriesPerMinute: 120,
  // Two bodies that go on without a pause fill a link better than four that come and go: what TCP has learned of the
  // link on one of them is not there for the others.
  callsAtFirst: 2,
  callsMax: 64,
};

/** What of a body is written at once, at most: an abort acts between two of these. */
export const PIECE_BYTES_MAX = 256 * 1024;
/** The same where bandwidth is limited: so small that no body pauses for long while others have their turn. */
export const PACED_PIECE_BYTES_MAX = 32 * 1024;
/** The body of an answer that says what went wrong; what is longer is not read. */
export const ERROR_BYTES_MAX = 32 * 1024;
/** All header fields of an answer together. */
export const HEADER_BYTES_MAX = 16 * 1024;
