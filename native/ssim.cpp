// L1 and SSIM of two pictures, values and gradient in one pass over the rows.
//
// SSIM after Wang et al. 2004: 11 x 11 Gaussian window of sigma 1.5, zeros outside the picture. Rows of interleaved
// channels are filtered across, kept in rings of eleven rows and filtered down; the derivatives with respect to the
// window's means take the same way back. Each thread owns a band of rows and repeats ten rows beyond its borders, and
// sums are kept by row: the result is the same for any number of threads.
#include <omp.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "denormals.h"
#include "exported.h"
#include "simd.h"

namespace talksplat {
namespace {

constexpr int REACH = 5, WINDOW = 2 * REACH + 1;
constexpr float C1 = 0.01f * 0.01f, C2 = 0.03f * 0.03f;

struct Taps {
  float tap[REACH + 1];  // From the centre outwards.
  Taps() {
    double raw[REACH + 1], total = 0;
    for (int d = 0; d <= REACH; ++d) {
      raw[d] = std::exp(-d * d / (2 * 1.5 * 1.5));
      total += d ? 2 * raw[d] : raw[d];
    }
    for (int d = 0; d <= REACH; ++d) tap[d] = float(raw[d] / total);
  }
};
const Taps TAPS;

inline Floats filtered_across(const float* at, int step) {
  Floats total = load(at) * TAPS.tap[0];
#pragma GCC unroll 5
  for (int d = 1; d <= REACH; ++d) total += (load(at - d * step) + load(at + d * step)) * TAPS.tap[d];
  return total;
}

inline Floats filtered_down(const float* const* rows, int at) {
  Floats total = load(rows[REACH] + at) * TAPS.tap[0];
#pragma GCC unroll 5
  for (int d = 1; d <= REACH; ++d) total += (load(rows[REACH - d] + at) + load(rows[REACH + d] + at)) * TAPS.tap[d];
  return total;
}

struct Pictures {
  const float *picture, *target, *weights;  // weights may be null: every pixel counts 1
  int height, width, channels;
  float l1_factor, ssim_factor;
  float* gradient;  // may be null
  int row_floats() const { return width * channels; }
};

// One thread's band of rows.
class Band {
 public:
  Band(const Pictures& pictures, double* l1_of_row, double* ssim_of_row)
      : in_(pictures), l1_of_row_(l1_of_row), ssim_of_row_(ssim_of_row) {
    floats_ = in_.row_floats();
    margin_ = (REACH * in_.channels + LANES - 1) / LANES * LANES;
    stride_ = (floats_ + LANES - 1) / LANES * LANES + 2 * margin_;
    static thread_local std::vector<float> scratch;  // Grows only: no allocation per picture.
    scratch.resize(size_t(stride_) * (4 + 3 + 4 * WINDOW + 3 * WINDOW + 2));
    std::fill(scratch.begin(), scratch.end(), 0.0f);
    float* next = scratch.data() + margin_;
    auto take = [&](int rows) {
      float* mine = next;
      next += size_t(stride_) * rows;
      return mine;
    };
    products_ = take(4);
    slopes_ = take(3);
    means_ = take(4 * WINDOW);
    filtered_slopes_ = take(3 * WINDOW);
    zeros_ = take(1);
    counts_ = take(1);
    if (!in_.weights) std::fill(counts_, counts_ + floats_, 1.0f);
  }

  void run(int first, int last) {
    const int height = in_.height, ahead = in_.gradient ? 2 * REACH : REACH;
    for (int row = std::max(0, first - ahead); row < last + ahead; ++row) {
      if (row < height) filter_products(row, row >= first && row < last);
      const int middle = row - REACH;
      const int halo = in_.gradient ? REACH : 0;
      if (middle >= std::max(0, first - halo) && middle < std::min(height, last + halo))
        compare(middle, middle >= first && middle < last);
      const int done = row - 2 * REACH;
      if (in_.gradient && done >= first && done < last) write_gradient(done);
    }
  }

 private:
  float* ring(float* base, int kind, int row) const { return base + size_t(kind * WINDOW + row % WINDOW) * stride_; }

  void rows_around(float* base, int kind, int row, const float** rows) const {
    for (int d = -REACH; d <= REACH; ++d)
      rows[REACH + d] = row + d >= 0 && row + d < in_.height ? ring(base, kind, row + d) : zeros_;
  }

  // How much each float of a row counts.
  void fill_counts(int row) {
    if (!in_.weights) return;
    const float* from = in_.weights + size_t(row) * in_.width;
    float* to = counts_;
    for (int x = 0; x < in_.width; ++x)
      for (int c = 0; c < in_.channels; ++c) *to++ = from[x];
  }

  void load_pixels(int row, int at, Floats& x, Floats& y) const {
    const size_t place = size_t(row) * floats_ + at;
    if (at + LANES <= floats_) {
      x = load(in_.picture + place), y = load(in_.target + place);
    } else {
      x = load_part(in_.picture + place, floats_ - at), y = load_part(in_.target + place, floats_ - at);
    }
    // A pixel that does not count is taken as right, so that its neighbours' windows do not see it either.
    if (in_.weights) x = select(load(counts_ + at) > 0.0f, x, y);
  }

  // x, y, x^2 + y^2 and x y, filtered across; the two squares' windows are only ever needed as a sum.
  void filter_products(int row, bool counted) {
    fill_counts(row);
    Floats l1 = {};
    for (int at = 0; at < floats_; at += LANES) {
      Floats x, y;
      load_pixels(row, at, x, y);
      store(products_ + at, x);
      store(products_ + stride_ + at, y);
      store(products_ + 2 * stride_ + at, x * x + y * y);
      store(products_ + 3 * stride_ + at, x * y);
      l1 += magnitude(x - y) * load(counts_ + at);
    }
    if (counted) l1_of_row_[row] = sum(l1);
    for (int kind = 0; kind < 4; ++kind) {
      const float* from = products_ + size_t(kind) * stride_;
      float* to = ring(means_, kind, row);
      for (int at = 0; at < floats_; at += LANES) store(to + at, filtered_across(from + at, in_.channels));
    }
  }

