// Bias-free networks of two hidden layers (or, without the second, one) with ReLU over many points, forward and
// backward in one pass each; see mlp.h.
#include "mlp.h"

#include <algorithm>

#include "exported.h"

// result (points x out) = third relu(second relu(first features + shared)) for each of `groups` networks; see mlp.h.
// With `products` (points x hidden) these take the place of first features; then features and first are null, and
// there is one group. Without `second` there is one hidden layer.
TALKSPLAT_EXPORT void ts_mlp_forward(int64_t points, int features_wide, int hidden, int groups, const int* outs,
                                     int rectified, const float* features, const float* products, const float* first,
                                     const float* shared, const float* second, const float* third, float* result) {
  using namespace talksplat;
  const Shape shape{points, features_wide, hidden, groups, outs, second != nullptr, rectified != 0};
  const Weights weights{products ? nullptr : first, shared, second, third};
  network_forward(shape, weights, features, products, result);
}

// Gradients for a given gradient of the result; those of the weights and the shared vector are overwritten,
// feature_gradient may be null.
TALKSPLAT_EXPORT void ts_mlp_backward(int64_t points, int features_wide, int hidden, int groups, const int* outs,
                                      int rectified, const float* features, const float* first, const float* shared,
                                      const float* second, const float* third, const float* result_gradient,
                                      float* feature_gradient, float* first_gradient, float* shared_gradient,
                                      float* second_gradient, float* third_gradient) {
  using namespace talksplat;
  const Shape shape{points, features_wide, hidden, groups, outs, second != nullptr, rectified != 0};
  const Weights weights{first, shared, second, third};
  const Gradients gradients{first_gradient, shared_gradient, second_gradient, third_gradient, feature_gradient};
  const size_t all_hidden = size_t(hidden) * groups;
  std::fill_n(first_gradient, all_hidden * features_wide, 0.0f);
  if (second) std::fill_n(second_gradient, size_t(hidden) * hidden, 0.0f);
  std::fill_n(third_gradient, size_t(shape.out()) * hidden, 0.0f);
  std::fill_n(shared_gradient, all_hidden, 0.0f);
  network_backward(shape, weights, features, result_gradient, gradients);
}
