// Gradients of the blend, back to front. Each microtile's gradients are gathered LANES Gaussians at a time: their rows
// of pixels are transposed, so that sums over pixels become sums of vectors.
#include <omp.h>

#include <algorithm>

#include "denormals.h"
#include "raster_tile.h"

namespace talksplat {
namespace {

constexpr int FIELDS = 9;  // Numbers in Moments.
constexpr int ROW_FIELDS = LANES == 16 ? LANES : FIELDS / LANES * LANES;  // As many as whole vectors hold.

inline void add_moments(float* to, const float* from) {
  for (int field = 0; field < ROW_FIELDS; field += LANES) store(to + field, load(to + field) + load(from + field));
  for (int field = ROW_FIELDS; field < FIELDS; ++field) to[field] += from[field];
}

// Gradients of up to LANES Gaussians at the pixels of one microtile.
struct Batch {
  Floats s[LANES];  // dL/d(ln alpha), a row of pixels for each Gaussian.
  Floats w[LANES];  // alpha times the transmittance in front.
  alignas(64) float x[LANES], y[LANES];
  uint32_t places[LANES];
  int filled = 0;
};

// Sums of s over pixels, times powers of the offset from the Gaussian's centre; `lanes` are Gaussians.
inline void position_moments(const Floats* s, Floats dx, Floats dy, Floats* fields) {
  Floats m = {}, mx = {}, my = {}, mxx = {}, mxy = {}, myy = {};
  for (int row = 0; row < MICRO_ROWS; ++row) {
    const Floats *p = s + 4 * row, outer = p[0] + p[3], inner = p[1] + p[2];
    const Floats sums = outer + inner, slopes = 1.5f * (p[3] - p[0]) + 0.5f * (p[2] - p[1]);
    const float y = float(row) - 0.5f * (MICRO_ROWS - 1);
    m += sums, mx += slopes, mxx += 2.25f * outer + 0.25f * inner;
    my += y * sums, mxy += y * slopes, myy += y * y * sums;
  }
  const Floats sx = mx + dx * m, sy = my + dy * m;  // From the microtile's centre to the Gaussian's.
  fields[0] = m, fields[1] = sx, fields[2] = sy;
  fields[3] = mxx + dx * (mx + sx);
  fields[4] = mxy + dx * my + dy * sx;
  fields[5] = myy + dy * (my + sy);
}

void flush(Batch& batch, const float (*d_color)[LANES], float center_x, float center_y, Moments* moments) {
  for (int row = batch.filled; row < LANES; ++row) batch.s[row] = batch.w[row] = Floats{};
  transpose(batch.s);
  transpose(batch.w);
  Floats fields[LANES == 16 ? 16 : 12] = {};
  position_moments(batch.s, center_x - load(batch.x), center_y - load(batch.y), fields);
  for (int channel = 0; channel < 3; ++channel) {
    Floats even = {}, odd = {};
    for (int pixel = 0; pixel < LANES; pixel += 2) {
      even += batch.w[pixel] * d_color[channel][pixel];
      odd += batch.w[pixel + 1] * d_color[channel][pixel + 1];
    }
    fields[6 + channel] = even + odd;
  }
  alignas(64) float last[LANES];
  if (ROW_FIELDS < FIELDS) store(last, fields[FIELDS - 1]);
  for (int block = 0; block < ROW_FIELDS; block += LANES) transpose(fields + block);
  for (int row = 0; row < batch.filled; ++row) {
    float* to = reinterpret_cast<float*>(moments + batch.places[row]);
    for (int block = 0; block < ROW_FIELDS; block += LANES) store(to + block, load(to + block) + fields[block + row]);
    if (ROW_FIELDS < FIELDS) to[FIELDS - 1] += last[row];
  }
  batch.filled = 0;
}

// What the loss says about one microtile's pixels; zero outside the image.
struct PixelGradients {
  alignas(64) float color[3][LANES];
  alignas(64) float alpha[LANES];

