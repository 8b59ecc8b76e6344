// Products on a processor's matrix unit (Intel's AMX): operands rounded to bfloat16, sums in float32.
//
// A tile is 16 rows of 64 bytes, and all operands are kept tile by tile, since strided rows cost the unit half its
// speed. Of three forms, `rows` has 16 points with 32 channels each; `pairs` has 16 pairs of rows of what is summed over, with
// 16 columns each, as the unit wants its right operand; `turned` has 16 channels with 32 points each, the left operand
// of sums over points.
#pragma once

#include <immintrin.h>

#include <algorithm>
#include <cstring>
#include <vector>

#include "simd.h"

namespace talksplat {

typedef uint16_t Half;              // A bfloat16.
constexpr int TILE = 512;           // Halves, or 256 floats.
constexpr int BLOCK = 128;  // Points: four tiles' worth of what is summed over in the weights' gradients.
constexpr int POINT_TILES = BLOCK / 16, POINT_PAIRS = BLOCK / 32;

constexpr int whole_tiles(int width) { return (width + 31) / 32 * 32; }

// The unit's loads do not tell the compiler that they read memory (GCC 12): what was written must be there by now.
inline void memory_is_read(const void* at) { __asm__ volatile("" : : "r"(at) : "memory"); }

// The unit's registers: all eight are whole tiles. While it lives, this thread may multiply.
class MatrixUnit {
 public:
  MatrixUnit() {
    struct alignas(64) {
      uint8_t palette = 1, start = 0, reserved[14] = {};
      uint16_t bytes[16] = {};
      uint8_t rows[16] = {};
    } settings;
    for (int tile = 0; tile < 8; ++tile) settings.bytes[tile] = 64, settings.rows[tile] = 16;
    memory_is_read(&settings);
    _tile_loadconfig(&settings);
    memory_is_read(&settings);  // Nor that all of the settings are.
  }
  ~MatrixUnit() { _tile_release(); }
  MatrixUnit(const MatrixUnit&) = delete;
  MatrixUnit& operator=(const MatrixUnit&) = delete;
};

// Tiles of a matrix; steps count tiles.
struct Tiles {
  const Half* at;
  int row_step, column_step;
  const Half* tile(int row, int column) const { return at + (row * row_step + column * column_step) * TILE; }
};

// Sums over `inner` tiles of left(row, k) right(k, column) into four registers that hold what was there.
inline void multiply_four(Tiles left, int row, Tiles right, int column, int inner) {
  for (int k = 0; k < inner; ++k) {
    _tile_loadd(4, left.tile(row, k), 64);
    _tile_loadd(5, left.tile(row + 1, k), 64);
    _tile_loadd(6, right.tile(k, column), 64);
    _tile_loadd(7, right.tile(k, column + 1), 64);
    _tile_dpbf16ps(0, 4, 6);
    _tile_dpbf16ps(1, 4, 7);
    _tile_dpbf16ps(2, 5, 6);
    _tile_dpbf16ps(3, 5, 7);
  }
}

// left right, `rows` x `columns` tiles, both even; finish(row, column, sums) gets four tiles at a time, 16 x 16 floats
// each: (row, column), (row, column + 1), (row + 1, column), (row + 1, column + 1).
template <class Finish>
inline void multiply(Tiles left, int rows, int inner, Tiles right, int columns, const Finish& finish) {
  alignas(64) float sums[4][256];
  memory_is_read(left.at);
  for (int column = 0; column < columns; column += 2)
    for (int row = 0; row < rows; row += 2) {
      _tile_zero(0);
      _tile_zero(1);
      _tile_zero(2);
      _tile_zero(3);
      multiply_four(left, row, right, column, inner);
      _tile_stored(0, sums[0], 64);
      _tile_stored(1, sums[1], 64);
      _tile_stored(2, sums[2], 64);
      _tile_stored(3, sums[3], 64);
      finish(row, column, sums);
    }
}

// sums += left right; `sums` has its tiles row by row.
inline void accumulate(Tiles left, int rows, int inner, Tiles right, int columns, float* sums) {
  memory_is_read(left.at);
  for (int row = 0; row < rows; row += 2)
    for (int column = 0; column < columns; column += 2) {
      float* upper = sums + (row * columns + column) * 256;
      float* lower = upper + columns * 256;
      _tile_loadd(0, upper, 64);
      _tile_loadd(1, upper + 256, 64);
      _tile_loadd(2, lower, 64);
      _tile_loadd(3, lower + 256, 64);
      multiply_four(left, row, right, column, inner);
      _tile_stored(0, upper, 64);
      _tile_stored(1, upper + 256, 64);
      _tile_stored(2, lower, 64);
      _tile_stored(3, lower + 256, 64);
    }
}

inline __m512i rounded(Floats low, Floats high) {
  return (__m512i)_mm512_cvtne2ps_pbh(__m512(high), __m512(low));
}
inline void put(Half* to, __m512i value) { _mm512_store_si512(to, value); }
inline __m512i get(const Half* from) { return _mm512_load_si512(from); }

inline __m512i interleaving(int first) {
  alignas(64) uint16_t order[32];
  for (int i = 0; i < 16; ++i) order[2 * i] = uint16_t(first + i), order[2 * i + 1] = uint16_t(32 + first + i);
  return _mm512_load_si512(order);
}

// Rows of a block, [point tile][channel tile], to pairs of points, [pair tile][16 channels].
inline void pairs_of(const Half* rows, int channel_tiles, Half* pairs) {
  const __m512i low = interleaving(0), high = interleaving(16);
  for (int pair = 0; pair < POINT_PAIRS; ++pair)
    for (int channel = 0; channel < channel_tiles; ++channel)
      for (int row = 0; row < 16; ++row) {
        const Half* from = rows + ((2 * pair + row / 8) * channel_tiles + channel) * TILE + (2 * row % 16) * 32;
        Half* to = pairs + (pair * 2 * channel_tiles + 2 * channel) * TILE + row * 32;
        put(to, _mm512_permutex2var_epi16(get(from), low, get(from + 32)));
        put(to + TILE, _mm512_permutex2var_epi16(get(from), high, get(from + 32)));
      }
}

// Pairs of points, [pair tile][16 channels], to [16 channels][32 points].
inline void turned_of(const Half* pairs, int sixteens, Half* turned) {
  for (int pair = 0; pair < POINT_PAIRS; ++pair)
    for (int channel = 0; channel < sixteens; ++channel) {
      Floats rows[16];
      std::memcpy(rows, pairs + (pair * sixteens + channel) * TILE, sizeof rows);
      transpose(rows);
      std::memcpy(turned + (channel * POINT_PAIRS + pair) * TILE, rows, sizeof rows);
    }
}

// Up to 32 floats of a row, zeros behind them.
inline __m512i rounded_part(const float* from, int count) {
  const __mmask32 mask = count >= 32 ? ~__mmask32(0) : (__mmask32(1) << std::max(count, 0)) - 1;
  return rounded(Floats(_mm512_maskz_loadu_ps(__mmask16(mask), from)),
                 Floats(_mm512_maskz_loadu_ps(__mmask16(mask >> 16), from + 16)));
}

// `count` rows of floats, `step` apart, to the rows form; missing points and channels are zero.
inline void rows_of(const float* from, int64_t step, int columns, int count, bool rectified, Half* rows) {
  const int channel_tiles = whole_tiles(columns) / 32;
  const __m512i zero = _mm512_setzero_si512();
  for (int point = 0; point < BLOCK; ++point)
    for (int channel = 0; channel < channel_tiles; ++channel) {
      __m512i value = point < count ? rounded_part(from + point * step + 32 * channel, columns - 32 * channel) : zero;
      if (rectified) value = _mm512_max_epi16(value, zero);  // The sign bit is an integer's, too.
      put(rows + ((point / 16) * channel_tiles + channel) * TILE + point % 16 * 32, value);
    }
}

// Memory that begins at a line of the cache: rows of tiles must not straddle two.
template <class Value>
Value* aligned(Value* at) {
  return reinterpret_cast<Value*>((reinterpret_cast<uintptr_t>(at) + 63) / 64 * 64);
}

// A right operand in the pairs form, [inner tile][16 columns], from element(inner, column) = at[inner * inner_step +
// column * column_step].
struct Packed {
  std::vector<Half> storage;
  Half* halves = nullptr;
  int columns = 0;  // In tiles.
  Packed() = default;
  Packed(Packed&&) = default;  // A copy would point into the original.
  Packed& operator=(Packed&&) = default;
  Packed(const float* at, int inner, int inner_step, int wide, int column_step) : columns(whole_tiles(wide) / 16) {
    storage.assign(size_t(whole_tiles(inner)) * whole_tiles(wide) + 32, 0);
    halves = aligned(storage.data());
    for (int k = 0; k < inner; ++k)
      for (int column = 0; column < wide; ++column) {
        const __m128bh value = _mm_cvtneps_pbh(_mm_set_ss(at[k * inner_step + column * column_step]));
        halves[((k / 32) * columns + column / 16) * TILE + (k % 32 / 2) * 32 + column % 16 * 2 + k % 2] =
            uint16_t(_mm_extract_epi16((__m128i)value, 0));
      }
  }
  Tiles tiles() const { return {halves, columns, 1}; }
};

}  // namespace talksplat
