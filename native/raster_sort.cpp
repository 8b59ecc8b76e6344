// Orders the visible Gaussians by depth and deals them out to tiles, nearest first.
#include <algorithm>

#include "raster.h"

namespace talksplat {
namespace {

constexpr int MOST_DIGIT_BITS = 12;  // A histogram of 4096 counts stays in the first cache.
constexpr int MOST_PASSES = 3;

int bit_length(uint32_t value) { return value ? 32 - __builtin_clz(value) : 0; }

// Depth above the nearest one in the high half, the Gaussian's number in the low one.
using Keyed = uint64_t;

// Radix sort by digits of the key, lowest first; it keeps the order of equal keys.
class RadixSort {
 public:
  explicit RadixSort(uint32_t greatest) {
    const int length = std::max(1, bit_length(greatest));
    passes_ = (length + MOST_DIGIT_BITS - 1) / MOST_DIGIT_BITS;
    bits_ = (length + passes_ - 1) / passes_;
  }
  int passes() const { return passes_; }

  void count(uint32_t key) {
    for (int pass = 0; pass < passes_; ++pass) ++starts_[pass][digit(key, pass) + 1];
  }

  // Puts what `place` makes of every entry where its digit belongs.
  template <class Entry, class Place>
  void sort(int pass, const Keyed* from, size_t count, Entry* to, Place place) {
    uint32_t* starts = starts_[pass];
    for (uint32_t value = 1; value < 1u << bits_; ++value) starts[value] += starts[value - 1];
    for (size_t i = 0; i < count; ++i) to[starts[digit(uint32_t(from[i] >> 32), pass)]++] = place(from[i]);
  }

 private:
  uint32_t digit(uint32_t key, int pass) const { return key >> pass * bits_ & ((1u << bits_) - 1); }

  int passes_, bits_;
  uint32_t starts_[MOST_PASSES][(1 << MOST_DIGIT_BITS) + 1] = {};
};

// Counts, then places, the pairs of one thread's share of the depth order.
template <class Visit>
void visit_tiles(const Context& context, size_t begin, size_t end, Visit visit) {
  for (size_t i = begin; i < end; ++i) {
    const uint32_t number = context.order.data()[i];
    const TileBox box = context.boxes.data()[number];
    for (uint32_t y = box.top; y < box.bottom; ++y)
      for (uint32_t x = box.left; x < box.right; ++x) visit(y * context.tiles_x + x, number);
  }
}

// Turns per-thread counts into the places where each thread writes, and fills tile_starts.
size_t place_counts(Context& context, int threads) {
  size_t total = 0;
  for (int tile = 0; tile < context.tiles(); ++tile) {
    context.tile_starts.data()[tile] = uint32_t(total);
    for (int thread = 0; thread < threads; ++thread) {
      uint32_t& count = context.workers[thread].tile_counts.data()[tile];
      const uint32_t own = count;
      count = uint32_t(total);
      total += own;
    }
  }
  context.tile_starts.data()[context.tiles()] = uint32_t(total);
  return total;
}

}  // namespace

void sort_by_depth(Context& context, const RasterArguments& arguments) {
  uint32_t nearest = UINT32_MAX, farthest = 0;
  for (int thread = 0; thread < arguments.threads; ++thread) {
    nearest = std::min(nearest, context.workers[thread].nearest);
    farthest = std::max(farthest, context.workers[thread].farthest);
  }
  const size_t count = arguments.count;
  Keyed *keyed = context.keyed.reserve(count), *spare = context.spare.reserve(count);
  RadixSort radix(farthest > nearest ? farthest - nearest : 0);
  size_t visible = 0;
  for (size_t i = 0; i < count; ++i) {
    if (context.boxes.data()[i].right == 0) continue;
    const uint32_t key = context.keys.data()[i] - nearest;
    radix.count(key);
    keyed[visible++] = Keyed(key) << 32 | i;
  }
  context.visible = visible;
  const int last = radix.passes() - 1;
  for (int pass = 0; pass < last; ++pass) {
    radix.sort(pass, keyed, visible, spare, [](Keyed entry) { return entry; });
    std::swap(keyed, spare);
  }
  radix.sort(last, keyed, visible, context.order.reserve(count), [](Keyed entry) { return uint32_t(entry); });
}

void bin_into_tiles(Context& context, const RasterArguments& arguments) {
  const int threads = arguments.threads, tiles = context.tiles();
  context.tile_starts.reserve(tiles + 1);
  for (int thread = 0; thread < threads; ++thread) context.workers[thread].tile_counts.reserve(tiles);
  const auto for_threads = [&](auto work) {
#pragma omp parallel for num_threads(threads) schedule(static, 1)
    for (int thread = 0; thread < threads; ++thread) {
      int64_t begin, end;
      share(context.visible, thread, threads, 1, begin, end);
      work(context.workers[thread].tile_counts.data(), begin, end);
    }
  };
  for_threads([&](uint32_t* counts, size_t begin, size_t end) {
    std::fill(counts, counts + tiles, 0u);
    visit_tiles(context, begin, end, [&](uint32_t tile, uint32_t) { ++counts[tile]; });
  });
  uint32_t* pairs = context.pairs.reserve(place_counts(context, threads));
  for_threads([&](uint32_t* places, size_t begin, size_t end) {
    visit_tiles(context, begin, end, [&](uint32_t tile, uint32_t number) { pairs[places[tile]++] = number; });
  });
}

}  // namespace talksplat
