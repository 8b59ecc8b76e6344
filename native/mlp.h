// Networks over many points: bias-free, one or two hidden layers with ReLU between. A vector that all points share (the
// condition's product with the first layer) is added before the first ReLU. Gradients of weights are summed by thread
// and then in the threads' order: they repeat bit for bit with the same number of threads.
//
// mlp_vectors.cpp computes them in float32 vectors; where the processor has a matrix unit for bfloat16 (Intel's AMX),
// mlp_tiles.cpp takes its place in that library.
#pragma once

#include <cstdint>

#include "simd.h"

#if defined(__AMX_BF16__) && defined(__AVX512BF16__)
#define TALKSPLAT_TILES 1
#endif

namespace talksplat {

// Networks of one hidden width side by side, each with outputs of its own; all see the same features.
struct Shape {
  int64_t points;
  int features, hidden, groups;  // `hidden` is that of one group.
  const int* outs;               // Outputs of each group; their rows of the third weights follow each other.
  bool deep;                     // Whether there is a second hidden layer; then there is one group.
  bool rectified;                // Whether features pass a ReLU before the first layer.
  int out() const { return first_out(groups); }
  int first_out(int group) const {
    int total = 0;
    for (int before = 0; before < group; ++before) total += outs[before];
    return total;
  }
};

// first: groups hidden x features; shared: groups hidden; second: hidden x hidden or null; third: out x hidden.
struct Weights {
  const float *first, *shared, *second, *third;
};

// In the shapes of the weights, and of the features (or null).
struct Gradients {
  float *first, *shared, *second, *third, *features;
};

// result: points x out. `products` (points x hidden, one group): the first layer's products with the features, then
// these and the first weights are null.
void network_forward(const Shape& shape, const Weights& weights, const float* features, const float* products,
                     float* result);
// Adds to the gradients of the weights, which must hold zeros, and overwrites those of the features.
void network_backward(const Shape& shape, const Weights& weights, const float* features, const float* result_gradient,
                      const Gradients& gradients);

}  // namespace talksplat
