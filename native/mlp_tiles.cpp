// The network over points on a processor's matrix unit; see mlp.h and tiles.h.
#include "mlp.h"

#ifdef TALKSPLAT_TILES

#include <omp.h>

#include <algorithm>
#include <cstring>
#include <vector>

#include "tiles.h"

namespace talksplat {
namespace {

// The weights of one group: transposed for the way forth, as they are for the way back.
struct PackedGroup {
  Packed first_t, second_t, third_t, first, second, third;
  std::vector<float> shared;
  PackedGroup(const Shape& shape, const Weights& from, int group, bool backward) : shared(whole_tiles(shape.hidden), 0.0f) {
    const int features = shape.features, hidden = shape.hidden, out = shape.outs[group];
    const float* third_rows = from.third + int64_t(shape.first_out(group)) * hidden;
    std::copy_n(from.shared + group * hidden, hidden, shared.begin());
    third_t = Packed(third_rows, hidden, 1, out, hidden);
    if (shape.deep) second_t = Packed(from.second, hidden, 1, hidden, hidden);
    if (backward) third = Packed(third_rows, out, hidden, hidden, 1);
    if (backward && shape.deep) second = Packed(from.second, hidden, hidden, hidden, 1);
    if (!from.first) return;
    const float* first_rows = from.first + int64_t(group) * hidden * features;
    first_t = Packed(first_rows, features, 1, hidden, features);
    if (backward) first = Packed(first_rows, hidden, features, features, 1);
  }
};

std::vector<PackedGroup> packed_groups(const Shape& shape, const Weights& from, bool backward) {
  std::vector<PackedGroup> found;
  for (int group = 0; group < shape.groups; ++group) found.emplace_back(shape, from, group, backward);
  return found;
}

// Where a group's gradients lie among a thread's sums. Products of transposed features and slopes: first is features x
// hidden, second and third are as the weights.
struct Places {
  int64_t first, second, third, shared, size;
  Places(const Shape& shape, int out) {
    const int64_t hidden = whole_tiles(shape.hidden);
    first = 0;
    second = first + whole_tiles(shape.features) * hidden;
    third = second + (shape.deep ? hidden * hidden : 0);
    shared = third + whole_tiles(out) * hidden;
    size = shared + hidden;  // A multiple of 16: every thread's sums begin at a line of the cache.
  }
};

// One thread's working memory: a block's operands in the forms that are needed.
class Worker {
 public:
  explicit Worker(const Shape& shape) : shape_(shape), hidden_(whole_tiles(shape.hidden)), features_(whole_tiles(shape.features)) {
    const int out = whole_tiles(*std::max_element(shape.outs, shape.outs + shape.groups));
    const int widest = std::max({hidden_, features_, out});
    static thread_local std::vector<Half> scratch;  // Grows only: no allocation per call.
    const size_t needed = size_t(BLOCK) * (2 * features_ + 5 * hidden_ + 3 * out + 4 * widest) + 32;
    if (scratch.size() < needed) scratch.resize(needed);
    Half* next = aligned(scratch.data());
    auto take = [&](int columns) {
      Half* mine = next;
      next += BLOCK * columns;
      return mine;
    };
    input_ = take(features_), input_turned_ = take(features_);
    first_ = take(hidden_), second_ = take(hidden_), slope_ = take(hidden_), upper_slope_ = take(hidden_);
    pairs_ = take(widest), turned_ = take(widest);
    out_slope_ = take(out);
    by_input_ = reinterpret_cast<float*>(take(2 * widest));
    top_ = shape.deep ? second_ : first_;
  }

