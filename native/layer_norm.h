// Layer norm of one point's values (Ba et al., 2016), a multiple of the lanes, and its gradients.
#pragma once

#include <algorithm>
#include <cmath>
#include <vector>

#include "simd.h"

namespace talksplat {

constexpr int NORM_BLOCK = 32;  // Points whose gradients lie in the nearest cache together.

inline void normalize(float* values, int count, const float* gain, const float* shift, float epsilon) {
  Floats total = {}, squares = {};
  for (int at = 0; at < count; at += LANES) total += load(values + at);
  const float mean = sum(total) / float(count);
  for (int at = 0; at < count; at += LANES) {
    const Floats off = load(values + at) - mean;
    squares += off * off;
  }
  const float scale = 1.0f / std::sqrt(sum(squares) / float(count) + epsilon);
  for (int at = 0; at < count; at += LANES)
    store(values + at, (load(values + at) - mean) * scale * load(gain + at) + load(shift + at));
}

// Gradient of what a layer norm saw of one point; `values` come as it saw them and leave with mean 0 and deviation 1.
inline void normalize_backward(const float* slopes, int width, const float* gain, float epsilon, float* values,
                               float* by_values) {
  Floats total = {}, squares = {}, along_one = {}, along_values = {};
  for (int at = 0; at < width; at += LANES) total += load(values + at);
  const float mean = sum(total) / float(width);
  for (int at = 0; at < width; at += LANES) {
    const Floats off = load(values + at) - mean, slope = load(slopes + at) * load(gain + at);
    squares += off * off;
    along_one += slope;
    along_values += slope * off;
  }
  const float scale = 1.0f / std::sqrt(sum(squares) / float(width) + epsilon);
  const float one = sum(along_one) / float(width), rest = sum(along_values) * scale / float(width);
  for (int at = 0; at < width; at += LANES) {
    const Floats normal = (load(values + at) - mean) * scale;
    store(values + at, normal);
    store(by_values + at, (load(slopes + at) * load(gain + at) - one - normal * rest) * scale);
  }
}

// One thread's gradients of what all points share: of a norm's gain and shift, and of the bias before it.
struct NormSums {
  std::vector<float> bias, gain, shift;
  explicit NormSums(int width) : bias(width, 0.0f), gain(width, 0.0f), shift(width, 0.0f) {}

  // `count` points' slopes after the norm and before it, and what normalize_backward left of their values.
  void add(const float* slopes, const float* by_values, const float* normal, int count, int width) {
    for (int at = 0; at < width; at += LANES) {
      Floats biases = {}, gains = {}, shifts = {};
      for (int point = 0; point < count; ++point) {
        const Floats slope = load(slopes + point * width + at);
        biases += load(by_values + point * width + at);
        gains += slope * load(normal + point * width + at);
        shifts += slope;
      }
      store(bias.data() + at, load(bias.data() + at) + biases);
      store(gain.data() + at, load(gain.data() + at) + gains);
      store(shift.data() + at, load(shift.data() + at) + shifts);
    }
  }
};

// One member of each thread's sums, added in the threads' order.
template <class Sums>
void gather(const std::vector<Sums>& threads, std::vector<float> Sums::*part, size_t count, float* to) {
  std::fill_n(to, count, 0.0f);
  for (const Sums& sums : threads)
    for (size_t at = 0; at < count; ++at) to[at] += (sums.*part)[at];
}

inline void gather_norm(const std::vector<NormSums>& threads, int width, float* by_bias, float* by_gain,
                        float* by_shift) {
  gather(threads, &NormSums::bias, width, by_bias);
  gather(threads, &NormSums::gain, width, by_gain);
  gather(threads, &NormSums::shift, width, by_shift);
}

}  // namespace talksplat
