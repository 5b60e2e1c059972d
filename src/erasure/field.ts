/**
 * GF(2^8) with the polynomial x^8 + x^4 + x^3 + x^2 + 1 (0x11d), in which 2 is a generator.
 *
 * Addition is XOR. Multiplication here is eight shift-and-XOR steps under masks: no branch and no
 * look-up depends on a value, so the same function serves matrices and secret shares.
 */

/** The product of two field elements (0 to 255). */
export function multiply(a: number, b: number): number {
  let product = 0;
  let shifted = a;
  for (let bit = 0; bit < 8; bit++) {
    product ^= shifted & -((b >>> bit) & 1);
    shifted = ((shifted << 1) ^ (0x11d & -(shifted >>> 7))) & 0xff;
  }
  return product;
}

/** The inverse of a field element, as its 254th power; of 0, which has none, 0. */
export function invert(a: number): number {
  let power = a;
  let inverse = 1;
  for (let bit = 1; bit < 8; bit++) {
    power = multiply(power, power);
    inverse = multiply(inverse, power);
  }
  return inverse;
}

/** a / b; 0 when b is 0. */
export function divide(a: number, b: number): number {
  return multiply(a, invert(b));
}
