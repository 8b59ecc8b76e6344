// A bias-free network of two hidden layers (or, without the second, one) with ReLU over many points, forward and
// backward in one pass (lanes = channels). A vector that all points share (the condition's product with the first
// layer) is added before the first ReLU. Blocks of points go through all layers while they are in the nearest cache;
// the backward pass computes the hidden values again, which is cheaper than fetching them. Gradients of weights are
// summed by thread and then in the threads' order: they repeat bit for bit with the same number of threads.
#include <omp.h>

#include <algorithm>
#include <vector>

#include "denormals.h"
#include "exported.h"
#include "simd.h"

namespace talksplat {
namespace {

constexpr int BLOCK = 48;  // Points.
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

struct Shape {
  int64_t points;
  int features, hidden, out;
  bool deep;  // Whether there is a second hidden layer.
  int wide_features() const { return padded(features); }
  int wide_hidden() const { return padded(hidden); }
  int wide_out() const { return padded(out); }
};

// Weights with rows padded by zeros to whole vectors, as they are (backward) and transposed (forward).
struct Packed {
  std::vector<float> values;
  int step = 0;
  Packed(const float* weights, int rows, int columns, bool transposed) {
    if (!weights) return;
    const int tall = transposed ? columns : rows, wide = transposed ? rows : columns;
    step = padded(wide);
    values.assign(size_t(tall) * step, 0.0f);
    for (int row = 0; row < rows; ++row)
      for (int column = 0; column < columns; ++column)
        values[transposed ? column * step + row : row * step + column] = weights[row * columns + column];
  }
  const float* data() const { return values.data(); }
};

struct Weights {
  Packed first_t, second_t, third_t, first, second, third;
  std::vector<float> shared;
  Weights(const Shape& shape, const float* first_, const float* shared_, const float* second_, const float* third_,
          bool backward)
      : first_t(first_, shape.hidden, shape.features, true),
        second_t(second_, shape.hidden, shape.hidden, true),
        third_t(third_, shape.out, shape.hidden, true),
        first(backward ? first_ : nullptr, shape.hidden, shape.features, false),
        second(backward ? second_ : nullptr, shape.hidden, shape.hidden, false),
        third(backward ? third_ : nullptr, shape.out, shape.hidden, false),
        shared(shape.wide_hidden(), 0.0f) {
    std::copy_n(shared_, shape.hidden, shared.begin());
  }
};

// A call of memcpy costs more than such a short row.
inline void copy_row(const float* from, int columns, float* to) {
  int column = 0;
  for (; column + 4 <= columns; column += 4) std::memcpy(to + column, from + column, 4 * sizeof(float));
  for (; column < columns; ++column) to[column] = from[column];
}

// Rows of `columns` floats into rows of `step` floats, zeros behind; BLOCK rows, of which `count` are given.
void copy_padded(const float* from, int columns, int count, float* to, int step) {
  std::fill_n(to, size_t(BLOCK) * step, 0.0f);
  for (int row = 0; row < count; ++row) copy_row(from + int64_t(row) * columns, columns, to + row * step);
}

void copy_out(const float* from, int step, int columns, int count, float* to) {
  for (int row = 0; row < count; ++row) copy_row(from + row * step, columns, to + int64_t(row) * columns);
}

// One thread's working memory.
class Worker {
 public:
  Worker(const Shape& shape, const Weights& weights) : shape_(shape), weights_(weights) {
    const int hidden = shape.wide_hidden(), features = shape.wide_features(), out = shape.wide_out();
    static thread_local std::vector<float> scratch;  // Grows only: no allocation per call.
    scratch.resize(size_t(BLOCK) * (4 * hidden + 2 * std::max(features, hidden) + out) + LANES);
    float* next = scratch.data();
    auto take = [&](int columns) {
      float* mine = next;
      next += BLOCK * columns;
      return mine;
    };
    hidden_first_ = take(hidden), hidden_second_ = take(hidden);
    slope_first_ = take(hidden), slope_second_ = take(hidden);
    input_ = take(std::max(features, hidden)), spare_ = take(std::max(features, hidden));
    output_ = take(out);
    top_ = shape.deep ? hidden_second_ : hidden_first_;
    top_slope_ = shape.deep ? slope_second_ : slope_first_;
  }

