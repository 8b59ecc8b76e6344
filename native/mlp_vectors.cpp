// The network over points in float32 vectors (lanes = channels); see mlp.h.
// Blocks of points go through all layers while they are in the nearest cache; the backward pass computes the hidden
// values again, which is cheaper than fetching them.
#include "mlp.h"

#include <omp.h>

#include <algorithm>
#include <vector>

#include "denormals.h"
#include "products.h"

#ifndef TALKSPLAT_TILES

namespace talksplat {
namespace {

constexpr int BLOCK = 48;  // Points.

// Weights with rows padded by zeros to whole vectors, as they are (backward) and transposed (forward).
struct Packed {
  std::vector<float> values;
  int step = 0;
  Packed() = default;
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

// The weights of one group.
struct PackedGroup {
  Packed first_t, second_t, third_t, first, second, third;
  std::vector<float> shared;
  PackedGroup(const Shape& shape, const Weights& from, int group, bool backward) : shared(padded(shape.hidden), 0.0f) {
    const float* own_first = from.first ? from.first + int64_t(group) * shape.hidden * shape.features : nullptr;
    const float* own_third = from.third + shape.first_out(group) * shape.hidden;
    first_t = Packed(own_first, shape.hidden, shape.features, true);
    second_t = Packed(from.second, shape.hidden, shape.hidden, true);
    third_t = Packed(own_third, shape.outs[group], shape.hidden, true);
    first = Packed(backward ? own_first : nullptr, shape.hidden, shape.features, false);
    second = Packed(backward ? from.second : nullptr, shape.hidden, shape.hidden, false);
    third = Packed(backward ? own_third : nullptr, shape.outs[group], shape.hidden, false);
    std::copy_n(from.shared + group * shape.hidden, shape.hidden, shared.begin());
  }
};

std::vector<PackedGroup> packed_groups(const Shape& shape, const Weights& from, bool backward) {
  std::vector<PackedGroup> found;
  for (int group = 0; group < shape.groups; ++group) found.emplace_back(shape, from, group, backward);
  return found;
}

// Where a group's gradients lie among a thread's sums: rows padded.
struct Places {
  int64_t first, second, third, shared, size;
  Places(const Shape& shape, int out) {
    const int64_t hidden = padded(shape.hidden);
    first = 0;
    second = first + int64_t(shape.hidden) * padded(shape.features);
    third = second + (shape.deep ? shape.hidden * hidden : 0);
    shared = third + out * hidden;
    size = shared + hidden;
  }
};

// A call of memcpy costs more than such a short row.
inline void copy_row(const float* from, int columns, float* to) {
  int column = 0;
  for (; column + 4 <= columns; column += 4) std::memcpy(to + column, from + column, 4 * sizeof(float));
  for (; column < columns; ++column) to[column] = from[column];
}

// Rows of `columns` floats, `from_step` apart, into rows of `step` floats, zeros behind; BLOCK rows, `count` are given.
void copy_padded(const float* from, int from_step, int columns, int count, float* to, int step) {
  std::fill_n(to, size_t(BLOCK) * step, 0.0f);
  for (int row = 0; row < count; ++row) copy_row(from + int64_t(row) * from_step, columns, to + row * step);
}

void copy_out(const float* from, int step, int columns, int count, float* to, int to_step) {
  for (int row = 0; row < count; ++row) copy_row(from + row * step, columns, to + int64_t(row) * to_step);
}

// One thread's working memory.
class Worker {
 public:
  explicit Worker(const Shape& shape)
      : shape_(shape),
        hidden_(padded(shape.hidden)),
        features_(padded(shape.features)),
        out_(padded(*std::max_element(shape.outs, shape.outs + shape.groups))),
        all_outs_(shape.out()) {
    static thread_local std::vector<float> scratch;  // Grows only: no allocation per call.
    const size_t needed = size_t(BLOCK) * (4 * hidden_ + 2 * std::max(features_, hidden_) + out_) + LANES;
    if (scratch.size() < needed) scratch.resize(needed);
    float* next = scratch.data();
    auto take = [&](int columns) {
      float* mine = next;
      next += BLOCK * columns;
      return mine;
    };
    hidden_first_ = take(hidden_), hidden_second_ = take(hidden_);
    slope_first_ = take(hidden_), slope_second_ = take(hidden_);
    input_ = take(std::max(features_, hidden_)), spare_ = take(std::max(features_, hidden_));
    output_ = take(out_);
    top_ = shape.deep ? hidden_second_ : hidden_first_;
    top_slope_ = shape.deep ? slope_second_ : slope_first_;
  }

