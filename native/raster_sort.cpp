// Orders the visible Gaussians by depth and deals them out to tiles, nearest first.
#include <algorithm>

#include "raster.h"

namespace talksplat {
namespace {

constexpr int MOST_DIGIT_BITS = 12;  // A histogram of 4096 counts stays in the first cache.

int bit_length(uint32_t value) { return value ? 32 - __builtin_clz(value) : 0; }

// One stable pass of radix sort by the digit at `shift`.
void sort_pass(size_t count, int shift, int bits, const uint32_t* keys, const uint32_t* numbers, uint32_t* sorted_keys,
               uint32_t* sorted_numbers) {
  uint32_t starts[(1 << MOST_DIGIT_BITS) + 1] = {};
  const uint32_t mask = (1u << bits) - 1;
  for (size_t i = 0; i < count; ++i) ++starts[((keys[i] >> shift) & mask) + 1];
  for (uint32_t digit = 0; digit < mask; ++digit) starts[digit + 1] += starts[digit];
  for (size_t i = 0; i < count; ++i) {
    const uint32_t to = starts[(keys[i] >> shift) & mask]++;
    sorted_keys[to] = keys[i];
    sorted_numbers[to] = numbers[i];
  }
}

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
  uint32_t *numbers = context.order.reserve(count), *keys = context.order_keys.reserve(count);
  uint32_t *spare = context.spare.reserve(count), *spare_keys = context.spare_keys.reserve(count);
  size_t visible = 0;
  for (size_t i = 0; i < count; ++i) {
    numbers[visible] = uint32_t(i);
    keys[visible] = context.keys.data()[i] - nearest;
    visible += context.boxes.data()[i].right != 0;
  }
  context.visible = visible;
  if (visible == 0) return;
  const int length = std::max(1, bit_length(farthest - nearest));
  const int passes = (length + MOST_DIGIT_BITS - 1) / MOST_DIGIT_BITS, bits = (length + passes - 1) / passes;
  for (int pass = 0; pass < passes; ++pass) {
    sort_pass(visible, pass * bits, bits, keys, numbers, spare_keys, spare);
    std::swap(keys, spare_keys);
    std::swap(numbers, spare);
  }
  if (passes % 2) std::swap(context.order, context.spare);  // The sorted numbers lie where `spare` was.
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
