// Products of bilinear samples from the planes xy, xz and yz at several resolutions (lanes = channels).
//
// A cell holds all its channels in a row. Points are taken along a curve that fills the box, so that the cells that one
// point brings into the nearest cache serve the next ones too; the forward pass finds that order. What is the same for
// all channels (rows, weights) is computed for as many points at once as there are lanes.
//
// A backward task is one resolution and some of its channels: nothing that a task writes is shared, and its sums follow
// the order. With the same number of threads results are the same to the bit; it decides how channels are divided.
#include <omp.h>

#include <algorithm>
#include <vector>

#include "denormals.h"
#include "exported.h"
#include "simd.h"

namespace talksplat {
namespace {

constexpr int PLANES = 3;
constexpr int FIRST_AXIS[PLANES] = {0, 0, 1}, SECOND_AXIS[PLANES] = {1, 2, 2};
constexpr int AHEAD = 2;  // Points between asking for the rows of a point's cells and their use.

// --- The order of the points ---

// Fine enough that a box's cells of all planes, 128 a side, fit into the nearest cache.
constexpr int ORDER_BITS = 5, ORDER_EDGE = 1 << ORDER_BITS;

// The bits of a number below ORDER_EDGE, three apart.
inline uint32_t spread_bits(int number) {
  uint32_t spread = 0;
  for (int bit = 0; bit < ORDER_BITS; ++bit) spread |= uint32_t(number >> bit & 1) << (3 * bit);
  return spread;
}

// Sorts the points by their boxes along the Z-order curve; points of one box keep their order.
void find_order(const float* places, int64_t points, int32_t* order) {
  uint32_t spread[ORDER_EDGE];
  for (int number = 0; number < ORDER_EDGE; ++number) spread[number] = spread_bits(number);
  std::vector<uint16_t> boxes(points);
  std::vector<int32_t> next((1 << 3 * ORDER_BITS) + 1, 0);
  for (int64_t point = 0; point < points; ++point) {
    uint32_t box = 0;
    for (int axis = 0; axis < 3; ++axis) {
      const int at = int(places[3 * point + axis] * ORDER_EDGE);
      box |= spread[std::clamp(at, 0, ORDER_EDGE - 1)] << axis;  // Never outside: NaN too.
    }
    boxes[point] = uint16_t(box);
    ++next[box + 1];
  }
  for (size_t box = 1; box < next.size(); ++box) next[box] += next[box - 1];
  for (int64_t point = 0; point < points; ++point) order[next[boxes[point]]++] = int32_t(point);
}

// --- Cells ---

struct Grid {
  int edge;
  int32_t first;      // First row in the table.
  int64_t right, up;  // Numbers from a cell to the next one along either axis.
};

struct Table {
  std::vector<Grid> grids;
  int channels, width;  // width: of the features
  int32_t rows;
};

Table table_of(int resolutions, const int32_t* edges, int channels) {
  Table table{{}, channels, resolutions * channels, 0};
  for (int resolution = 0; resolution < resolutions; ++resolution) {
    const int edge = edges[resolution];
    table.grids.push_back({edge, table.rows, channels, int64_t(edge) * channels});
    table.rows += PLANES * edge * edge;
  }
  return table;
}

// A block of points, one a lane: the others of the last block repeat its first point.
struct Block {
  int64_t points[LANES];
  Floats place[3];
  int count;
};

inline Block block_of(const float* places, int64_t points, const int32_t* order, int64_t first) {
  Block block;
  block.count = int(std::min<int64_t>(LANES, points - first));
  float place[3][LANES];
  for (int lane = 0; lane < LANES; ++lane) {
    const int64_t point = order[first + (lane < block.count ? lane : 0)];
    block.points[lane] = point;
    for (int axis = 0; axis < 3; ++axis) place[axis][lane] = places[3 * point + axis];
  }
  for (int axis = 0; axis < 3; ++axis) block.place[axis] = load(place[axis]);
  return block;
}

// Where a block's points lie in one resolution, for each plane: the row of the lowest of the four cells around the
// point, the four's weights, and how far the point lies beyond that cell along each axis.
struct Cells {
  int32_t row[PLANES][LANES];
  float weights[PLANES][4][LANES];
  float part[3][LANES];
};

inline void find_cells(const Grid& grid, const Block& block, Cells& cells) {
  Ints base[3];
  Floats part[3];
  for (int axis = 0; axis < 3; ++axis) {
    const Floats at = block.place[axis] * float(grid.edge - 1);
    const Ints low = splat(0), high = splat(int32_t(grid.edge - 2));
    Ints cell = truncated(at);
    cell = cell > low ? cell : low;  // Never outside: NaN too.
    base[axis] = cell < high ? cell : high;
    part[axis] = at - to_floats(base[axis]);
    store(cells.part[axis], part[axis]);
  }
  for (int plane = 0; plane < PLANES; ++plane) {
    const Floats x = part[FIRST_AXIS[plane]], y = part[SECOND_AXIS[plane]];
    const Floats high = y - x * y;
    const Floats weights[4] = {1.0f - x - high, x - x * y, high, x * y};
    for (int corner = 0; corner < 4; ++corner) store(cells.weights[plane][corner], weights[corner]);
    const Ints row = (plane * grid.edge + base[SECOND_AXIS[plane]]) * grid.edge + base[FIRST_AXIS[plane]] + grid.first;
    std::memcpy(cells.row[plane], &row, sizeof row);
  }
}

// --- Asking for memory before it is needed ---

// GCC takes a function that only prefetches for one without effects and drops its calls, unless they are inlined.
#define TALKSPLAT_ALWAYS_INLINE __attribute__((always_inline)) inline

template <int FOR_WRITING>
TALKSPLAT_ALWAYS_INLINE void ask_for(const float* from, int count) {
  for (int at = 0; at < count; at += 16) __builtin_prefetch(from + at, FOR_WRITING);
}

// The features' rows of the block after the one that begins at `first`: they lie in any order.
template <int FOR_WRITING>
TALKSPLAT_ALWAYS_INLINE void ask_for_next(const float* features, int width, int count, int64_t points,
                                          const int32_t* order, int64_t first) {
  const int64_t last = std::min(first + 2 * LANES, points);
  for (int64_t number = first + LANES; number < last; ++number)
    ask_for<FOR_WRITING>(features + int64_t(order[number]) * width, count);
}

template <int FOR_WRITING, int LINES>
TALKSPLAT_ALWAYS_INLINE void ask_for_lines(const Grid& grid, const Cells& cells, int lane, const float* table) {
#pragma GCC unroll 3
  for (int plane = 0; plane < PLANES; ++plane) {
    const float* from = table + int64_t(cells.row[plane][lane]) * grid.right;
    ask_for<FOR_WRITING>(from, 16 * LINES);
    ask_for<FOR_WRITING>(from + grid.right, 16 * LINES);
    ask_for<FOR_WRITING>(from + grid.up, 16 * LINES);
    ask_for<FOR_WRITING>(from + grid.up + grid.right, 16 * LINES);
  }
}

// The rows of a point of the block, if there is one; of more than 32 channels the first, since a loop costs the gain.
template <int FOR_WRITING>
TALKSPLAT_ALWAYS_INLINE void ask_for_rows(const Grid& grid, const Cells& cells, int lane, const float* table,
                                          int channels) {
  if (lane >= LANES) return;
  if (channels > 16)
    ask_for_lines<FOR_WRITING, 2>(grid, cells, lane, table);
  else
    ask_for_lines<FOR_WRITING, 1>(grid, cells, lane, table);
}

// --- One point ---

inline Floats sample(const Grid& grid, const Cells& cells, int plane, int lane, const float* from) {
  const auto& weights = cells.weights[plane];
  return (load(from) * weights[0][lane] + load(from + grid.right) * weights[1][lane]) +
         (load(from + grid.up) * weights[2][lane] + load(from + grid.up + grid.right) * weights[3][lane]);
}

// A bilinear sample and its derivatives by the place, in cells.
struct Sample {
  Floats value, by_x, by_y;
};

inline Sample slanted_sample(const Grid& grid, float x, float y, const float* from) {
  const Floats a = load(from), c = load(from + grid.up);
  const Floats below = load(from + grid.right) - a, above = load(from + grid.up + grid.right) - c;
  const Floats low = a + below * x, rise = c + above * x - low;
  return {low + rise * y, below + (above - below) * y, rise};
}

inline void add(float* to, Floats value) { store(to, load(to) + value); }

inline void spread(const Grid& grid, const Cells& cells, int plane, int lane, Floats slope, float* to) {
  const auto& weights = cells.weights[plane];
  add(to, slope * weights[0][lane]);
  add(to + grid.right, slope * weights[1][lane]);
  add(to + grid.up, slope * weights[2][lane]);
  add(to + grid.up + grid.right, slope * weights[3][lane]);
}

struct Pass {
  const Table& table;
  const float *places, *values, *slopes;
  float* gradient;  // Of the table, or null.
};

struct Task {
  int grid, first_column, last_column;
  int columns() const { return last_column - first_column; }
};

// Adds one point's share to the table's gradient; the derivatives by its place are the sums of the pulls' lanes.
inline void pull(const Pass& pass, const Task& task, const Grid grid, const Cells& cells, int lane,
                 const float* slopes, Floats* pulls) {
  int64_t at[PLANES];
#pragma GCC unroll 3
  for (int plane = 0; plane < PLANES; ++plane) at[plane] = int64_t(cells.row[plane][lane]) * grid.right;
  const float *values = pass.values, part[3] = {cells.part[0][lane], cells.part[1][lane], cells.part[2][lane]};
  float* gradient = pass.gradient;
  const int last = task.last_column;
  for (int column = task.first_column; column < last; column += LANES) {
    Sample samples[PLANES];
#pragma GCC unroll 3
    for (int plane = 0; plane < PLANES; ++plane)
      samples[plane] =
          slanted_sample(grid, part[FIRST_AXIS[plane]], part[SECOND_AXIS[plane]], values + at[plane] + column);
    const Floats slope = load(slopes + column);
    const Floats by_last = slope * samples[0].value * samples[1].value, rest = slope * samples[2].value;
    const Floats by[PLANES] = {rest * samples[1].value, rest * samples[0].value, by_last};
#pragma GCC unroll 3
    for (int plane = 0; plane < PLANES; ++plane) {
      pulls[FIRST_AXIS[plane]] += by[plane] * samples[plane].by_x;
      pulls[SECOND_AXIS[plane]] += by[plane] * samples[plane].by_y;
    }
    if (!gradient) continue;
#pragma GCC unroll 3
    for (int plane = 0; plane < PLANES; ++plane)
      spread(grid, cells, plane, lane, by[plane], gradient + at[plane] + column);
  }
}

typedef float Quad __attribute__((vector_size(16)));

// The sums of three vectors' lanes, and 0.
inline Quad sums_of(const Floats* vectors) {
  Floats rows[4] = {vectors[0], vectors[1], vectors[2], Floats{}};
  transpose_groups(rows);
  const Floats groups = (rows[0] + rows[1]) + (rows[2] + rows[3]);
  Quad total = {};
  for (int group = 0; group < LANES / 4; ++group) {
    Quad part;
    std::memcpy(&part, reinterpret_cast<const char*>(&groups) + sizeof part * group, sizeof part);
    total += part;
  }
  return total;
}

// --- The passes ---

void multiply(const Table& table, const Block& block, const float* values, float* features) {
  Cells cells;
  for (size_t number = 0; number < table.grids.size(); ++number) {
    const Grid grid = table.grids[number];
    find_cells(grid, block, cells);
    for (int lane = 0; lane < block.count; ++lane) {
      float* to = features + block.points[lane] * table.width + number * table.channels;
      const float* from[PLANES];
      for (int plane = 0; plane < PLANES; ++plane) from[plane] = values + int64_t(cells.row[plane][lane]) * grid.right;
      for (int column = 0; column < table.channels; column += LANES) {
        Floats product = splat(1.0f);
#pragma GCC unroll 3
        for (int plane = 0; plane < PLANES; ++plane)
          product *= sample(grid, cells, plane, lane, from[plane] + column);
        store(to + column, product);
      }
    }
  }
}

// One task of the backward pass; `sums`, unless null, are the derivatives by the places, in the order of the points.
void run(const Pass& pass, const Task& task, int64_t points, const int32_t* order, Quad* sums) {
  const Grid grid = pass.table.grids[task.grid];
  const int width = pass.table.width;
  const float* slopes = pass.slopes + task.grid * pass.table.channels;
  Cells cells;
  for (int64_t first = 0; first < points; first += LANES) {
    const Block block = block_of(pass.places, points, order, first);
    ask_for_next<0>(slopes + task.first_column, width, task.columns(), points, order, first);
    find_cells(grid, block, cells);
    for (int lane = 0; lane < block.count; ++lane) {
      ask_for_rows<0>(grid, cells, lane + AHEAD, pass.values + task.first_column, task.columns());
      if (pass.gradient)
        ask_for_rows<1>(grid, cells, lane + AHEAD, pass.gradient + task.first_column, task.columns());
      Floats pulls[3] = {};
      pull(pass, task, grid, cells, lane, slopes + block.points[lane] * width, pulls);
      if (sums) sums[first + lane] = sums_of(pulls) * float(grid.edge - 1);
    }
  }
}

// At least as many tasks as threads where that is possible.
std::vector<Task> tasks_of(const Table& table, int threads) {
  int parts = 1, grids = int(table.grids.size());
  while (parts * grids < threads && table.channels % (2 * parts * LANES) == 0) parts *= 2;
  std::vector<Task> tasks;
  for (int grid = grids - 1; grid >= 0; --grid)  // The finest takes longest.
    for (int part = 0; part < parts; ++part)
      tasks.push_back({grid, part * table.channels / parts, (part + 1) * table.channels / parts});
  return tasks;
}

}  // namespace
}  // namespace talksplat

