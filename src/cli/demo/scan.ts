/** Draws what a scanner makes of a typed deed, as a real grayscale PNG. */
import { constants, crc32, deflateSync } from "node:zlib";
import type { Random } from "./random.ts";

const signature = Uint8Array.of(0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a);

function pngChunk(type: string, data: Uint8Array): Buffer {
  const chunk = Buffer.alloc(12 + data.length);
  chunk.writeUInt32BE(data.length, 0);
  chunk.write(type, 4, "latin1");
  chunk.set(data, 8);
  chunk.writeUInt32BE(crc32(chunk.subarray(4, 8 + data.length)), 8 + data.length);
  return chunk;
}

/** Darkens a box; what lies beyond the page's edge is left out. */
type Ink = (x: number, y: number, width: number, height: number) => void;

function typedLines(random: Random, ink: Ink, width: number, height: number): void {
  const left = Math.floor(width / 9);
  const end = Math.floor(height * 0.78);
  ink(Math.floor(width / 3), left, Math.floor(width / 3), 6);
  for (let y = left + 30; y < end; y += 15) {
    // Now and then a paragraph ends.
    const right = random.chance(14) ? random.between(width >> 1, width - left) : width - left;
    for (let x = left; x < right; ) {
      const letters = random.between(2, 9);
      for (let letter = 0; letter < letters && x < right; letter++, x += 7) {
        const tall = random.chance(30) ? 9 : 6;
        ink(x, y - tall, 2, tall);
        if (random.chance(60)) ink(x + 4, y - 6, 1, 6);
        if (random.chance(50)) ink(x, y - random.pick([1, 4, 6]), 5, 1);
      }
      x += 6;
    }
  }
}

function stampAndSignature(random: Random, ink: Ink, width: number, height: number): void {
  const [x, y, radius] = [width * 0.24, height * 0.87, width * 0.09];
  for (let angle = 0; angle < 2 * Math.PI; angle += 0.01) {
    for (const ring of [radius, radius * 0.8]) {
      ink(Math.round(x + ring * Math.cos(angle)), Math.round(y + ring * Math.sin(angle)), 2, 2);
    }
  }
  let penY = y;
  for (let penX = width * 0.55; penX < width * 0.85; penX++) {
    penY = Math.min(y + 18, Math.max(y - 18, penY + random.between(-3, 3)));
    ink(Math.round(penX), Math.round(penY), 2, 2);
  }
}

/**
 * One page of about 60 to 300 KB. Its last two bits a pixel are noise, as a scanner's are, so it
 * neither compresses further nor shares a chunk with any other scan.
 */
export function drawScan(random: Random): Uint8Array {
  const width = 4 * random.between(120, 230);
  const height = Math.round(width * Math.SQRT2);
  const stride = width + 1; // each line starts with its filter, 0
  const pixels = Buffer.alloc(stride * height);
  const paper = random.between(226, 246);
  for (let y = 0; y < height; y++) {
    const line = y * stride + 1;
    for (let x = 0; x < width; x += 4) {
      const noise = random.word();
      pixels[line + x] = paper + ((noise >>> 30) & 3);
      pixels[line + x + 1] = paper + ((noise >>> 22) & 3);
      pixels[line + x + 2] = paper + ((noise >>> 14) & 3);
      pixels[line + x + 3] = paper + ((noise >>> 6) & 3);
    }
  }
  const ink: Ink = (x, y, across, down) => {
    for (let row = Math.max(0, y); row < Math.min(height, y + down); row++) {
      for (let column = Math.max(0, x); column < Math.min(width, x + across); column++) {
        const at = row * stride + 1 + column;
        pixels[at] = 40 + ((pixels[at] ?? 0) & 3);
      }
    }
  };
  typedLines(random, ink, width, height);
  stampAndSignature(random, ink, width, height);

  const header = Buffer.alloc(13);
  header.writeUInt32BE(width, 0);
  header.writeUInt32BE(height, 4);
  header.set([8, 0, 0, 0, 0], 8); // 8 bits, grayscale, deflate, no filter choice, not interlaced
  const packed = deflateSync(pixels, { level: 1, strategy: constants.Z_HUFFMAN_ONLY });
  return Buffer.concat([
    signature,
    pngChunk("IHDR", header),
    pngChunk("IDAT", packed),
    pngChunk("IEND", new Uint8Array(0)),
  ]);
}