  void forward(const std::vector<PackedGroup>& groups, const float* features, const float* products, int64_t start,
               int count, float* result) {
    const Rows input = products ? rows_of(products, shape_.hidden, start, count)
                                : rows_of(features, shape_.features, start, count);
    int column = 0;
    for (int group = 0; group < shape_.groups; ++group) {
      const PackedGroup& weights = groups[group];
      const int mine = shape_.outs[group], wide = padded(mine);
      hide(weights, input, products != nullptr);
      multiply<Finish::store>({top_, hidden_, 1}, BLOCK, shape_.hidden, weights.third_t.data(), wide, output_, wide,
                              wide);
      copy_out(output_, wide, mine, count, result + start * all_outs_ + column, all_outs_);
      column += mine;
    }
  }

  // `sums`: this thread's gradients, group after group; see Places.
  void backward(const std::vector<PackedGroup>& groups, const float* features, const float* result_gradient,
                int64_t start, int count, float* sums, float* feature_gradient) {
    const Rows input = rows_of(features, shape_.features, start, count);
    int column = 0;
    for (int group = 0; group < shape_.groups; ++group) {
      const int mine = shape_.outs[group];
      const Places places(shape_, mine);
      hide(groups[group], input, false);
      copy_padded(result_gradient + start * all_outs_ + column, all_outs_, mine, count, output_, padded(mine));
      slopes(groups[group], input, mine, sums, places);
      if (feature_gradient) {
        const float* first = groups[group].first.data();
        const Rows left{slope_first_, hidden_, 1};
        if (group) multiply<Finish::add>(left, BLOCK, shape_.hidden, first, features_, spare_, features_, features_);
        else multiply<Finish::store>(left, BLOCK, shape_.hidden, first, features_, spare_, features_, features_);
      }
      sums += places.size, column += mine;
    }
    if (!feature_gradient) return;
    if (shape_.rectified)
      for (int64_t at = 0; at < int64_t(BLOCK) * features_; at += LANES)
        store(spare_ + at, select(load(input_ + at) > 0.0f, load(spare_ + at), splat(0.0f)));
    copy_out(spare_, features_, shape_.features, count, feature_gradient + start * shape_.features, shape_.features);
  }

 private:
  // A block's rows as they lie, or a padded copy: whole vectors are loaded from every row, and what they hold behind its
  // end must be memory (of the next rows; it reaches no result). Rectified ones are always copied.
  Rows rows_of(const float* from, int columns, int64_t start, int count) {
    const int64_t behind = (shape_.points - start - BLOCK) * columns;
    if (!shape_.rectified && behind >= padded(columns) - columns) return {from + start * columns, columns, 1};
    copy_padded(from + start * columns, columns, columns, count, input_, padded(columns));
    if (shape_.rectified)
      for (int64_t at = 0; at < int64_t(BLOCK) * padded(columns); at += LANES)
        store(input_ + at, maximum(load(input_ + at), splat(0.0f)));
    return {input_, padded(columns), 1};
  }

  // Hidden layers of one block. A cached first layer comes as products without the shared vector.
  void hide(const PackedGroup& weights, Rows input, bool products) {
    if (products) {
      for (int row = 0; row < BLOCK; ++row)
        for (int at = 0; at < hidden_; at += LANES)
          store(hidden_first_ + row * hidden_ + at,
                maximum(load(input.at + row * input.row_step + at) + load(weights.shared.data() + at), splat(0.0f)));
    } else {
      multiply<Finish::relu>(input, BLOCK, shape_.features, weights.first_t.data(), hidden_, hidden_first_, hidden_,
                             hidden_, weights.shared.data());
    }
    if (shape_.deep)
      multiply<Finish::relu>({hidden_first_, hidden_, 1}, BLOCK, shape_.hidden, weights.second_t.data(), hidden_,
                             hidden_second_, hidden_, hidden_);
  }