// features (points x resolutions channels) from places in [0, 1] (points x 3) and the table's rows of `channels`
// numbers, a multiple of the lanes: for each resolution the planes one after the other, row by row. `order` (points) is
// filled for the backward pass with the order in which the points are taken.
TALKSPLAT_EXPORT void ts_planes_forward(const float* places, int64_t points, const float* values, int resolutions,
                                        const int32_t* edges, int channels, int32_t* order, float* features) {
  using namespace talksplat;
  const Table table = table_of(resolutions, edges, channels);
  find_order(places, points, order);
#pragma omp parallel for schedule(static)
  for (int64_t first = 0; first < points; first += LANES) {
    ask_for_next<1>(features, table.width, table.width, points, order, first);
    multiply(table, block_of(places, points, order, first), values, features);
  }
}

// Both gradients are overwritten; either may be null.
TALKSPLAT_EXPORT void ts_planes_backward(const float* places, int64_t points, const float* values, int resolutions,
                                         const int32_t* edges, int channels, const int32_t* order,
                                         const float* feature_gradient, float* table_gradient, float* place_gradient) {
  using namespace talksplat;
  const Table table = table_of(resolutions, edges, channels);
  const std::vector<Task> tasks = tasks_of(table, omp_get_max_threads());
  const Pass pass{table, places, values, feature_gradient, table_gradient};
  const int count = int(tasks.size());
  std::vector<Quad> sums(place_gradient ? points * count : 0);
#pragma omp parallel
  {
    const FlushDenormals flush;
    if (table_gradient) {
#pragma omp for schedule(static)
      for (int row = 0; row < table.rows; ++row) std::fill_n(table_gradient + int64_t(row) * channels, channels, 0.0f);
    }
#pragma omp for schedule(dynamic, 1)
    for (int number = 0; number < count; ++number)
      run(pass, tasks[number], points, order, place_gradient ? sums.data() + points * number : nullptr);
    if (place_gradient) {
#pragma omp for schedule(static)
      for (int64_t at = 0; at < points; ++at) {
        Quad total = {};
        for (int number = 0; number < count; ++number) total += sums[points * number + at];
        for (int axis = 0; axis < 3; ++axis) place_gradient[3 * int64_t(order[at]) + axis] = total[axis];
      }
    }
  }
}