  void forward(const std::vector<PackedGroup>& groups, const float* features, const float* products, int64_t start,
               int count, float* result) {
    const int all = shape_.out();
    if (!products) rows_of(features + start * shape_.features, shape_.features, shape_.features, count,
                           shape_.rectified, input_);
    int column = 0;
    for (int group = 0; group < shape_.groups; ++group) {
      if (products) rectify(products + start * shape_.hidden, groups[group].shared.data(), count);
      else hide(rows(input_, features_), features_ / 32, groups[group].first_t, groups[group].shared.data(), first_);
      if (shape_.deep) hide(rows(first_, hidden_), hidden_ / 32, groups[group].second_t, nullptr, second_);
      const int mine = shape_.outs[group];
      float* to = result + start * all + column;
      multiply(rows(top_, hidden_), POINT_TILES, hidden_ / 32, groups[group].third_t.tiles(), whole_tiles(mine) / 16,
               [&](int row, int tile, const float(*sums)[256]) { spill(sums, row, tile, mine, count, to, all); });
      column += mine;
    }
  }

  // `sums`: this thread's gradients, group after group; see Places.
  void backward(const std::vector<PackedGroup>& groups, const float* features, const float* result_gradient,
                int64_t start, int count, float* sums, float* feature_gradient) {
    const int all = shape_.out();
    rows_of(features + start * shape_.features, shape_.features, shape_.features, count, shape_.rectified, input_);
    pairs_of(input_, features_ / 32, pairs_);
    turned_of(pairs_, features_ / 16, input_turned_);
    int column = 0;
    for (int group = 0; group < shape_.groups; ++group) {
      const int mine = shape_.outs[group];
      const Places places(shape_, mine);
      hide(rows(input_, features_), features_ / 32, groups[group].first_t, groups[group].shared.data(), first_);
      if (shape_.deep) hide(rows(first_, hidden_), hidden_ / 32, groups[group].second_t, nullptr, second_);
      rows_of(result_gradient + start * all + column, all, mine, count, false, out_slope_);
      slopes(groups[group], mine, sums, places);
      if (feature_gradient) add_by_input(groups[group].first, group == 0);
      sums += places.size, column += mine;
    }
    if (feature_gradient) give_by_input(count, feature_gradient + start * shape_.features);
  }

 private:
  static Tiles rows(const Half* at, int columns) { return {at, columns / 32, 1}; }
  static Tiles pairs(const Half* at, int columns) { return {at, columns / 16, 1}; }
  static Tiles turned(const Half* at) { return {at, POINT_PAIRS, 1}; }

  // A hidden layer: to = relu(from weights + shared), in the rows form.
  void hide(Tiles from, int inner, const Packed& weights, const float* shared, Half* to) {
    multiply(from, POINT_TILES, inner, weights.tiles(), hidden_ / 16, [&](int row, int column, const float(*sums)[256]) {
      const Floats low = shared ? load(shared + column * 16) : Floats{};
      const Floats high = shared ? load(shared + column * 16 + 16) : Floats{};
      for (int lower = 0; lower < 2; ++lower) {
        Half* tile = to + ((row + lower) * (hidden_ / 32) + column / 2) * TILE;
        for (int point = 0; point < 16; ++point)
          put(tile + point * 32,
              rounded(maximum(load(sums[2 * lower] + point * 16) + low, splat(0.0f)),
                      maximum(load(sums[2 * lower + 1] + point * 16) + high, splat(0.0f))));
      }
    });
  }

  // The first hidden layer from cached products.
  void rectify(const float* products, const float* shared, int count) {
    for (int point = 0; point < BLOCK; ++point)
      for (int channel = 0; channel < hidden_; channel += 32) {
        alignas(64) float values[32] = {};
        const int here = std::min(32, shape_.hidden - channel);
        if (point < count) std::memcpy(values, products + int64_t(point) * shape_.hidden + channel, here * sizeof(float));
        put(first_ + ((point / 16) * (hidden_ / 32) + channel / 32) * TILE + point % 16 * 32,
            rounded(maximum(load(values) + load(shared + channel), splat(0.0f)),
                    maximum(load(values + 16) + load(shared + channel + 16), splat(0.0f))));
      }
  }

  // Four tiles of results to rows of floats, `step` apart: as many columns and points as there are.
  static void spill(const float (*sums)[256], int row, int column, int columns, int count, float* to, int step) {
    for (int tile = 0; tile < 4; ++tile) {
      const int wide = columns - (column + tile % 2) * 16, first = (row + tile / 2) * 16;
      if (wide <= 0) continue;
      const __mmask16 mask = wide >= 16 ? __mmask16(0xffff) : __mmask16((1 << wide) - 1);
      float* place = to + int64_t(first) * step + (column + tile % 2) * 16;
      for (int point = 0; point < std::min(16, count - first); ++point)
        _mm512_mask_storeu_ps(place + int64_t(point) * step, mask, __m512(load(sums[tile] + point * 16)));
    }
  }

