// What drawing and its gradient do alike inside a tile: pixel coordinates and the alpha of one Gaussian.
#pragma once

#include "raster.h"

namespace talksplat {

// Coordinates of a microtile's pixels within its tile's image, one per lane.
struct MicroPixels {
  Floats x, y;

  MicroPixels(int left, int top) : x{}, y{} {
    for (int lane = 0; lane < LANES; ++lane) {
      x[lane] = float(left + lane % 4) + 0.5f;
      y[lane] = float(top + lane / 4) + 0.5f;
    }
  }
};

// Offsets of a microtile from its tile's corner, pixels.
inline int micro_left(int micro) { return micro % 4 * 4; }
inline int micro_top(int micro) { return micro / 4 * MICRO_ROWS; }

// log2 of alpha before clamping at the pixels (x, y).
inline Floats log2_alpha(const Splat& splat, Floats x, Floats y) {
  const Floats dx = x - splat.x, dy = y - splat.y;
  return (splat.weight + splat.yy * dy * dy) + dx * (splat.xx * dx + splat.xy * dy);
}

// Numbers of pixels of a microtile inside the image.
struct MicroInside {
  int columns, rows;

  MicroInside(const RasterArguments& arguments, int left, int top) {
    const int right = arguments.width - left, below = arguments.height - top;
    columns = right < 0 ? 0 : right < 4 ? right : 4;
    rows = below < 0 ? 0 : below < MICRO_ROWS ? below : MICRO_ROWS;
  }
  bool whole() const { return columns == 4 && rows == MICRO_ROWS; }
  bool none() const { return columns == 0 || rows == 0; }
};

}  // namespace talksplat
