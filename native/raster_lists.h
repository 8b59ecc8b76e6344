// Narrows a tile's list to each of its microtiles, by the exact test of an ellipse against a rectangle.
#pragma once

#include "raster_tile.h"

namespace talksplat {

// Places 0 ... 7 of the set bits of a byte, for writing them without a branch.
struct SetBits {
  uint8_t places[256][8], counts[256];

  constexpr SetBits() : places{}, counts{} {
    for (int byte = 0; byte < 256; ++byte)
      for (int bit = 0; bit < 8; ++bit)
        if (byte >> bit & 1) places[byte][counts[byte]++] = uint8_t(bit);
  }
};
inline constexpr SetBits SET_BITS;

constexpr int OVERRUN = 16;  // Entries that append_places may write past the end of a list.

// Appends first + i for every set bit i and returns the new end.
inline uint32_t* append_places(uint32_t* to, uint32_t first, uint32_t mask) {
#if TALKSPLAT_LANES == 16 && defined(__AVX512F__)
  const __m512i numbers = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
  const __m512i places = _mm512_add_epi32(numbers, _mm512_set1_epi32(int(first)));
  _mm512_storeu_si512(to, _mm512_maskz_compress_epi32(__mmask16(mask), places));
  return to + __builtin_popcount(mask);
#else
  for (int half = 0; half < LANES; half += 8) {
    const uint32_t byte = mask >> half & 255;
    for (int i = 0; i < 8; ++i) to[i] = first + half + SET_BITS.places[byte][i];
    to += SET_BITS.counts[byte];
  }
  return to;
#endif
}

// LANES Gaussians, one per lane, as the test needs them.
struct Ellipses {
  Floats x, y, xx, xy, yy, weight, dy_of_dx, dx_of_dy;

  explicit Ellipses(const Splat* splats) {
    Floats columns[LANES < 8 ? 8 : LANES];
    for (int part = 0; part < 8; part += LANES) {
      for (int lane = 0; lane < LANES; ++lane)
        columns[part + lane] = load(reinterpret_cast<const float*>(splats + lane) + part);
      transpose(columns + part);
    }
    x = columns[0], y = columns[1], xx = columns[2], xy = columns[3], yy = columns[4];
    weight = columns[5], dy_of_dx = columns[6], dx_of_dy = columns[7];
  }
};

// The pixel centres of one column or row of microtiles, relative to each Gaussian's centre, and log2 alpha along
// their line nearest to it: value + t (linear + curvature t) at distance t along the line, greatest at `best`.
struct Line {
  Floats low, high, value, linear, best;

  Line() = default;
  Line(float first, int length, Floats center, Floats curvature, Floats mixed, Floats weight, Floats slope) {
    low = first - center;
    high = low + float(length - 1);
    const Floats nearest = clamped(Floats{}, low, high);
    value = weight + curvature * nearest * nearest;
    linear = mixed * nearest;
    best = slope * nearest;
  }
  Floats greatest(Floats from, Floats to, Floats curvature) const {
    const Floats t = clamped(best, from, to);
    return value + t * (linear + curvature * t);
  }
};

// The lists of one tile. The greatest alpha on a rectangle lies on one of the two sides that face the centre (or at
// the centre, which then is on both lines); on a side, at the line's own maximum clamped to the side.
class MicroLists {
 public:
  MicroLists(Scratch<uint32_t>& storage, uint32_t count)
      : stride_(count + OVERRUN), first_(storage.reserve(size_t(stride_) * MICROTILES)) {
    for (int micro = 0; micro < MICROTILES; ++micro) ends_[micro] = first_ + size_t(micro) * stride_;
  }
  const uint32_t* list(int micro) const { return first_ + size_t(micro) * stride_; }
  uint32_t length(int micro) const { return uint32_t(ends_[micro] - list(micro)); }

  // Adds Gaussians [place, place + LANES) of the tile at (left, top); `valid` has a bit for each that exists.
  void add(const Splat* splats, uint32_t place, uint32_t valid, int left, int top) {
    constexpr float SLACK = 1e-3f;  // Rounding may not lose a pixel; the blend decides exactly.
    const Ellipses e(splats + place);
    const Floats least = splat(ALPHA_LEAST_LOG2 - SLACK);
    Line columns[4];
    for (int i = 0; i < 4; ++i)
      columns[i] = Line(float(left + 4 * i) + 0.5f, 4, e.x, e.xx, e.xy, e.weight, e.dy_of_dx);
    for (int j = 0; j < TILE / MICRO_ROWS; ++j) {
      const Line row(float(top + MICRO_ROWS * j) + 0.5f, MICRO_ROWS, e.y, e.yy, e.xy, e.weight, e.dx_of_dy);
      for (int i = 0; i < 4; ++i) {
        const Floats upright = columns[i].greatest(row.low, row.high, e.yy);
        const Floats level = row.greatest(columns[i].low, columns[i].high, e.xx);
        uint32_t*& end = ends_[4 * j + i];
        end = append_places(end, place, at_least(maximum(upright, level), least) & valid);
      }
    }
  }

 private:
  uint32_t stride_;
  uint32_t* first_;
  uint32_t* ends_[MICROTILES];
};

}  // namespace talksplat