  // Slopes of a layer before its ReLU, `layer` being what it gave: to = (from weights) where layer > 0.
  void gate(Tiles from, int inner, const Packed& weights, const Half* layer, Half* to, float* column_sums) {
    multiply(from, POINT_TILES, inner, weights.tiles(), hidden_ / 16, [&](int row, int column, const float(*sums)[256]) {
      Floats low_sum = {}, high_sum = {};
      for (int lower = 0; lower < 2; ++lower) {
        const int tile = ((row + lower) * (hidden_ / 32) + column / 2) * TILE;
        for (int point = 0; point < 16; ++point) {
          const __m512i value = get(layer + tile + point * 32);
          const __mmask32 open = _mm512_test_epi16_mask(value, value);
          const Floats low = Floats(_mm512_maskz_load_ps(__mmask16(open), sums[2 * lower] + point * 16));
          const Floats high = Floats(_mm512_maskz_load_ps(__mmask16(open >> 16), sums[2 * lower + 1] + point * 16));
          low_sum += low, high_sum += high;
          put(to + tile + point * 32, rounded(low, high));
        }
      }
      if (!column_sums) return;
      store(column_sums + column * 16, load(column_sums + column * 16) + low_sum);
      store(column_sums + column * 16 + 16, load(column_sums + column * 16 + 16) + high_sum);
    });
  }

  // From the slopes of a group's outputs those of its hidden layers, and the gradients of the weights.
  void slopes(const PackedGroup& weights, int out, float* sums, const Places& places) {
    const int wide = whole_tiles(out);
    Half* top_slope = shape_.deep ? upper_slope_ : slope_;
    gate(rows(out_slope_, wide), wide / 32, weights.third, top_, top_slope, shape_.deep ? nullptr : sums + places.shared);
    pairs_of(out_slope_, wide / 32, pairs_);
    turned_of(pairs_, wide / 16, turned_);
    pairs_of(top_, hidden_ / 32, pairs_);
    accumulate(turned(turned_), wide / 16, POINT_PAIRS, pairs(pairs_, hidden_), hidden_ / 16, sums + places.third);
    if (shape_.deep) {
      gate(rows(upper_slope_, hidden_), hidden_ / 32, weights.second, first_, slope_, sums + places.shared);
      pairs_of(upper_slope_, hidden_ / 32, pairs_);
      turned_of(pairs_, hidden_ / 16, turned_);
      pairs_of(first_, hidden_ / 32, pairs_);
      accumulate(turned(turned_), hidden_ / 16, POINT_PAIRS, pairs(pairs_, hidden_), hidden_ / 16,
                 sums + places.second);
    }
    pairs_of(slope_, hidden_ / 32, pairs_);
    accumulate(turned(input_turned_), features_ / 16, POINT_PAIRS, pairs(pairs_, hidden_), hidden_ / 16,
               sums + places.first);
  }

  // What a group's slopes mean for the features, into or added to by_input_ (tiles of floats, row by row).
  void add_by_input(const Packed& first, bool fresh) {
    const int columns = features_ / 16;
    if (fresh) std::fill_n(by_input_, size_t(BLOCK) * features_, 0.0f);
    accumulate(rows(slope_, hidden_), POINT_TILES, hidden_ / 32, first.tiles(), columns, by_input_);
  }