  // A block's rows as they lie, or a padded copy for the last block: whole vectors are loaded from every row, and what
  // they hold behind its end must be memory (of the next row; it reaches no result).
  Rows rows_of(const float* from, int columns, int64_t start, int count) {
    if (start + BLOCK < shape_.points) return {from + start * columns, columns, 1};
    copy_padded(from + start * columns, columns, count, input_, padded(columns));
    return {input_, padded(columns), 1};
  }

  // Hidden layers of one block; returns its features. A cached first layer comes as products without the shared vector.
  Rows hide(const float* features, const float* products, int64_t start, int count) {
    const int hidden = shape_.wide_hidden();
    const Rows input = products ? rows_of(products, shape_.hidden, start, count)
                                : rows_of(features, shape_.features, start, count);
    if (products) {
      for (int row = 0; row < BLOCK; ++row)
        for (int at = 0; at < hidden; at += LANES)
          store(hidden_first_ + row * hidden + at,
                maximum(load(input.at + row * input.row_step + at) + load(weights_.shared.data() + at), splat(0.0f)));
    } else {
      multiply<Finish::relu>(input, BLOCK, shape_.features, weights_.first_t.data(), hidden, hidden_first_, hidden,
                             hidden, weights_.shared.data());
    }
    if (shape_.deep)
      multiply<Finish::relu>({hidden_first_, hidden, 1}, BLOCK, shape_.hidden, weights_.second_t.data(), hidden,
                             hidden_second_, hidden, hidden);
    return input;
  }

  void forward(const float* features, const float* products, int64_t start, int count, float* result) {
    const int hidden = shape_.wide_hidden(), out = shape_.wide_out();
    hide(features, products, start, count);
    multiply<Finish::store>({top_, hidden, 1}, BLOCK, shape_.hidden, weights_.third_t.data(), out, output_, out, out);
    copy_out(output_, out, shape_.out, count, result + start * shape_.out);
  }

  // `sums`: this thread's gradients of first, second and third weights (rows padded) and of the shared vector.
  void backward(const float* features, const float* result_gradient, int64_t start, int count, float* sums,
                float* feature_gradient) {
    const int hidden = shape_.wide_hidden(), out = shape_.wide_out(), wide = shape_.wide_features();
    const Rows input = hide(features, nullptr, start, count);
    copy_padded(result_gradient + start * shape_.out, shape_.out, count, output_, out);
    float* by_first = sums;
    float* by_second = by_first + shape_.hidden * wide;
    float* by_third = by_second + shape_.hidden * hidden;
    float* by_shared = by_third + shape_.out * hidden;
    multiply<Finish::gate>({output_, out, 1}, BLOCK, shape_.out, weights_.third.data(), hidden, top_slope_, hidden,
                           hidden, top_);
    multiply<Finish::add>({output_, 1, out}, shape_.out, BLOCK, top_, hidden, by_third, hidden, hidden);
    if (shape_.deep) {
      multiply<Finish::gate>({slope_second_, hidden, 1}, BLOCK, shape_.hidden, weights_.second.data(), hidden,
                             slope_first_, hidden, hidden, hidden_first_);
      multiply<Finish::add>({slope_second_, 1, hidden}, shape_.hidden, BLOCK, hidden_first_, hidden, by_second, hidden,
                            hidden);
    }
    multiply<Finish::add>({slope_first_, 1, hidden}, shape_.hidden, BLOCK, input.at, input.row_step, by_first,
                          wide, wide);
    for (int at = 0; at < hidden; at += LANES) {
      Floats total = load(by_shared + at);
      for (int row = 0; row < BLOCK; ++row) total += load(slope_first_ + row * hidden + at);
      store(by_shared + at, total);
    }
    if (!feature_gradient) return;
    multiply<Finish::store>({slope_first_, hidden, 1}, BLOCK, shape_.hidden, weights_.first.data(), wide, spare_, wide,
                            wide);
    copy_out(spare_, wide, shape_.features, count, feature_gradient + start * shape_.features);
  }

