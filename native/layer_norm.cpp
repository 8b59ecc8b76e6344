// Layer norm after a residual, each way in one pass over the points.
#include "layer_norm.h"

#include <omp.h>

#include "denormals.h"
#include "exported.h"

// to = norm(values + points + bias), count x width each; width is a multiple of 16.
TALKSPLAT_EXPORT void ts_add_norm(const float* points, const float* values, int64_t count, int width,
                                  const float* bias, const float* gain, const float* shift, float epsilon, float* to) {
  using namespace talksplat;
#pragma omp parallel for schedule(static)
  for (int64_t point = 0; point < count; ++point) {
    const int64_t row = point * width;
    for (int at = 0; at < width; at += LANES)
      store(to + row + at, load(values + row + at) + load(points + row + at) + load(bias + at));
    normalize(to + row, width, gain, shift, epsilon);
  }
}

// Gradients, all overwritten, for the slopes of the result: by_sums is that of values as well as of points.
TALKSPLAT_EXPORT void ts_add_norm_backward(const float* points, const float* values, int64_t count, int width,
                                           const float* bias, const float* gain, float epsilon, const float* slopes,
                                           float* by_sums, float* by_bias, float* by_gain, float* by_shift) {
  using namespace talksplat;
  std::vector<NormSums> sums(omp_get_max_threads(), NormSums(width));
#pragma omp parallel
  {
    const FlushDenormals flush;
    NormSums& mine = sums[omp_get_thread_num()];
    std::vector<float> normal(size_t(NORM_BLOCK) * width);
#pragma omp for schedule(static)
    for (int64_t first = 0; first < count; first += NORM_BLOCK) {
      const int here = int(std::min<int64_t>(NORM_BLOCK, count - first));
      const int64_t start = first * width;
      for (int at = 0; at < here * width; at += width) {
        for (int channel = 0; channel < width; channel += LANES)
          store(normal.data() + at + channel, load(values + start + at + channel) +
                                                  load(points + start + at + channel) + load(bias + channel));
        normalize_backward(slopes + start + at, width, gain, epsilon, normal.data() + at, by_sums + start + at);
      }
      mine.add(slopes + start, by_sums + start, normal.data(), here, width);
    }
  }
  gather_norm(sums, width, by_bias, by_gain, by_shift);
}
