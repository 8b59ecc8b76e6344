// Gradients of the projection: from sums over pixels back to centres, turns, scales, opacities and harmonics.
#include <algorithm>

#include "denormals.h"
#include "projection.h"

namespace talksplat {
namespace {

constexpr int MOMENTS = 16;  // Floats in a record, used or not.

// Sums the threads' records of LANES Gaussians, one vector per number, and leaves zeros behind.
void take_moments(Context& context, int threads, int64_t first, int count, Floats* fields) {
  for (int block = 0; block < MOMENTS; block += LANES) {
    for (int lane = 0; lane < LANES; ++lane) fields[block + lane] = Floats{};
    for (int thread = 0; thread < threads; ++thread)
      for (int lane = 0; lane < count; ++lane) {
        float* record = reinterpret_cast<float*>(context.workers[thread].totals.data() + first + lane) + block;
        fields[block + lane] += load(record);
        store(record, Floats{});
      }
    transpose(fields + block);
  }
}

// dL/d(covariance) as a symmetric matrix (xx, xy, yy), from the gradient of the conic: -V^-1 (dL/dV^-1) V^-1.
void covariance_gradient(const Floats* moments, Floats a, Floats b, Floats c, Floats* d) {
  const Floats da = -0.5f * moments[3], db = -0.5f * moments[4], dc = -0.5f * moments[5];
  const Floats left_xx = a * da + b * db, left_xy = a * db + b * dc;
  const Floats left_yx = b * da + c * db, left_yy = b * db + c * dc;
  d[0] = -(left_xx * a + left_xy * b);
  d[1] = -(left_xx * b + left_xy * c);
  d[2] = -(left_yx * b + left_yy * c);
}

// Adds what colours say about the centre, and gives dL/d(harmonics).
void color_gradient(const RasterArguments& arguments, const View& view, const Floats* mean,
                    const Floats* coefficients, const Floats* d_color_clamped, Floats* d_harmonics, Floats* d_mean) {
  const Direction direction(view, mean);
  const Floats *unit = direction.unit, zero = {};
  Floats values[MOST_BASES], color[3], slope[MOST_BASES], d_unit[3] = {}, d_color[3];
  harmonic_values(arguments.bases, unit[0], unit[1], unit[2], values);
  harmonic_color(arguments.bases, values, coefficients, color);
  for (int channel = 0; channel < 3; ++channel)
    d_color[channel] = select(color[channel] > zero, d_color_clamped[channel], zero);
  for (int k = 0; k < arguments.bases; ++k) {
    slope[k] = Floats{};
    for (int channel = 0; channel < 3; ++channel) {
      d_harmonics[3 * k + channel] = values[k] * d_color[channel];
      slope[k] += coefficients[3 * k + channel] * d_color[channel];
    }
  }
  add_harmonic_slopes(arguments.bases, unit[0], unit[1], unit[2], slope, d_unit);
  const Floats along = unit[0] * d_unit[0] + unit[1] * d_unit[1] + unit[2] * d_unit[2];
  for (int k = 0; k < 3; ++k) d_mean[k] += (d_unit[k] - along * unit[k]) * direction.inverse_length;
}

// From dL/d(rotation matrix), 3 x 3, to the quaternion as it was given, before normalization.
void quat_gradient(const Projection& seen, const Floats* d, Floats* d_quat) {
  const Floats w = seen.quat[0], x = seen.quat[1], y = seen.quat[2], z = seen.quat[3];
  Floats unit[4];
  unit[0] = 2.0f * (x * (d[7] - d[5]) + y * (d[2] - d[6]) + z * (d[3] - d[1]));
  unit[1] = 2.0f * (y * (d[1] + d[3]) + z * (d[2] + d[6]) + w * (d[7] - d[5]) - 2.0f * x * (d[4] + d[8]));
  unit[2] = 2.0f * (x * (d[1] + d[3]) + z * (d[5] + d[7]) + w * (d[2] - d[6]) - 2.0f * y * (d[0] + d[8]));
  unit[3] = 2.0f * (x * (d[2] + d[6]) + y * (d[5] + d[7]) + w * (d[3] - d[1]) - 2.0f * z * (d[0] + d[4]));
  Floats along = {};
  for (int k = 0; k < 4; ++k) along += unit[k] * seen.quat[k];
  for (int k = 0; k < 4; ++k) d_quat[k] = (unit[k] - along * seen.quat[k]) * seen.inverse_norm;
}

// What the Jacobian's change with the centre says, in world axes. d_to_screen is 2 x 3.
void jacobian_gradient(const View& view, const Projection& seen, const Floats* d_to_screen, Floats* d_mean) {
  Floats d_seen[3] = {};
  for (int axis = 0; axis < 2; ++axis) {
    const Floats stretch = view.focal[axis] * seen.inverse_z, slope = seen.slope[axis];
    Floats d_stretch = {}, d_slope = {};
    for (int k = 0; k < 3; ++k) {
      const Floats d = d_to_screen[3 * axis + k];
      d_stretch += d * (view.rotation[3 * axis + k] - slope * view.rotation[6 + k]);
      d_slope -= d * stretch * view.rotation[6 + k];
    }
    const Floats raw = seen.seen[axis] * seen.inverse_z;
    const Ints free = (raw > splat(view.low[axis])) & (raw < splat(view.high[axis]));
    d_slope = select(free, d_slope, Floats{});
    d_seen[axis] = d_slope * seen.inverse_z;
    d_seen[2] -= (d_slope * raw + d_stretch * stretch) * seen.inverse_z;
  }
  Floats world[3];
  view.to_world(d_seen, world);
  for (int k = 0; k < 3; ++k) d_mean[k] += world[k];
}

// From the covariance to scales, rotation and the Jacobian: V = B B^T with B = to_screen R S.
void shape_gradient(const View& view, const Projection& seen, const Floats* scale, const Floats* d_covariance,
                    Floats* d_scale, Floats* d_quat, Floats* d_mean) {
  Floats d_axes[6], d_rotation[9], d_to_screen[6];
  for (int k = 0; k < 3; ++k) {
    const Floats x = seen.axes[k], y = seen.axes[3 + k];
    const Floats dx = 2.0f * scale[k] * (d_covariance[0] * x + d_covariance[1] * y);
    const Floats dy = 2.0f * scale[k] * (d_covariance[1] * x + d_covariance[2] * y);
    d_scale[k] = dx * x + dy * y;
    d_axes[k] = dx * scale[k], d_axes[3 + k] = dy * scale[k];
  }
  for (int i = 0; i < 3; ++i)
    for (int k = 0; k < 3; ++k)
      d_rotation[3 * i + k] = seen.to_screen[i] * d_axes[k] + seen.to_screen[3 + i] * d_axes[3 + k];
  for (int axis = 0; axis < 2; ++axis)
    for (int i = 0; i < 3; ++i) {
      const Floats *d = d_axes + 3 * axis, *turn = seen.rotation + 3 * i;
      d_to_screen[3 * axis + i] = d[0] * turn[0] + d[1] * turn[1] + d[2] * turn[2];
    }
  quat_gradient(seen, d_rotation, d_quat);
  jacobian_gradient(view, seen, d_to_screen, d_mean);
}

void project_block_backward(Context& context, const RasterArguments& arguments, const View& view, int64_t first,
                            int count, const RasterGradients& to) {
  Floats mean[3], quat[4], scale[3], opacity, coefficients[3 * MOST_BASES], moments[MOMENTS];
  const int numbers = 3 * arguments.bases;
  load_columns(arguments.means + 3 * first, 3, count, mean);
  load_columns(arguments.quats + 4 * first, 4, count, quat);
  load_columns(arguments.scales + 3 * first, 3, count, scale);
  load_columns(arguments.opacities + first, 1, count, &opacity);
  load_columns(arguments.harmonics + numbers * first, numbers, count, coefficients);
  take_moments(context, arguments.threads, first, count, moments);
  const Projection seen(view, mean, quat, scale);
  const Floats inverse = 1.0f / seen.determinant;
  const Floats a = seen.yy * inverse, b = -seen.xy * inverse, c = seen.xx * inverse;
  const Floats d_center[2] = {a * moments[1] + b * moments[2], b * moments[1] + c * moments[2]};
  const Floats d_opacity = moments[0] / maximum(opacity, 1e-30f);
  Floats d_covariance[3], d_mean[3] = {}, d_quat[4], d_scale[3], d_harmonics[3 * MOST_BASES];
  covariance_gradient(moments, a, b, c, d_covariance);
  shape_gradient(view, seen, scale, d_covariance, d_scale, d_quat, d_mean);
  color_gradient(arguments, view, mean, coefficients, moments + 6, d_harmonics, d_mean);
  store_columns(to.screen_means + 2 * first, 2, count, d_center);
  store_columns(to.means + 3 * first, 3, count, d_mean);
  store_columns(to.quats + 4 * first, 4, count, d_quat);
  store_columns(to.scales + 3 * first, 3, count, d_scale);
  store_columns(to.opacities + first, 1, count, &d_opacity);
  store_columns(to.harmonics + numbers * first, numbers, count, d_harmonics);
}

// Runs work(first, count) over all Gaussians, LANES at a time.
template <class Work>
void for_blocks(const RasterArguments& arguments, Work work) {
#pragma omp parallel for num_threads(arguments.threads) schedule(static, 1)
  for (int thread = 0; thread < arguments.threads; ++thread) {
    const FlushDenormals flush;
    int64_t begin, end;
    share(arguments.count, thread, arguments.threads, LANES, begin, end);
    for (int64_t first = begin; first < end; first += LANES) work(first, int(std::min<int64_t>(end - first, LANES)));
  }
}

}  // namespace

void project_all_backward(Context& context, const RasterArguments& arguments, const RasterGradients& to) {
  const View view(arguments);
  for_blocks(arguments, [&](int64_t first, int count) {
    project_block_backward(context, arguments, view, first, count, to);
  });
}

void centers_backward(const RasterArguments& arguments, const float* d_screen_means, float* d_means) {
  const View view(arguments);
  for_blocks(arguments, [&](int64_t first, int count) {
    Floats mean[3], d_screen[2], d_seen[3], d_mean[3];
    load_columns(arguments.means + 3 * first, 3, count, mean);
    load_columns(d_screen_means + 2 * first, 2, count, d_screen);
    Projection seen;
    seen.place(view, mean);
    for (int axis = 0; axis < 2; ++axis)
      d_seen[axis] = select(seen.shown, view.focal[axis] * seen.inverse_z * d_screen[axis], Floats{});
    d_seen[2] = -(d_seen[0] * seen.seen[0] + d_seen[1] * seen.seen[1]) * seen.inverse_z;
    view.to_world(d_seen, d_mean);
    store_columns(d_means + 3 * first, 3, count, d_mean);
  });
}

}  // namespace talksplat
