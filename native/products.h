// Products of small matrices in registers, for blocks of points that go through a network (lanes = columns).
#pragma once

#include <algorithm>

#include "simd.h"

namespace talksplat {

constexpr int MOST_VECTORS = LANES == 16 ? 4 : 2;

constexpr int padded(int columns) { return (columns + LANES - 1) / LANES * LANES; }

// Rows of a tile whose sums fit the registers: 32 of them with AVX-512, else 16.
constexpr int tile_rows(int vectors) {
  if (vectors == 1) return 12;
  return LANES == 16 && vectors == 2 ? 8 : 6;
}

enum class Finish { store, add, relu, gate };

// Operand whose element (row, k) is broadcast: at[row * row_step + k * step].
struct Rows {
  const float* at;
  int row_step, step;
};

// out(row, :) = sum over k of left(row, k) right(k, :), for ROWS rows and VECTORS vectors of columns.
// add: added to what is there. relu: `extra` (one row) is added, then ReLU. gate: zero where `extra` is not positive.
template <Finish FINISH, int ROWS, int VECTORS>
inline void tile(Rows left, int inner, const float* right, int right_step, float* out, int out_step,
                 const float* extra) {
  Floats sums[ROWS][VECTORS];
#pragma GCC unroll 16
  for (int row = 0; row < ROWS; ++row)
#pragma GCC unroll 4
    for (int v = 0; v < VECTORS; ++v) sums[row][v] = Floats{};
  for (int k = 0; k < inner; ++k) {
    Floats columns[VECTORS];
#pragma GCC unroll 4
    for (int v = 0; v < VECTORS; ++v) columns[v] = load(right + int64_t(k) * right_step + v * LANES);
#pragma GCC unroll 16
    for (int row = 0; row < ROWS; ++row) {
      const Floats factor = splat(left.at[row * left.row_step + k * left.step]);
#pragma GCC unroll 4
      for (int v = 0; v < VECTORS; ++v) sums[row][v] += factor * columns[v];
    }
  }
#pragma GCC unroll 16
  for (int row = 0; row < ROWS; ++row)
#pragma GCC unroll 4
    for (int v = 0; v < VECTORS; ++v) {
      float* to = out + row * out_step + v * LANES;
      Floats value = sums[row][v];
      if constexpr (FINISH == Finish::add) value += load(to);
      if constexpr (FINISH == Finish::relu) {
        if (extra) value += load(extra + v * LANES);
        value = maximum(value, splat(0.0f));
      }
      if constexpr (FINISH == Finish::gate)
        value = select(load(extra + row * out_step + v * LANES) > 0.0f, value, splat(0.0f));
      store(to, value);
    }
}

template <Finish FINISH, int ROWS, int VECTORS>
inline int tiles(Rows left, int row, int rows, int inner, const float* right, int right_step, float* out, int out_step,
                 const float* extra) {
  for (; row + ROWS <= rows; row += ROWS) {
    const Rows here{left.at + row * left.row_step, left.row_step, left.step};
    const float* gate = FINISH == Finish::gate ? extra + row * out_step : extra;
    tile<FINISH, ROWS, VECTORS>(here, inner, right, right_step, out + row * out_step, out_step, gate);
  }
  return row;
}

template <Finish FINISH, int VECTORS>
inline void all_rows(Rows left, int rows, int inner, const float* right, int right_step, float* out, int out_step,
                     const float* extra) {
  int row = tiles<FINISH, tile_rows(VECTORS), VECTORS>(left, 0, rows, inner, right, right_step, out, out_step, extra);
  row = tiles<FINISH, 2, VECTORS>(left, row, rows, inner, right, right_step, out, out_step, extra);
  tiles<FINISH, 1, VECTORS>(left, row, rows, inner, right, right_step, out, out_step, extra);
}

// The whole product; `columns` is a multiple of LANES.
template <Finish FINISH>
void multiply(Rows left, int rows, int inner, const float* right, int right_step, float* out, int out_step,
              int columns, const float* extra = nullptr) {
  for (int column = 0; column < columns;) {
    const int vectors = std::min(MOST_VECTORS, (columns - column) / LANES);
    const float* more = extra ? extra + column : nullptr;
    auto run = [&](auto all_rows_of_width) {
      all_rows_of_width(left, rows, inner, right + column, right_step, out + column, out_step, more);
    };
    if (vectors == 1) run(all_rows<FINISH, 1>);
    if (vectors == 2) run(all_rows<FINISH, 2>);
    if constexpr (MOST_VECTORS == 4) {
      if (vectors == 3) run(all_rows<FINISH, 3>);
      if (vectors == 4) run(all_rows<FINISH, 4>);
    }
    column += vectors * LANES;
  }
}

}  // namespace talksplat
