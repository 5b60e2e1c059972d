/**
 * Remembers the last few of what was computed: a charter's keys are taken apart, and the same signatures verified,
 * again and again in one run. For what is public and never changes, and for successes alone.
 */
export class Remembered<T> {
  readonly #most: number;
  readonly #values = new Map<string, T>();

  /** @param most entries; the oldest gives way to the next */
  constructor(most: number) {
    this.#most = most;
  }

  get(key: string): T | undefined {
    return this.#values.get(key);
  }

  /** Remembers a value, and returns it. */
  keep(key: string, value: T): T {
    if (this.#values.size >= this.#most) {
      const [oldest] = this.#values.keys();
      if (oldest !== undefined) this.#values.delete(oldest);
    }
    this.#values.set(key, value);
    return value;
  }
}
