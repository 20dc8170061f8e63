import type { Picture } from '../../report';
import type { Seen } from '../reading';

/** A keep mask: the density of its tiles, and the mask itself in one corner. */
export interface Mask {
  rows: number;
  columns: number;
  tileRows: number;
  tileColumns: number;
  /** 0 to 255 a tile, row by row. */
  tiles: Uint8Array;
  cornerRows: number;
  cornerColumns: number;
  /** 1 = kept, a byte a weight, row by row. */
  corner: Uint8Array;
}

const LARGEST_SIDE = 64;

/** Decode a picture; null where it is damaged. */
export function decoded(picture: Seen<Picture>): Mask | null {
  const { rows, columns, tile_rows, tile_columns, corner_rows, corner_columns } = picture;
  const sides = [tile_rows, tile_columns, corner_rows, corner_columns];
  if (!sides.every(isSide) || !(rows !== null && rows >= 1) || !(columns !== null && columns >= 1)) {
    return null;
  }
  const [tileRows, tileColumns, cornerRows, cornerColumns] = sides as [number, number, number, number];
  const width = Math.ceil(cornerColumns / 8);
  const tiles = bytes(picture.tiles, tileRows * tileColumns);
  const packed = bytes(picture.corner, cornerRows * width);
  if (tiles === null || packed === null) {
    return null;
  }
  const corner = new Uint8Array(cornerRows * cornerColumns);
  for (let row = 0; row < cornerRows; row++) {
    for (let column = 0; column < cornerColumns; column++) {
      const byte = packed[row * width + (column >> 3)] ?? 0;
      corner[row * cornerColumns + column] = (byte >> (7 - (column & 7))) & 1;
    }
  }
  return { rows, columns, tileRows, tileColumns, tiles, cornerRows, cornerColumns, corner };
}

function isSide(value: number | null): boolean {
  return value !== null && Number.isInteger(value) && value >= 1 && value <= LARGEST_SIDE;
}

function bytes(base64: string | null, length: number): Uint8Array | null {
  try {
    const raw = Uint8Array.from(atob(base64 ?? ''), character => character.charCodeAt(0));
    return raw.length === length ? raw : null;
  } catch {
    return null; // not base64
  }
}