  // Slopes of the hidden layers from those of `out` outputs in output_, and the gradients of the weights.
  void slopes(const PackedGroup& weights, Rows input, int out, float* sums, const Places& places) {
    const int wide = padded(out);
    float* by_shared = sums + places.shared;
    multiply<Finish::gate>({output_, wide, 1}, BLOCK, out, weights.third.data(), hidden_, top_slope_, hidden_, hidden_,
                           top_);
    multiply<Finish::add>({output_, 1, wide}, out, BLOCK, top_, hidden_, sums + places.third, hidden_, hidden_);
    if (shape_.deep) {
      multiply<Finish::gate>({slope_second_, hidden_, 1}, BLOCK, shape_.hidden, weights.second.data(), hidden_,
                             slope_first_, hidden_, hidden_, hidden_first_);
      multiply<Finish::add>({slope_second_, 1, hidden_}, shape_.hidden, BLOCK, hidden_first_, hidden_,
                            sums + places.second, hidden_, hidden_);
    }
    multiply<Finish::add>({slope_first_, 1, hidden_}, shape_.hidden, BLOCK, input.at, input.row_step,
                          sums + places.first, features_, features_);
    for (int at = 0; at < hidden_; at += LANES) {
      Floats total = load(by_shared + at);
      for (int row = 0; row < BLOCK; ++row) total += load(slope_first_ + row * hidden_ + at);
      store(by_shared + at, total);
    }
  }

  const Shape shape_;
  const int hidden_, features_, out_, all_outs_;  // The first three are padded.
  float *hidden_first_, *hidden_second_, *slope_first_, *slope_second_, *input_, *spare_, *output_;
  float *top_, *top_slope_;  // Of the last hidden layer.
};

// Calls `work(start, count)` for the blocks of this thread's share of the points.
template <class Work>
void share_blocks(const Shape& shape, const Work& work) {
  const int64_t blocks = (shape.points + BLOCK - 1) / BLOCK;
  const int threads = omp_get_num_threads(), thread = omp_get_thread_num();
  for (int64_t block = blocks * thread / threads; block < blocks * (thread + 1) / threads; ++block)
    work(block * BLOCK, int(std::min<int64_t>(BLOCK, shape.points - block * BLOCK)));
}

void add_rows(const float* from, int step, int rows, int columns, float* to) {
  for (int row = 0; row < rows; ++row)
    for (int column = 0; column < columns; ++column) to[row * columns + column] += from[row * step + column];
}

// Adds one thread's sums to the gradients.
void add_sums(const Shape& shape, const float* from, const Gradients& gradients) {
  const int hidden = shape.hidden, wide = padded(hidden);
  for (int group = 0; group < shape.groups; ++group) {
    const int out = shape.outs[group];
    const Places places(shape, out);
    add_rows(from + places.first, padded(shape.features), hidden, shape.features,
             gradients.first + int64_t(group) * hidden * shape.features);
    if (shape.deep) add_rows(from + places.second, wide, hidden, hidden, gradients.second);
    add_rows(from + places.third, wide, out, hidden, gradients.third + shape.first_out(group) * hidden);
    add_rows(from + places.shared, wide, 1, hidden, gradients.shared + group * hidden);
    from += places.size;
  }
}

}  // namespace

void network_forward(const Shape& shape, const Weights& weights, const float* features, const float* products,
                     float* result) {
  const std::vector<PackedGroup> groups = packed_groups(shape, weights, false);
#pragma omp parallel
  {
    const FlushDenormals flush;
    Worker worker(shape);
    share_blocks(shape, [&](int64_t start, int count) {
      worker.forward(groups, features, products, start, count, result);
    });
  }
}

void network_backward(const Shape& shape, const Weights& weights, const float* features, const float* result_gradient,
                      const Gradients& gradients) {
  const std::vector<PackedGroup> groups = packed_groups(shape, weights, true);
  int64_t size = 0;
  for (int group = 0; group < shape.groups; ++group) size += Places(shape, shape.outs[group]).size;
  std::vector<float> sums(size * omp_get_max_threads(), 0.0f);
#pragma omp parallel
  {
    const FlushDenormals flush;
    Worker worker(shape);
    float* mine = sums.data() + size * omp_get_thread_num();
    share_blocks(shape, [&](int64_t start, int count) {
      worker.backward(groups, features, result_gradient, start, count, mine, gradients.features);
    });
  }
  for (size_t start = 0; start < sums.size(); start += size) add_sums(shape, sums.data() + start, gradients);
}

}  // namespace talksplat

#endif
