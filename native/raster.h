// The rasterizer's data: what Python hands over, and what one drawing keeps for its backward pass.
//
// A tile is 16 x 16 pixels. A microtile is what one vector holds, 4 pixels wide and LANES / 4 high; a tile has
// MICROTILES of them in four columns. Lists of Gaussians are made per tile and then narrowed to each microtile.
#pragma once

#include <cstdint>
#include <cstdlib>
#include <memory>
#include <vector>

#include "simd.h"

namespace talksplat {

constexpr int TILE = 16;
constexpr int PIXELS = TILE * TILE;
constexpr int MICROTILES = PIXELS / LANES;
constexpr int MICRO_ROWS = LANES / 4;
constexpr float ALPHA_MOST = 0.99f;
constexpr float ALPHA_LEAST_LOG2 = -7.99435344f;  // log2(1 / 255)
constexpr float TRANSMITTANCE_FROZEN = 1e-8f;     // A pixel below this takes no more Gaussians: see blend_micro.
constexpr float TRANSMITTANCE_LEAST = 1e-4f;      // A microtile is finished when all its pixels are below this.
constexpr float NEAR_PLANE = 0.01f;               // metres
constexpr float BLUR = 0.3f;                      // px^2, added to both variances
constexpr int MOST_BASES = 16;

}  // namespace talksplat

// One view of N Gaussians. All arrays are contiguous float32; harmonics are N x bases x 3.
struct RasterArguments {
  int64_t count;
  int32_t bases, width, height, threads;
  float focal[2], center[2];
  float view[12];  // Rows of the 3 x 4 transform from world to camera.
  const float *means, *quats, *scales, *opacities, *harmonics;
};

// Where the gradients go, in the shapes of the inputs; screen_means is N x 2.
struct RasterGradients {
  float *screen_means, *means, *quats, *scales, *opacities, *harmonics;
};

namespace talksplat {

// Grow-only storage aligned to cache lines; its contents are not kept when it grows.
template <class T>
class Scratch {
 public:
  T* reserve(size_t count) {
    if (count > capacity_) {
      capacity_ = count + count / 4;
      data_.reset(static_cast<T*>(std::aligned_alloc(64, (capacity_ * sizeof(T) + 63) / 64 * 64)));
      if (!data_) throw std::bad_alloc();
    }
    return data_.get();
  }
  T* data() const { return data_.get(); }
  size_t capacity() const { return capacity_; }

 private:
  struct Free {
    void operator()(T* pointer) const { std::free(pointer); }
  };
  std::unique_ptr<T, Free> data_;
  size_t capacity_ = 0;
};

// A projected Gaussian. log2 alpha = weight + xx dx^2 + xy dx dy + yy dy^2 with (dx, dy) = pixel - (x, y).
struct alignas(64) Splat {
  float x, y;        // Centre, pixels.
  float xx, xy, yy;  // Minus half the conic, times log2 e; xy counts both off-diagonal entries.
  float weight;      // log2 of the opacity.
  float dy_of_dx;    // The dy of greatest alpha on a vertical line at dx is dy_of_dx * dx,
  float dx_of_dy;    // and the dx of greatest alpha on a horizontal line at dy is dx_of_dy * dy.
  float color[3];
  float unused[5];
};
static_assert(sizeof(Splat) == 64, "one cache line");

// Tiles that a Gaussian may touch: [left, right) x [top, bottom); empty when it is culled.
struct TileBox {
  uint16_t left, top, right, bottom;
};

// Sums over pixels of one Gaussian's gradient: s = dL/d(ln alpha), w = alpha times transmittance in front.
struct alignas(64) Moments {
  float s, sx, sy, sxx, sxy, syy;  // About the Gaussian's centre, pixels.
  float color[3];                  // Sum of w dL/dcolor.
  float unused[7];
};
static_assert(sizeof(Moments) == 64, "one cache line");

// What one thread needs while it draws, and the microtile lists it made.
struct alignas(64) Worker {
  Scratch<Splat> splats;              // The tile's Gaussians, nearest first.
  Scratch<Moments> moments;           // Their gradients.
  Scratch<uint32_t> lists;            // MICROTILES lists of places in the tile, each with the tile's capacity.
  std::vector<uint32_t> kept;         // Lists as far as they were blended, kept for the backward pass.
  Scratch<Moments> totals;            // Per Gaussian; all zeros between two backward passes.
  Scratch<uint32_t> tile_counts;
  uint32_t nearest = 0, farthest = 0;  // Depth keys of this thread's share.
  int64_t micro_pairs = 0, blended = 0;
  bool invalid = false;
};

// Where the lists of one tile's microtiles lie in a worker's `kept`.
struct TileLists {
  uint32_t worker, places;  // `places`: how many of the tile's Gaussians any microtile used.
  size_t start;
  uint32_t used[MICROTILES];
};

// One drawing in flight: all scratch, and what backward reads. It only grows.
struct Context {
  Scratch<Splat> splats;
  Scratch<TileBox> boxes;
  Scratch<uint32_t> keys, order;  // Bits of the depth; numbers of visible Gaussians, nearest first.
  Scratch<uint64_t> keyed, spare;
  Scratch<uint32_t> pairs;        // Gaussian numbers tile by tile, nearest first.
  Scratch<uint32_t> tile_starts;  // tiles + 1
  Scratch<TileLists> lists;
  Scratch<float> transmittance;   // Per tile, microtile and lane.
  Scratch<float> taken;           // How many of its microtile's list each lane took before it froze, likewise.
  std::vector<Worker> workers;
  int tiles_x = 0, tiles_y = 0;
  size_t visible = 0;
  int tiles() const { return tiles_x * tiles_y; }
};

// The phases, in order. Each runs on arguments.threads threads.
bool project_all(Context&, const RasterArguments&, float* screen_means);  // False: NaN or infinity in the input.
void sort_by_depth(Context&, const RasterArguments&);
void bin_into_tiles(Context&, const RasterArguments&);
void blend_all(Context&, const RasterArguments&, float* colors, float* alpha);
void blend_all_backward(Context&, const RasterArguments&, const float* d_colors, const float* d_alpha);

// `means` gets what flows through shape and colour; what flows through the screen centres is left to the caller.
void project_all_backward(Context&, const RasterArguments&, const RasterGradients&);
// dL/d(means) of dL/d(screen centres).
void centers_backward(const RasterArguments&, const float* d_screen_means, float* d_means);

// Copies the Gaussians of a tile next to each other.
inline void gather_splats(const Context& context, int tile, uint32_t count, Splat* to) {
  const uint32_t* numbers = context.pairs.data() + context.tile_starts.data()[tile];
  for (uint32_t i = 0; i < count; ++i) to[i] = context.splats.data()[numbers[i]];
}

// The share [begin, end) of `count` things for one thread, in whole groups of `step`.
inline void share(int64_t count, int thread, int threads, int64_t step, int64_t& begin, int64_t& end) {
  const int64_t groups = (count + step - 1) / step;
  begin = groups * thread / threads * step;
  end = groups * (thread + 1) / threads * step;
  end = end < count ? end : count;
}

}  // namespace talksplat
