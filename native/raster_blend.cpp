// Draws: every microtile blends its Gaussians front to back (3DGS, Sec. 6), its pixels' state held in registers.
#include <omp.h>

#include "denormals.h"
#include "raster_lists.h"

namespace talksplat {
namespace {

struct Blended {
  Floats color[3], transmittance, taken;
  uint32_t used;  // How many of the list were drawn before the microtile was finished.
};

// A pixel that is opaque long before its neighbours would go on until its transmittance underflows, and the backward
// pass, which divides its way back, could not find the start again. So it freezes at a transmittance too small to see.
Blended blend_micro(const Splat* splats, const uint32_t* list, uint32_t length, const MicroPixels& pixels,
                    Floats transmittance) {
  constexpr uint32_t STRIDE = 4;  // Gaussians between two looks at whether all pixels are finished.
  const Floats most = splat(ALPHA_MOST), finished = splat(TRANSMITTANCE_LEAST), frozen = splat(TRANSMITTANCE_FROZEN);
  const Floats x = pixels.x, y = pixels.y;
  Floats red = {}, green = {}, blue = {}, taken = {};
  uint32_t k = 0;
  while (k < length && at_least(transmittance, finished)) {
    const uint32_t stop = k + STRIDE < length ? k + STRIDE : length;
    const Floats live = where_at_least(transmittance, frozen, splat(1.0f));
    const Floats least = ALPHA_LEAST_LOG2 + (1.0f - live) * 1e30f;  // No alpha reaches a frozen lane's.
    taken += live * float(stop - k);
    for (; k < stop; ++k) {
      const Splat& splat = splats[list[k]];
      const Floats power = log2_alpha(splat, x, y);
      const Floats alpha = minimum(exp2_of_negative(power), most);
      const Floats share = where_at_least(power, least, alpha * transmittance);
      red += share * splat.color[0];
      green += share * splat.color[1];
      blue += share * splat.color[2];
      transmittance -= share;
    }
  }
  return {{red, green, blue}, transmittance, taken, k};
}

// 1 on the microtile's pixels inside the image, 0 elsewhere: those outside count as finished.
Floats inside_mask(const MicroInside& inside) {
  Floats mask = {};
  for (int lane = 0; lane < LANES; ++lane)
    mask[lane] = lane % 4 < inside.columns && lane / 4 < inside.rows ? 1.0f : 0.0f;
  return mask;
}

void store_micro(const Blended& drawn, const MicroInside& inside, int left, int top, int width, float* colors,
                 float* alpha) {
  alignas(64) float lanes[4][LANES];
  for (int channel = 0; channel < 3; ++channel) store(lanes[channel], drawn.color[channel]);
  store(lanes[3], 1.0f - drawn.transmittance);
  for (int row = 0; row < inside.rows; ++row) {
    const int64_t start = int64_t(top + row) * width + left;
    for (int column = 0; column < inside.columns; ++column) {
      for (int channel = 0; channel < 3; ++channel)
        colors[3 * (start + column) + channel] = lanes[channel][4 * row + column];
      alpha[start + column] = lanes[3][4 * row + column];
    }
  }
}

void blend_tile(Context& context, const RasterArguments& arguments, int tile, int thread, float* colors,
                float* alpha) {
  Worker& worker = context.workers[thread];
  const int left = tile % context.tiles_x * TILE, top = tile / context.tiles_x * TILE;
  const uint32_t* starts = context.tile_starts.data();
  const uint32_t count = starts[tile + 1] - starts[tile];
  Splat* splats = worker.splats.reserve(count + LANES);
  gather_splats(context, tile, count, splats);
  MicroLists micro_lists(worker.lists, count);
  for (uint32_t place = 0; place < count; place += LANES) {
    const uint32_t rest = count - place;
    micro_lists.add(splats, place, rest < uint32_t(LANES) ? (1u << rest) - 1 : 0xffffu, left, top);
  }
  TileLists& lists = context.lists.data()[tile];
  lists.worker = uint32_t(thread), lists.start = worker.kept.size(), lists.places = 0;
  for (int micro = 0; micro < MICROTILES; ++micro) {
    const int x = left + micro_left(micro), y = top + micro_top(micro);
    const MicroInside inside(arguments, x, y);
    const uint32_t* list = micro_lists.list(micro);
    const Blended drawn = blend_micro(splats, list, micro_lists.length(micro), MicroPixels(x, y),
                                      inside.whole() ? splat(1.0f) : inside_mask(inside));
    store_micro(drawn, inside, x, y, arguments.width, colors, alpha);
    store(context.transmittance.data() + size_t(tile) * PIXELS + micro * LANES, drawn.transmittance);
    store(context.taken.data() + size_t(tile) * PIXELS + micro * LANES, drawn.taken);
    lists.used[micro] = drawn.used;
    worker.kept.insert(worker.kept.end(), list, list + drawn.used);
    worker.micro_pairs += micro_lists.length(micro), worker.blended += drawn.used;
    if (drawn.used && list[drawn.used - 1] >= lists.places) lists.places = list[drawn.used - 1] + 1;
  }
}

}  // namespace

void blend_all(Context& context, const RasterArguments& arguments, float* colors, float* alpha) {
  const int tiles = context.tiles();
  context.lists.reserve(tiles);
  context.transmittance.reserve(size_t(tiles) * PIXELS);
  context.taken.reserve(size_t(tiles) * PIXELS);
  for (Worker& worker : context.workers) worker.kept.clear(), worker.micro_pairs = worker.blended = 0;
#pragma omp parallel num_threads(arguments.threads)
  {
    const FlushDenormals flush;
#pragma omp for schedule(dynamic, 1)
    for (int tile = 0; tile < tiles; ++tile)
      blend_tile(context, arguments, tile, omp_get_thread_num(), colors, alpha);
  }
}

}  // namespace talksplat
