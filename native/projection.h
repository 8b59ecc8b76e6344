// LANES Gaussians as one camera sees them: the arithmetic that drawing and its gradient share (3DGS, Sec. 4).
#pragma once

#include "harmonics.h"

namespace talksplat {

// rows[lane][k] to columns[k] in lane, and back; lanes from `count` on are zero, and are not written.
inline void load_columns(const float* rows, int width, int count, Floats* columns) {
  alignas(64) float lanes[3 * MOST_BASES][LANES];
  if (count < LANES)
    for (int k = 0; k < width; ++k) store(lanes[k], Floats{});
  for (int lane = 0; lane < count; ++lane)
    for (int k = 0; k < width; ++k) lanes[k][lane] = rows[lane * width + k];
  for (int k = 0; k < width; ++k) columns[k] = load(lanes[k]);
}
inline void store_columns(float* rows, int width, int count, const Floats* columns) {
  alignas(64) float lanes[3 * MOST_BASES][LANES];
  for (int k = 0; k < width; ++k) store(lanes[k], columns[k]);
  for (int lane = 0; lane < count; ++lane)
    for (int k = 0; k < width; ++k) rows[lane * width + k] = lanes[k][lane];
}

inline float square(float value) { return value * value; }

// The camera, with what every Gaussian needs of it worked out once.
struct View {
  float rotation[9], translation[3], position[3], focal[2], center[2], low[2], high[2];

  explicit View(const RasterArguments& arguments) {
    const int size[2] = {arguments.width, arguments.height};
    for (int row = 0; row < 3; ++row) {
      for (int k = 0; k < 3; ++k) rotation[3 * row + k] = arguments.view[4 * row + k];
      translation[row] = arguments.view[4 * row + 3];
    }
    for (int k = 0; k < 3; ++k) {
      position[k] = 0;
      for (int row = 0; row < 3; ++row) position[k] -= rotation[3 * row + k] * translation[row];
    }
    for (int axis = 0; axis < 2; ++axis) {
      focal[axis] = arguments.focal[axis], center[axis] = arguments.center[axis];
      const float margin = 0.15f * size[axis] / focal[axis];  // 0.3 of half the field of view, as a slope
      low[axis] = -center[axis] / focal[axis] - margin;
      high[axis] = (size[axis] - center[axis]) / focal[axis] + margin;
    }
  }

  // A gradient in camera axes turned to world axes.
  void to_world(const Floats* seen, Floats* world) const {
    for (int k = 0; k < 3; ++k)
      world[k] = rotation[k] * seen[0] + rotation[3 + k] * seen[1] + rotation[6 + k] * seen[2];
  }
};

struct Projection {
  Floats seen[3];      // Centre in camera coordinates, metres; z is 1 where `shown` is false.
  Ints shown;          // In front of the near plane.
  Floats inverse_z;
  Floats screen[2];    // Centre, pixels.
  Floats slope[2];     // x / z and y / z, clamped.
  Floats quat[4], inverse_norm;
  Floats rotation[9];  // Of the Gaussian.
  Floats to_screen[6];  // Jacobian times the view's rotation, 2 x 3.
  Floats axes[6];       // to_screen times rotation, 2 x 3: the unscaled axes on the screen.
  Floats xx, xy, yy;    // 2D covariance, blur included.
  Floats determinant;

  Projection() = default;
  Projection(const View& view, const Floats* mean, const Floats* quaternion, const Floats* scale) {
    place(view, mean);
    turn(quaternion);
    spread(view, scale);
  }

  void place(const View& view, const Floats* mean) {
    for (int row = 0; row < 3; ++row) {
      const float* turn = view.rotation + 3 * row;
      seen[row] = turn[0] * mean[0] + turn[1] * mean[1] + turn[2] * mean[2] + view.translation[row];
    }
    shown = seen[2] >= splat(NEAR_PLANE);
    seen[2] = select(shown, seen[2], splat(1.0f));
    inverse_z = 1.0f / seen[2];
    for (int axis = 0; axis < 2; ++axis) {
      const Floats raw = seen[axis] * inverse_z;
      screen[axis] = view.focal[axis] * raw + view.center[axis];
      slope[axis] = clamped(raw, splat(view.low[axis]), splat(view.high[axis]));
    }
  }

  void turn(const Floats* quaternion) {
    Floats norm = {};
    for (int k = 0; k < 4; ++k) norm += quaternion[k] * quaternion[k];
    inverse_norm = 1.0f / square_root(maximum(norm, 1e-24f));
    for (int k = 0; k < 4; ++k) quat[k] = quaternion[k] * inverse_norm;
    const Floats w = quat[0], x = quat[1], y = quat[2], z = quat[3];
    rotation[0] = 1.0f - 2.0f * (y * y + z * z), rotation[1] = 2.0f * (x * y - w * z);
    rotation[2] = 2.0f * (x * z + w * y), rotation[3] = 2.0f * (x * y + w * z);
    rotation[4] = 1.0f - 2.0f * (x * x + z * z), rotation[5] = 2.0f * (y * z - w * x);
    rotation[6] = 2.0f * (x * z - w * y), rotation[7] = 2.0f * (y * z + w * x);
    rotation[8] = 1.0f - 2.0f * (x * x + y * y);
  }

  void spread(const View& view, const Floats* scale) {
    for (int axis = 0; axis < 2; ++axis) {
      const Floats stretch = view.focal[axis] * inverse_z;
      for (int k = 0; k < 3; ++k)
        to_screen[3 * axis + k] = stretch * (view.rotation[3 * axis + k] - slope[axis] * view.rotation[6 + k]);
      for (int k = 0; k < 3; ++k)
        axes[3 * axis + k] = to_screen[3 * axis] * rotation[k] + to_screen[3 * axis + 1] * rotation[3 + k] +
                             to_screen[3 * axis + 2] * rotation[6 + k];
    }
    Floats scaled[6];
    for (int k = 0; k < 6; ++k) scaled[k] = axes[k] * scale[k % 3];
    const Floats *a = scaled, *b = scaled + 3;
    xx = a[0] * a[0] + a[1] * a[1] + a[2] * a[2];
    xy = a[0] * b[0] + a[1] * b[1] + a[2] * b[2];
    yy = b[0] * b[0] + b[1] * b[1] + b[2] * b[2];
    // The determinant by minors (Cauchy-Binet): xx yy - xy^2 would cancel for thin Gaussians.
    determinant = BLUR * (xx + yy) + BLUR * BLUR;
    for (int k = 0; k < 3; ++k) {
      const Floats minor = a[k] * b[(k + 1) % 3] - a[(k + 1) % 3] * b[k];
      determinant += minor * minor;
    }
    xx += BLUR, yy += BLUR;
  }
};

// Unit direction from the camera to the Gaussian.
struct Direction {
  Floats unit[3], inverse_length;

  Direction(const View& view, const Floats* mean) {
    Floats length = {};
    for (int k = 0; k < 3; ++k) unit[k] = mean[k] - view.position[k], length += unit[k] * unit[k];
    inverse_length = 1.0f / square_root(maximum(length, 1e-24f));
    for (int k = 0; k < 3; ++k) unit[k] *= inverse_length;
  }
};

// Sum of harmonics plus one half, not yet clamped; coefficients[3 k + channel].
inline void harmonic_color(int bases, const Floats* value, const Floats* coefficients, Floats* color) {
  for (int channel = 0; channel < 3; ++channel) {
    color[channel] = splat(0.5f);
    for (int k = 0; k < bases; ++k) color[channel] += value[k] * coefficients[3 * k + channel];
  }
}

}  // namespace talksplat