  // SSIM of one row and its derivatives by the windows' means of x, x^2 and x y.
  void compare(int row, bool counted) {
    fill_counts(row);
    const float* rows[4][WINDOW];
    for (int kind = 0; kind < 4; ++kind) rows_around(means_, kind, row, rows[kind]);
    Floats total = {};
    for (int at = 0; at < floats_; at += LANES) {
      const Floats x = filtered_down(rows[0], at), y = filtered_down(rows[1], at);
      const Floats squares = filtered_down(rows[2], at), product = filtered_down(rows[3], at);
      const Floats xy = x * y, both = x * x + y * y;
      const Floats a1 = 2.0f * xy + C1, a2 = 2.0f * (product - xy) + C2;
      const Floats b1 = both + C1, b2 = squares - both + C2;
      const Floats inverse = 1.0f / (b1 * b2), count = load(counts_ + at);
      const Floats ssim = a1 * a2 * inverse;
      total += ssim * count;
      if (!in_.gradient) continue;
      const Floats over_b2 = ssim * b1 * inverse, over_b1 = ssim * b2 * inverse;
      store(slopes_ + at, count * 2.0f * (y * (a2 - a1) * inverse + x * (over_b2 - over_b1)));
      store(slopes_ + stride_ + at, -count * over_b2);
      store(slopes_ + 2 * stride_ + at, count * 2.0f * a1 * inverse);
    }
    if (counted) ssim_of_row_[row] = sum(total);
    if (in_.gradient) filter_slopes(row);
  }

  void filter_slopes(int row) {
    for (int kind = 0; kind < 3; ++kind) {
      const float* from = slopes_ + size_t(kind) * stride_;
      float* to = ring(filtered_slopes_, kind, row);
      for (int at = 0; at < floats_; at += LANES) store(to + at, filtered_across(from + at, in_.channels));
    }
  }

  void write_gradient(int row) {
    fill_counts(row);
    const float* rows[3][WINDOW];
    for (int kind = 0; kind < 3; ++kind) rows_around(filtered_slopes_, kind, row, rows[kind]);
    float* to = in_.gradient + size_t(row) * floats_;
    for (int at = 0; at < floats_; at += LANES) {
      Floats x, y;
      load_pixels(row, at, x, y);
      const Floats by_ssim =
          filtered_down(rows[0], at) + 2.0f * x * filtered_down(rows[1], at) + y * filtered_down(rows[2], at);
      const Floats count = load(counts_ + at), one = splat(1.0f), none = splat(0.0f);
      const Floats sign = select(x > y, one, none) - select(x < y, one, none);
      // A pixel that does not count was replaced: nothing flows to it.
      const Floats result = select(count > 0.0f, in_.l1_factor * count * sign - in_.ssim_factor * by_ssim, none);
      if (at + LANES <= floats_)
        store(to + at, result);
      else
        store_part(to + at, result, floats_ - at);
    }
  }

  const Pictures in_;
  double *l1_of_row_, *ssim_of_row_;
  int floats_, margin_, stride_;
  float *products_, *slopes_, *means_, *filtered_slopes_, *zeros_, *counts_;
};

// Where SSIM plays no part: the sum of absolute differences of a row, and its gradient.
double compare_absolute(const Pictures& in, int row) {
  const size_t start = size_t(row) * in.row_floats();
  double total = 0;
  for (int x = 0; x < in.width; ++x) {
    const float count = in.weights ? in.weights[size_t(row) * in.width + x] : 1.0f;
    float pixel = 0;
    for (int c = 0; c < in.channels; ++c) {
      const size_t at = start + size_t(x) * in.channels + c;
      const float difference = in.picture[at] - in.target[at];
      pixel += std::fabs(difference);
      if (in.gradient) in.gradient[at] = in.l1_factor * count * float((difference > 0) - (difference < 0));
    }
    total += double(count * pixel);
  }
  return total;
}

}  // namespace
}  // namespace talksplat

// sums[0]: sum of count |x - y|; sums[1]: sum of count SSIM (0 without with_ssim). The gradient is that of
// l1_factor sums[0] - ssim_factor sums[1]; null asks for values alone.
TALKSPLAT_EXPORT void ts_l1_ssim(const float* picture, const float* target, const float* weights, int height, int width,
                                 int channels, int with_ssim, float l1_factor, float ssim_factor, float* gradient,
                                 double* sums) {
  using namespace talksplat;
  const Pictures in{picture, target, weights, height, width, channels, l1_factor, ssim_factor, gradient};
  std::vector<double> l1_of_row(height, 0.0), ssim_of_row(height, 0.0);
#pragma omp parallel
  {
    const FlushDenormals flush;
    const int threads = omp_get_num_threads(), thread = omp_get_thread_num();
    const int first = int(int64_t(height) * thread / threads), last = int(int64_t(height) * (thread + 1) / threads);
    if (!with_ssim)
      for (int row = first; row < last; ++row) l1_of_row[row] = compare_absolute(in, row);
    else if (first < last)
      Band(in, l1_of_row.data(), ssim_of_row.data()).run(first, last);
  }
  sums[0] = sums[1] = 0;
  for (int row = 0; row < height; ++row) {
    sums[0] += l1_of_row[row];
    sums[1] += ssim_of_row[row];
  }
}