 private:
  const Shape shape_;
  const Weights& weights_;
  float *hidden_first_, *hidden_second_, *slope_first_, *slope_second_, *input_, *spare_, *output_;
  float *top_, *top_slope_;  // Of the last hidden layer.
};

// Calls `work(worker, start, count)` for the blocks of this thread's share of the points.
template <class Work>
void share_blocks(const Shape& shape, Worker& worker, const Work& work) {
  const int64_t blocks = (shape.points + BLOCK - 1) / BLOCK;
  const int threads = omp_get_num_threads(), thread = omp_get_thread_num();
  for (int64_t block = blocks * thread / threads; block < blocks * (thread + 1) / threads; ++block)
    work(worker, block * BLOCK, int(std::min<int64_t>(BLOCK, shape.points - block * BLOCK)));
}

void add_rows(const float* from, int step, int rows, int columns, float* to) {
  for (int row = 0; row < rows; ++row)
    for (int column = 0; column < columns; ++column) to[row * columns + column] += from[row * step + column];
}

}  // namespace
}  // namespace talksplat

// result (points x out) = third relu(second relu(first features + shared)). With `products` (points x hidden) these
// take the place of first features; then features and first are null. Without `second` there is one hidden layer.
TALKSPLAT_EXPORT void ts_mlp_forward(int64_t points, int features_wide, int hidden, int out, const float* features,
                                     const float* products, const float* first, const float* shared,
                                     const float* second, const float* third, float* result) {
  using namespace talksplat;
  const Shape shape{points, features_wide, hidden, out, second != nullptr};
  const Weights weights(shape, products ? nullptr : first, shared, second, third, false);
#pragma omp parallel
  {
    const FlushDenormals flush;
    Worker worker(shape, weights);
    share_blocks(shape, worker, [&](Worker& mine, int64_t start, int count) {
      mine.forward(features, products, start, count, result);
    });
  }
}

// Gradients for a given gradient of the result; those of the weights and the shared vector are overwritten,
// feature_gradient may be null.
TALKSPLAT_EXPORT void ts_mlp_backward(int64_t points, int features_wide, int hidden, int out, const float* features,
                                      const float* first, const float* shared, const float* second, const float* third,
                                      const float* result_gradient, float* feature_gradient, float* first_gradient,
                                      float* shared_gradient, float* second_gradient, float* third_gradient) {
  using namespace talksplat;
  const Shape shape{points, features_wide, hidden, out, second != nullptr};
  const Weights weights(shape, first, shared, second, third, true);
  const int wide = shape.wide_features(), wide_hidden = shape.wide_hidden();
  const size_t by_first = size_t(hidden) * wide, by_second = size_t(hidden) * wide_hidden;
  const size_t by_third = size_t(out) * wide_hidden, size = by_first + by_second + by_third + wide_hidden;
  std::vector<float> sums(size * omp_get_max_threads(), 0.0f);
#pragma omp parallel
  {
    const FlushDenormals flush;
    Worker worker(shape, weights);
    float* mine_sums = sums.data() + size * omp_get_thread_num();
    share_blocks(shape, worker, [&](Worker& mine, int64_t start, int count) {
      mine.backward(features, result_gradient, start, count, mine_sums, feature_gradient);
    });
  }
  std::fill_n(first_gradient, size_t(hidden) * features_wide, 0.0f);
  if (second) std::fill_n(second_gradient, size_t(hidden) * hidden, 0.0f);
  std::fill_n(third_gradient, size_t(out) * hidden, 0.0f);
  std::fill_n(shared_gradient, hidden, 0.0f);
  for (size_t start = 0; start < sums.size(); start += size) {
    const float* from = sums.data() + start;
    add_rows(from, wide, hidden, features_wide, first_gradient);
    if (second) add_rows(from + by_first, wide_hidden, hidden, hidden, second_gradient);
    add_rows(from + by_first + by_second, wide_hidden, out, hidden, third_gradient);
    add_rows(from + by_first + by_second + by_third, wide_hidden, 1, hidden, shared_gradient);
  }
}