  PixelGradients(const RasterArguments& arguments, int left, int top, const float* d_colors, const float* d_alpha)
      : color{}, alpha{} {
    const MicroInside inside(arguments, left, top);
    for (int row = 0; row < inside.rows; ++row)
      for (int column = 0; column < inside.columns; ++column) {
        const int64_t pixel = int64_t(top + row) * arguments.width + left + column;
        for (int channel = 0; channel < 3; ++channel) color[channel][4 * row + column] = d_colors[3 * pixel + channel];
        alpha[4 * row + column] = d_alpha[pixel];
      }
  }
};

void blend_micro_backward(const Splat* splats, const uint32_t* list, uint32_t used, int left, int top,
                          const PixelGradients& gradients, Floats transmittance, Floats taken, Moments* moments) {
  const MicroPixels pixels(left, top);
  const float center_x = float(left) + 2.0f, center_y = float(top) + 0.5f * MICRO_ROWS;
  const Floats least = splat(ALPHA_LEAST_LOG2), most = splat(ALPHA_MOST), one = splat(1.0f);
  const Floats red = load(gradients.color[0]), green = load(gradients.color[1]), blue = load(gradients.color[2]);
  // What lies behind, as dL/d(its transmittance) times that: colours add, the final alpha takes away.
  Floats behind = -load(gradients.alpha) * transmittance;
  Batch batch;
  for (uint32_t k = used; k-- > 0;) {
    const Splat& splat = splats[list[k]];
    const Floats power = log2_alpha(splat, pixels.x, pixels.y);
    const Floats free_alpha = exp2_of_negative(power);
    const Floats visible = where_at_least(power, least, minimum(free_alpha, most));
    const Floats alpha = where_at_least(taken - float(k), one, visible);  // A lane that was frozen took nothing.
    const Floats opened = reciprocal(1.0f - alpha);
    transmittance *= opened;
    const Floats weight = alpha * transmittance;
    const Floats own = weight * (red * splat.color[0] + green * splat.color[1] + blue * splat.color[2]);
    const int row = batch.filled++;
    batch.s[row] = where_at_least(most, free_alpha, own - alpha * (behind * opened));
    batch.w[row] = weight;
    batch.x[row] = splat.x, batch.y[row] = splat.y, batch.places[row] = list[k];
    behind += own;
    if (batch.filled == LANES) flush(batch, gradients.color, center_x, center_y, moments);
  }
  if (batch.filled) flush(batch, gradients.color, center_x, center_y, moments);
}

void blend_tile_backward(Context& context, const RasterArguments& arguments, int tile, Worker& worker,
                         const float* d_colors, const float* d_alpha) {
  const TileLists& lists = context.lists.data()[tile];
  if (lists.places == 0) return;
  const int left = tile % context.tiles_x * TILE, top = tile / context.tiles_x * TILE;
  Splat* splats = worker.splats.reserve(lists.places);
  gather_splats(context, tile, lists.places, splats);
  Moments* moments = worker.moments.reserve(lists.places);
  std::fill(moments, moments + lists.places, Moments{});
  const uint32_t* list = context.workers[lists.worker].kept.data() + lists.start;
  for (int micro = 0; micro < MICROTILES; list += lists.used[micro++]) {
    if (lists.used[micro] == 0) continue;
    const int x = left + micro_left(micro), y = top + micro_top(micro);
    const PixelGradients gradients(arguments, x, y, d_colors, d_alpha);
    const Floats transmittance = load(context.transmittance.data() + size_t(tile) * PIXELS + micro * LANES);
    const Floats taken = load(context.taken.data() + size_t(tile) * PIXELS + micro * LANES);
    blend_micro_backward(splats, list, lists.used[micro], x, y, gradients, transmittance, taken, moments);
  }
  const uint32_t* numbers = context.pairs.data() + context.tile_starts.data()[tile];
  for (uint32_t place = 0; place < lists.places; ++place)
    add_moments(reinterpret_cast<float*>(worker.totals.data() + numbers[place]),
                reinterpret_cast<const float*>(moments + place));
}

// First tile of each thread's share, by the work that the forward pass counted: the same in every run.
std::vector<int> divide_tiles(const Context& context, int threads) {
  std::vector<int64_t> work(context.tiles() + 1, 0);
  for (int tile = 0; tile < context.tiles(); ++tile) {
    const TileLists& lists = context.lists.data()[tile];
    work[tile + 1] = work[tile] + 16 + lists.places;
    for (int micro = 0; micro < MICROTILES; ++micro) work[tile + 1] += lists.used[micro];
  }
  std::vector<int> firsts;
  for (int thread = 0; thread <= threads; ++thread)
    firsts.push_back(int(std::lower_bound(work.begin(), work.end(), work.back() * thread / threads) - work.begin()));
  return firsts;
}

}  // namespace

void blend_all_backward(Context& context, const RasterArguments& arguments, const float* d_colors,
                        const float* d_alpha) {
  const std::vector<int> firsts = divide_tiles(context, arguments.threads);
#pragma omp parallel for num_threads(arguments.threads) schedule(static, 1)
  for (int thread = 0; thread < arguments.threads; ++thread) {
    const FlushDenormals flush_denormals;
    Worker& worker = context.workers[thread];
    if (worker.totals.capacity() < size_t(arguments.count)) {
      worker.totals.reserve(arguments.count);
      std::fill(worker.totals.data(), worker.totals.data() + worker.totals.capacity(), Moments{});
    }
    for (int tile = firsts[thread]; tile < firsts[thread + 1]; ++tile)
      blend_tile_backward(context, arguments, tile, worker, d_colors, d_alpha);
  }
}

}  // namespace talksplat
