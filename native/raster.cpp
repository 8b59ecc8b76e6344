// The rasterizer as Python calls it: a context for each drawing in flight, forward, backward, and what it counted.
#include "raster.h"

#include <new>

#include "exported.h"

using talksplat::Context;

namespace {

enum Status { DONE = 0, NOT_FINITE = 1, NO_MEMORY = 2 };

template <class Work>
int guarded(Work work) {
  try {
    return work();
  } catch (const std::bad_alloc&) {
    return NO_MEMORY;
  }
}

}  // namespace

TALKSPLAT_EXPORT Context* ts_raster_create() { return new (std::nothrow) Context; }
TALKSPLAT_EXPORT void ts_raster_destroy(Context* context) { delete context; }

// colors: H x W x 3, premultiplied; alpha: H x W; screen_means: N x 2 pixels, zeros for Gaussians not in front.
TALKSPLAT_EXPORT int ts_raster_forward(Context* context, const RasterArguments* arguments, float* colors, float* alpha,
                                       float* screen_means) {
  return guarded([&] {
    if (!talksplat::project_all(*context, *arguments, screen_means)) return NOT_FINITE;
    talksplat::sort_by_depth(*context, *arguments);
    talksplat::bin_into_tiles(*context, *arguments);
    talksplat::blend_all(*context, *arguments, colors, alpha);
    return DONE;
  });
}

// Gradients of the last forward of this context, which must have had the same arguments.
TALKSPLAT_EXPORT int ts_raster_backward(Context* context, const RasterArguments* arguments, const float* d_colors,
                                        const float* d_alpha, const RasterGradients* gradients) {
  return guarded([&] {
    talksplat::blend_all_backward(*context, *arguments, d_colors, d_alpha);
    talksplat::project_all_backward(*context, *arguments, *gradients);
    return DONE;
  });
}

// The part of d_means that flows through the centres on the screen.
TALKSPLAT_EXPORT void ts_raster_centers_backward(const RasterArguments* arguments, const float* d_screen_means,
                                                 float* d_means) {
  talksplat::centers_backward(*arguments, d_screen_means, d_means);
}

// Of the last forward: visible Gaussians, (tile, Gaussian) pairs, (microtile, Gaussian) pairs, and those blended.
TALKSPLAT_EXPORT void ts_raster_counts(const Context* context, int64_t* counts) {
  counts[0] = int64_t(context->visible);
  counts[1] = context->tile_starts.data() ? context->tile_starts.data()[context->tiles()] : 0;
  counts[2] = counts[3] = 0;
  for (const talksplat::Worker& worker : context->workers)
    counts[2] += worker.micro_pairs, counts[3] += worker.blended;
}

// Copies the tile lists of the last forward: starts has tiles + 1 numbers, pairs as many as its last.
TALKSPLAT_EXPORT void ts_raster_lists(const Context* context, uint32_t* starts, uint32_t* pairs) {
  const uint32_t* from = context->tile_starts.data();
  for (int tile = 0; tile <= context->tiles(); ++tile) starts[tile] = from[tile];
  for (uint32_t i = 0; i < from[context->tiles()]; ++i) pairs[i] = context->pairs.data()[i];
}
