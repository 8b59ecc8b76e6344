// Projects every Gaussian: its ellipse on the screen, its colour, the tiles it may touch and its depth key.
#include "denormals.h"
#include "projection.h"

namespace talksplat {
namespace {

constexpr float LOG2_E = 1.44269504f;

// The inputs of LANES Gaussians, one vector per number.
struct Inputs {
  Floats mean[3], quat[4], scale[3], opacity, harmonics[3 * MOST_BASES];
  bool finite = true;

  Inputs(const RasterArguments& arguments, int64_t first, int count) {
    load_columns(arguments.means + 3 * first, 3, count, mean);
    load_columns(arguments.quats + 4 * first, 4, count, quat);
    load_columns(arguments.scales + 3 * first, 3, count, scale);
    load_columns(arguments.opacities + first, 1, count, &opacity);
    load_columns(arguments.harmonics + 3 * arguments.bases * first, 3 * arguments.bases, count, harmonics);
    Ints broken = infinite(opacity);
    for (int k = 0; k < 3; ++k) broken |= infinite(mean[k]) | infinite(scale[k]);
    for (int k = 0; k < 4; ++k) broken |= infinite(quat[k]);
    for (int k = 0; k < 3 * arguments.bases; ++k) broken |= infinite(harmonics[k]);
    for (int lane = 0; lane < LANES; ++lane) finite &= broken[lane] == 0;
  }

  // NaN too: by the exponent's bits, which no fast-math rule optimizes away.
  static Ints infinite(Floats value) { return (bits(value) & 0x7f800000) == splat(0x7f800000); }
};

// Columns as in Splat, ready to be transposed into records.
void fill_splats(const Projection& seen, Floats opacity, const Floats* color, Floats* columns) {
  const Floats inverse = 1.0f / seen.determinant;
  columns[0] = seen.screen[0], columns[1] = seen.screen[1];
  columns[2] = -0.5f * LOG2_E * seen.yy * inverse;
  columns[3] = LOG2_E * seen.xy * inverse;
  columns[4] = -0.5f * LOG2_E * seen.xx * inverse;
  columns[5] = log2(maximum(opacity, 1e-30f));
  columns[6] = seen.xy / seen.xx;
  columns[7] = seen.xy / seen.yy;
  for (int channel = 0; channel < 3; ++channel) columns[8 + channel] = maximum(color[channel], 0.0f);
  for (int k = 11; k < 16; ++k) columns[k] = Floats{};
}

void store_splats(Floats* columns, int count, Splat* splats) {
  for (int block = 0; block < 16; block += LANES) {
    transpose(columns + block);
    for (int lane = 0; lane < count; ++lane)
      store(reinterpret_cast<float*>(splats + lane) + block, columns[block + lane]);
  }
}

// First and one past the last tile that pixels within `reach` of `center` lie in.
void tile_range(Floats center, Floats reach, int tiles, Ints& first, Ints& last) {
  const Floats most = splat(float(tiles));
  first = truncated(clamped((center - reach - 0.5f) * (1.0f / TILE), Floats{}, most));
  last = truncated(clamped((center + reach - 0.5f) * (1.0f / TILE) + 1.0f, Floats{}, most));
}

// Boxes of tiles around the ellipse where alpha reaches 1/255.
void store_boxes(const Context& context, const Projection& seen, Floats log2_opacity, int count, TileBox* boxes) {
  constexpr float SLACK = 1e-3f;  // Rounding may not lose a pixel; the blend decides exactly.
  const Floats power = (2.0f / LOG2_E) * (log2_opacity - ALPHA_LEAST_LOG2 + SLACK);
  const Floats limit = maximum(power, 0.0f);
  Ints left, right, top, bottom;
  tile_range(seen.screen[0], square_root(limit * seen.xx), context.tiles_x, left, right);
  tile_range(seen.screen[1], square_root(limit * seen.yy), context.tiles_y, top, bottom);
  const Ints drawn = seen.shown & (power > Floats{}) & (right > left) & (bottom > top);
  for (int lane = 0; lane < count; ++lane) {
    const bool keep = drawn[lane] != 0;
    boxes[lane] = keep ? TileBox{uint16_t(left[lane]), uint16_t(top[lane]), uint16_t(right[lane]),
                                 uint16_t(bottom[lane])}
                       : TileBox{0, 0, 0, 0};
  }
}

struct Targets {
  Splat* splats;
  TileBox* boxes;
  uint32_t* keys;
  float* screen_means;
};

void project_block(const Context& context, const RasterArguments& arguments, const View& view, int64_t first,
                   int count, const Targets& to, Worker& worker) {
  const Inputs inputs(arguments, first, count);
  worker.invalid |= !inputs.finite;
  const Projection seen(view, inputs.mean, inputs.quat, inputs.scale);
  const Direction direction(view, inputs.mean);
  Floats values[MOST_BASES], color[3], columns[16];
  harmonic_values(arguments.bases, direction.unit[0], direction.unit[1], direction.unit[2], values);
  harmonic_color(arguments.bases, values, inputs.harmonics, color);
  fill_splats(seen, inputs.opacity, color, columns);
  TileBox* boxes = to.boxes + first;
  store_boxes(context, seen, columns[5], count, boxes);
  store_splats(columns, count, to.splats + first);
  const Ints keys = bits(seen.seen[2]);  // Bits of positive floats sort like the floats.
  const Floats zero = {};
  const Floats centers[2] = {select(seen.shown, seen.screen[0], zero), select(seen.shown, seen.screen[1], zero)};
  if (to.screen_means) store_columns(to.screen_means + 2 * first, 2, count, centers);
  for (int lane = 0; lane < count; ++lane) {
    const uint32_t key = uint32_t(keys[lane]);
    to.keys[first + lane] = key;
    if (boxes[lane].right == 0) continue;
    worker.nearest = key < worker.nearest ? key : worker.nearest;
    worker.farthest = key > worker.farthest ? key : worker.farthest;
  }
}

}  // namespace

bool project_all(Context& context, const RasterArguments& arguments, float* screen_means) {
  context.tiles_x = (arguments.width + TILE - 1) / TILE, context.tiles_y = (arguments.height + TILE - 1) / TILE;
  if (context.workers.size() < size_t(arguments.threads)) context.workers.resize(arguments.threads);
  const size_t count = arguments.count;
  const Targets to = {context.splats.reserve(count), context.boxes.reserve(count), context.keys.reserve(count),
                      screen_means};
  const View view(arguments);
#pragma omp parallel for num_threads(arguments.threads) schedule(static, 1)
  for (int thread = 0; thread < arguments.threads; ++thread) {
    const FlushDenormals flush;
    Worker& worker = context.workers[thread];
    worker.nearest = UINT32_MAX, worker.farthest = 0, worker.invalid = false;
    int64_t begin, end;
    share(arguments.count, thread, arguments.threads, LANES, begin, end);
    for (int64_t first = begin; first < end; first += LANES)
      project_block(context, arguments, view, first, int(end - first < LANES ? end - first : LANES), to, worker);
  }
  for (int thread = 0; thread < arguments.threads; ++thread)
    if (context.workers[thread].invalid) return false;
  return true;
}

}  // namespace talksplat
