/** What the daemon counts, for Prometheus. Every label has few values: what strangers send is in none. */
import { Counter, Gauge, Histogram, Registry } from "prom-client";
import type { ErrorCode } from "../errors.ts";

export type Route =
  | "put"
  | "get"
  | "head"
  | "list"
  | "receipts"
  | "status"
  | "identity"
  | "program"
  | "witness"
  | "mirror"
  | "notice"
  | "other";

/** What is measured of one State when somebody asks. */
export type StateMeasures = {
  readonly state: string;
  readonly objects: number;
  readonly bytes: number;
  readonly quotaBytes: number;
  readonly quarantined: number;
  /** Undefined before the ledger was followed. */
  readonly viewAgeSeconds: number | undefined;
  readonly silentSeconds: number;
};

export type Measures = {
  readonly states: readonly StateMeasures[];
  readonly bodyBytesInFlight: number;
  readonly bodiesWaiting: number;
  readonly connections: number;
};

const SECONDS = [0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 120];

export class Metrics {
  readonly #registry = new Registry();
  readonly #requests: Counter<"route" | "status">;
  readonly #seconds: Histogram<"route">;
  readonly #refusals: Counter<"code">;
  readonly #bytes: Counter<"direction">;

  constructor(measure: () => Measures) {
    const registers = [this.#registry];
    this.#requests = new Counter({
      name: "exclave_site_requests_total",
      help: "Requests that were answered",
      labelNames: ["route", "status"],
      registers,
    });
    this.#seconds = new Histogram({
      name: "exclave_site_request_seconds",
      help: "From the request's headers to the end of the answer",
      labelNames: ["route"],
      buckets: SECONDS,
      registers,
    });
    this.#refusals = new Counter({
      name: "exclave_site_refusals_total",
      help: "Requests that were refused, by error code",
      labelNames: ["code"],
      registers,
    });
    this.#bytes = new Counter({
      name: "exclave_site_body_bytes_total",
      help: "Bytes of objects that came in and went out",
      labelNames: ["direction"],
      registers,
    });
    this.#ofAll(measure);
    this.#ofStates(measure);
  }

  #ofAll(measure: () => Measures): void {
    const gauges: Readonly<Record<string, readonly [string, (all: Measures) => number]>> = {
      exclave_site_body_bytes_in_flight: [
        "Memory that bodies have",
        (all) => all.bodyBytesInFlight,
      ],
      exclave_site_bodies_waiting: ["Bodies that wait for memory", (all) => all.bodiesWaiting],
      exclave_site_connections: ["Open connections", (all) => all.connections],
    };
    for (const [name, [help, value]] of Object.entries(gauges)) {
      new Gauge({
        name,
        help,
        registers: [this.#registry],
        collect() {
          this.set(value(measure()));
        },
      });
    }
  }

  #ofStates(measure: () => Measures): void {
    const gauges: Readonly<Record<string, readonly [string, (one: StateMeasures) => number]>> = {
      exclave_site_objects: ["Objects that are stored", (one) => one.objects],
      exclave_site_object_bytes: ["Bytes of objects that are stored", (one) => one.bytes],
      exclave_site_quota_bytes: ["What the State was granted", (one) => one.quotaBytes],
      exclave_site_quarantined_objects: ["Objects that are set aside", (one) => one.quarantined],
      exclave_site_view_age_seconds: [
        "Age of the newest checkpoint that was followed; NaN before the first",
        (one) => one.viewAgeSeconds ?? Number.NaN,
      ],
      exclave_site_home_silent_seconds: ["Since home was heard of", (one) => one.silentSeconds],
    };
    for (const [name, [help, value]] of Object.entries(gauges)) {
      new Gauge({
        name,
        help,
        labelNames: ["state"],
        registers: [this.#registry],
        collect() {
          this.reset();
          for (const one of measure().states) this.set({ state: one.state }, value(one));
        },
      });
    }
  }

  answered(route: Route, status: number, seconds: number): void {
    this.#requests.inc({ route, status: String(status) });
    this.#seconds.observe({ route }, seconds);
  }

  refused(code: ErrorCode): void {
    this.#refusals.inc({ code });
  }

  moved(direction: "in" | "out", bytes: number): void {
    this.#bytes.inc({ direction }, bytes);
  }

  get contentType(): string {
    return this.#registry.contentType;
  }

  text(): Promise<string> {
    return this.#registry.metrics();
  }
}