  void give_by_input(int count, float* to) {
    const int columns = features_ / 16;
    for (int point = 0; point < count; ++point)
      for (int column = 0; column < columns; ++column) {
        const int wide = std::min(16, shape_.features - column * 16);
        if (wide <= 0) break;
        __mmask16 open = 0xffff;
        if (shape_.rectified) {
          const Half* tile = input_ + ((point / 16) * (features_ / 32) + column / 2) * TILE;
          const __m512i value = get(tile + point % 16 * 32);
          open = __mmask16(_mm512_test_epi16_mask(value, value) >> (column % 2 * 16));
        }
        const float* from = by_input_ + ((point / 16) * columns + column) * 256 + point % 16 * 16;
        const __mmask16 mask = wide >= 16 ? __mmask16(0xffff) : __mmask16((1 << wide) - 1);
        _mm512_mask_storeu_ps(to + int64_t(point) * shape_.features + column * 16, mask,
                              _mm512_maskz_loadu_ps(open, from));
      }
  }

  const Shape shape_;
  const int hidden_, features_;  // Padded.
  Half *input_, *input_turned_, *first_, *second_, *slope_, *upper_slope_, *pairs_, *turned_, *out_slope_, *top_;
  float* by_input_;
};

// Calls `work(worker, start, count)` for all blocks, each thread with its own unit and share.
template <class Work>
void share_blocks(const Shape& shape, const Work& work) {
#pragma omp parallel
  {
    const MatrixUnit unit;
    Worker worker(shape);
    const int64_t blocks = (shape.points + BLOCK - 1) / BLOCK;
    const int threads = omp_get_num_threads(), thread = omp_get_thread_num();
    for (int64_t block = blocks * thread / threads; block < blocks * (thread + 1) / threads; ++block)
      work(worker, block * BLOCK, int(std::min<int64_t>(BLOCK, shape.points - block * BLOCK)));
  }
}

// Adds a matrix of float tiles, `columns` tiles wide, to rows x wide floats; transposed where `turn`.
void add_tiles(const float* tiles, int columns, int rows, int wide, bool turn, float* to) {
  for (int row = 0; row < rows; ++row)
    for (int column = 0; column < wide; ++column) {
      const int high = turn ? column : row, across = turn ? row : column;
      to[int64_t(row) * wide + column] +=
          tiles[((high / 16) * columns + across / 16) * 256 + high % 16 * 16 + across % 16];
    }
}

// Adds one thread's sums to the gradients.
void add_sums(const Shape& shape, const float* from, const Gradients& gradients) {
  const int hidden = shape.hidden, tiles = whole_tiles(hidden) / 16;
  for (int group = 0; group < shape.groups; ++group) {
    const int out = shape.outs[group];
    const Places places(shape, out);
    float* by_first = gradients.first + int64_t(group) * hidden * shape.features;
    add_tiles(from + places.first, tiles, hidden, shape.features, true, by_first);
    if (shape.deep) add_tiles(from + places.second, tiles, hidden, hidden, false, gradients.second);
    float* by_third = gradients.third + int64_t(shape.first_out(group)) * hidden;
    add_tiles(from + places.third, tiles, out, hidden, false, by_third);
    for (int at = 0; at < hidden; ++at) gradients.shared[group * hidden + at] += from[places.shared + at];
    from += places.size;
  }
}

}  // namespace

void network_forward(const Shape& shape, const Weights& weights, const float* features, const float* products,
                     float* result) {
  const std::vector<PackedGroup> groups = packed_groups(shape, weights, false);
  share_blocks(shape, [&](Worker& worker, int64_t start, int count) {
    worker.forward(groups, features, products, start, count, result);
  });
}

void network_backward(const Shape& shape, const Weights& weights, const float* features, const float* result_gradient,
                      const Gradients& gradients) {
  const std::vector<PackedGroup> groups = packed_groups(shape, weights, true);
  int64_t size = 0;
  for (int group = 0; group < shape.groups; ++group) size += Places(shape, shape.outs[group]).size;
  const int threads = omp_get_max_threads();
  std::vector<float> storage(size * threads + 16, 0.0f);
  float* sums = aligned(storage.data());
  share_blocks(shape, [&](Worker& worker, int64_t start, int count) {
    worker.backward(groups, features, result_gradient, start, count, sums + size * omp_get_thread_num(),
                    gradients.features);
  });
  for (int thread = 0; thread < threads; ++thread) add_sums(shape, sums + size * thread, gradients);
}

}  // namespace talksplat

#endif
