/**
 * The three functions of the old metadata proposal that @peculiar/x509 wants on `Reflect`, by way of tsyringe, and
 * that it leaves to its user to bring along. Called before it is loaded.
 */
export function provideReflectMetadata(): void {
  if ("getMetadata" in Reflect) return;
  const kept = new WeakMap<object, Map<unknown, unknown>>();
  const defineMetadata = (key: unknown, value: unknown, target: object): void => {
    const metadata = kept.get(target) ?? new Map<unknown, unknown>();
    kept.set(target, metadata.set(key, value));
  };
  const getOwnMetadata = (key: unknown, target: object): unknown => kept.get(target)?.get(key);
  const getMetadata = (key: unknown, target: object): unknown => {
    for (let at: object | null = target; at !== null; at = Object.getPrototypeOf(at)) {
      if (kept.get(at)?.has(key)) return getOwnMetadata(key, at);
    }
    return undefined;
  };
  Object.assign(Reflect, { defineMetadata, getOwnMetadata, getMetadata });
}
