// Real spherical harmonics up to degree 3 (3DGS, Sec. 5; signs as in its code), and their slopes along the direction.
#pragma once

#include "raster.h"

namespace talksplat {

constexpr float SH0 = 0.28209479177387814f, SH1 = 0.4886025119029199f;
constexpr float SH2_XY = 1.0925484305920792f, SH2_ZZ = 0.31539156525252005f, SH2_XX = 0.5462742152960396f;
constexpr float SH3_A = 0.5900435899266435f, SH3_B = 2.890611442640554f, SH3_C = 0.4570457994644658f;
constexpr float SH3_D = 0.3731763325901154f, SH3_E = 1.445305721320277f;

// Values of the first `bases` functions at the unit direction (x, y, z).
inline void harmonic_values(int bases, Floats x, Floats y, Floats z, Floats* value) {
  value[0] = splat(SH0);
  if (bases < 4) return;
  value[1] = -SH1 * y;
  value[2] = SH1 * z;
  value[3] = -SH1 * x;
  if (bases < 9) return;
  const Floats xx = x * x, yy = y * y, zz = z * z;
  value[4] = SH2_XY * x * y;
  value[5] = -SH2_XY * y * z;
  value[6] = SH2_ZZ * (2.0f * zz - xx - yy);
  value[7] = -SH2_XY * x * z;
  value[8] = SH2_XX * (xx - yy);
  if (bases < 16) return;
  value[9] = -SH3_A * y * (3.0f * xx - yy);
  value[10] = SH3_B * x * y * z;
  value[11] = -SH3_C * y * (4.0f * zz - xx - yy);
  value[12] = SH3_D * z * (2.0f * zz - 3.0f * xx - 3.0f * yy);
  value[13] = -SH3_C * x * (4.0f * zz - xx - yy);
  value[14] = SH3_E * z * (xx - yy);
  value[15] = -SH3_A * x * (xx - 3.0f * yy);
}

// Adds sum over k of slope[k] times the gradient of function k with respect to (x, y, z).
inline void add_harmonic_slopes(int bases, Floats x, Floats y, Floats z, const Floats* slope, Floats* d) {
  if (bases < 4) return;
  d[0] -= SH1 * slope[3];
  d[1] -= SH1 * slope[1];
  d[2] += SH1 * slope[2];
  if (bases < 9) return;
  d[0] += SH2_XY * (y * slope[4] - z * slope[7]) + 2.0f * x * (SH2_XX * slope[8] - SH2_ZZ * slope[6]);
  d[1] += SH2_XY * (x * slope[4] - z * slope[5]) - 2.0f * y * (SH2_XX * slope[8] + SH2_ZZ * slope[6]);
  d[2] += 4.0f * SH2_ZZ * z * slope[6] - SH2_XY * (y * slope[5] + x * slope[7]);
  if (bases < 16) return;
  const Floats xx = x * x, yy = y * y, zz = z * z;
  d[0] += -6.0f * SH3_A * x * y * slope[9] + SH3_B * y * z * slope[10] + 2.0f * SH3_C * x * y * slope[11] -
          6.0f * SH3_D * x * z * slope[12] - SH3_C * (4.0f * zz - 3.0f * xx - yy) * slope[13] +
          2.0f * SH3_E * x * z * slope[14] - 3.0f * SH3_A * (xx - yy) * slope[15];
  d[1] += -3.0f * SH3_A * (xx - yy) * slope[9] + SH3_B * x * z * slope[10] -
          SH3_C * (4.0f * zz - xx - 3.0f * yy) * slope[11] - 6.0f * SH3_D * y * z * slope[12] +
          2.0f * SH3_C * x * y * slope[13] - 2.0f * SH3_E * y * z * slope[14] + 6.0f * SH3_A * x * y * slope[15];
  d[2] += SH3_B * x * y * slope[10] - 8.0f * SH3_C * z * (y * slope[11] + x * slope[13]) +
          SH3_D * (6.0f * zz - 3.0f * xx - 3.0f * yy) * slope[12] + SH3_E * (xx - yy) * slope[14];
}

}  // namespace talksplat
