// Products of bilinear samples from the planes xy, xz and yz at several resolutions (lanes = channels).
//
// A cell holds all its channels in a row. A task is one resolution and one vector of channels: nothing that a task
// writes is shared, except the points' gradients, which are summed in the tasks' order. So results do not depend on
// the number of threads.
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

struct Task {
  int edge, channels;
  int64_t first;  // Row of the table at which the resolution begins.
  int column;     // First channel of the vector.
  int feature;    // The same in the features.
};

// The four cells around a place of one plane: where their vectors begin, and how far into the cell it lies.
struct Cell {
  int64_t at[4];
  float x, y;
};

inline Cell cell_of(const Task& task, int plane, const float* place) {
  const int edge = task.edge;
  const float u = place[FIRST_AXIS[plane]] * (edge - 1), v = place[SECOND_AXIS[plane]] * (edge - 1);
  const int column = std::clamp(int(u), 0, edge - 2), row = std::clamp(int(v), 0, edge - 2);  // Never outside: NaN too.
  const int64_t base = task.first + int64_t(plane) * edge * edge + int64_t(row) * edge + column;
  Cell cell{{base, base + 1, base + edge, base + edge + 1}, u - column, v - row};
  for (int64_t& at : cell.at) at = at * task.channels + task.column;
  return cell;
}

inline Floats sample(const Cell& cell, const float* table) {
  const Floats low = load(table + cell.at[0]) * (1 - cell.x) + load(table + cell.at[1]) * cell.x;
  const Floats high = load(table + cell.at[2]) * (1 - cell.x) + load(table + cell.at[3]) * cell.x;
  return low * (1 - cell.y) + high * cell.y;
}

// Adds to the table's gradient and to the place's.
inline void spread(const Task& task, const Cell& cell, int plane, const float* table, Floats slope,
                   float* table_gradient, float* place_gradient) {
  if (table_gradient) {
    const float weights[4] = {(1 - cell.x) * (1 - cell.y), cell.x * (1 - cell.y), (1 - cell.x) * cell.y,
                              cell.x * cell.y};
    for (int corner = 0; corner < 4; ++corner) {
      float* to = table_gradient + cell.at[corner];
      store(to, load(to) + slope * weights[corner]);
    }
  }
  if (!place_gradient) return;
  const Floats a = load(table + cell.at[0]), b = load(table + cell.at[1]);
  const Floats c = load(table + cell.at[2]), d = load(table + cell.at[3]);
  const float scale = float(task.edge - 1);
  place_gradient[FIRST_AXIS[plane]] += scale * sum(slope * ((b - a) * (1 - cell.y) + (d - c) * cell.y));
  place_gradient[SECOND_AXIS[plane]] += scale * sum(slope * ((c - a) * (1 - cell.x) + (d - b) * cell.x));
}

std::vector<Task> tasks_of(int resolutions, const int32_t* edges, int channels) {
  std::vector<Task> tasks;
  int64_t first = 0;
  for (int resolution = 0; resolution < resolutions; ++resolution) {
    for (int column = 0; column < channels; column += LANES)
      tasks.push_back({edges[resolution], channels, first, column, resolution * channels + column});
    first += int64_t(PLANES) * edges[resolution] * edges[resolution];
  }
  return tasks;
}

}  // namespace
}  // namespace talksplat

// features (points x resolutions channels) from places in [0, 1] (points x 3) and the table's rows of `channels`
// numbers, a multiple of the lanes: for each resolution the planes one after the other, row by row.
TALKSPLAT_EXPORT void ts_planes_forward(const float* places, int64_t points, const float* table, int resolutions,
                                        const int32_t* edges, int channels, float* features) {
  using namespace talksplat;
  const std::vector<Task> tasks = tasks_of(resolutions, edges, channels);
  const int width = resolutions * channels;
#pragma omp parallel for schedule(static)
  for (int64_t point = 0; point < points; ++point)
    for (const Task& task : tasks) {
      Floats product = splat(1.0f);
      for (int plane = 0; plane < PLANES; ++plane) product *= sample(cell_of(task, plane, places + 3 * point), table);
      store(features + point * width + task.feature, product);
    }
}

// Both gradients are overwritten; either may be null.
TALKSPLAT_EXPORT void ts_planes_backward(const float* places, int64_t points, const float* table, int resolutions,
                                         const int32_t* edges, int channels, const float* feature_gradient,
                                         float* table_gradient, float* place_gradient) {
  using namespace talksplat;
  const std::vector<Task> tasks = tasks_of(resolutions, edges, channels);
  const int width = resolutions * channels, count = int(tasks.size());
  std::vector<float> sums(place_gradient ? size_t(3) * points * count : 0, 0.0f);
  int64_t rows = 0;
  for (int resolution = 0; resolution < resolutions; ++resolution)
    rows += int64_t(PLANES) * edges[resolution] * edges[resolution];
#pragma omp parallel
  {
    const FlushDenormals flush;
    if (table_gradient) {
#pragma omp for schedule(static)
      for (int64_t row = 0; row < rows; ++row) std::fill_n(table_gradient + row * channels, channels, 0.0f);
    }
#pragma omp for schedule(dynamic, 1)
    for (int number = 0; number < count; ++number) {
      const Task& task = tasks[number];
      for (int64_t point = 0; point < points; ++point) {
        Cell cells[PLANES];
        Floats samples[PLANES];
        for (int plane = 0; plane < PLANES; ++plane) {
          cells[plane] = cell_of(task, plane, places + 3 * point);
          samples[plane] = sample(cells[plane], table);
        }
        const Floats slope = load(feature_gradient + point * width + task.feature);
        float* mine = place_gradient ? sums.data() + 3 * (points * number + point) : nullptr;
        for (int plane = 0; plane < PLANES; ++plane)
          spread(task, cells[plane], plane, table, slope * samples[(plane + 1) % 3] * samples[(plane + 2) % 3],
                 table_gradient, mine);
      }
    }
#pragma omp for schedule(static)
    for (int64_t at = 0; at < (place_gradient ? 3 * points : 0); ++at) {
      float total = 0;
      for (int number = 0; number < count; ++number) total += sums[3 * points * number + at];
      place_gradient[at] = total;
    }
  }
}
