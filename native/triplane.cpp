// Multi-resolution features on the planes xy, yz and xz, one number a level, looked up bilinearly (lanes = points).
//
// The lookup rule is that of the lineage's grid encoder: u in [0, 1], p = u s + 0.5, corners floor(p) and floor(p) + 1,
// entry i0 + i1 (N + 1), or a hash of (i0, i1) where a level has more corners than entries.
#include <omp.h>

#include <algorithm>
#include <vector>

#include "denormals.h"
#include "exported.h"
#include "simd.h"

namespace talksplat {
namespace {

constexpr int PLANES = 3;
constexpr int FIRST_AXIS[PLANES] = {0, 1, 0}, SECOND_AXIS[PLANES] = {1, 2, 2};
constexpr uint32_t HASH_PRIME = 2654435761u;
constexpr int BLOCK = 256;  // Points that a thread takes through all its levels while they are in the nearest cache.

inline Floats gather(const float* table, Ints index) {
#if TALKSPLAT_LANES == 16 && defined(__AVX512F__)
  // The masked form: GCC 12 takes the plain one's empty operand for an uninitialised variable.
  return reinterpret_cast<Floats>(
      _mm512_mask_i32gather_ps(_mm512_setzero_ps(), 0xffff, reinterpret_cast<__m512i>(index), table, 4));
#elif TALKSPLAT_LANES == 8 && defined(__AVX2__)
  return reinterpret_cast<Floats>(_mm256_i32gather_ps(table, reinterpret_cast<__m256i>(index), 4));
#else
  Floats value;
  for (int lane = 0; lane < LANES; ++lane) value[lane] = table[index[lane]];
  return value;
#endif
}

struct Grid {
  int levels, entries;      // entries: of all levels of one plane
  const float* scales;      // s of each level
  const int32_t* strides;   // N + 1 of each level
  const int32_t* offsets;   // First entry of each level in its plane
  const int32_t* lengths;   // Entries of each level
  const float* inverse_extents;  // 1 / (2 b) of each axis
  int channels() const { return PLANES * levels; }
};

// Coordinates in [0, 1] of LANES points, and which points lie inside along each axis (all bits set or none).
struct Place {
  Floats u[3];
  Ints inside[3];
};

inline Place place_of(const float* positions, int64_t first, int64_t points, const float* inverse_extents) {
  Place place;
  for (int axis = 0; axis < 3; ++axis) {
    Floats x = splat(2.0f) / inverse_extents[axis];  // Lanes beyond the last point lie outside.
    const int count = int(std::min<int64_t>(LANES, points - first));
    for (int lane = 0; lane < count; ++lane) x[lane] = positions[3 * (first + lane) + axis];
    const Floats u = x * inverse_extents[axis] + 0.5f;
    place.inside[axis] = (u >= 0.0f) & (u <= 1.0f);  // False for NaN.
    place.u[axis] = from_bits(bits(u) & place.inside[axis]);
  }
  return place;
}

// The four corners of one level around LANES points.
struct Corners {
  Floats f0, f1;  // Fractions along the two axes.
  bool dense;     // Corners that differ along the first axis are neighbours in the table.
  Ints near_near, near_far;
  Ints far_near, far_far;  // Only where hashed.
};

inline Corners corners_of(const Grid& grid, int level, Floats u0, Floats u1) {
  const Floats p0 = u0 * grid.scales[level] + 0.5f, p1 = u1 * grid.scales[level] + 0.5f;
  const Ints i0 = truncated(p0), i1 = truncated(p1);
  Corners corners;
  corners.f0 = p0 - to_floats(i0);
  corners.f1 = p1 - to_floats(i1);
  const int32_t stride = grid.strides[level], length = grid.lengths[level];
  corners.dense = int64_t(stride) * stride <= length;
  if (corners.dense) {
    corners.near_near = i0 + i1 * stride;
    corners.near_far = corners.near_near + stride;
  } else {  // A hashed level's length is a power of two.
    const int32_t mask = length - 1, prime = int32_t(HASH_PRIME);
    const Ints near = i1 * prime, far = near + prime;
    corners.near_near = (i0 ^ near) & mask;
    corners.far_near = ((i0 + 1) ^ near) & mask;
    corners.near_far = (i0 ^ far) & mask;
    corners.far_far = ((i0 + 1) ^ far) & mask;
  }
  return corners;
}

struct Values {
  Floats near_near, far_near, near_far, far_far;
};

// table[index] and table[index + 1] in one access each.
inline void gather_pairs(const float* table, Ints index, Floats& near, Floats& far) {
#if TALKSPLAT_LANES == 16 && defined(__AVX512F__)
  const __m512i wide = reinterpret_cast<__m512i>(index);
  const __m512d zero = _mm512_setzero_pd();
  const Floats low = reinterpret_cast<Floats>(
      _mm512_mask_i32gather_pd(zero, 0xff, _mm512_castsi512_si256(wide), table, 4));
  const Floats high = reinterpret_cast<Floats>(
      _mm512_mask_i32gather_pd(zero, 0xff, _mm512_extracti64x4_epi64(wide, 1), table, 4));
  near = TALKSPLAT_SHUFFLE(low, high, 0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
  far = TALKSPLAT_SHUFFLE(low, high, 1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31);
#elif TALKSPLAT_LANES == 8 && defined(__AVX2__)
  const __m256i wide = reinterpret_cast<__m256i>(index);
  const double* from = reinterpret_cast<const double*>(table);
  const Floats low = reinterpret_cast<Floats>(_mm256_i32gather_pd(from, _mm256_castsi256_si128(wide), 4));
  const Floats high = reinterpret_cast<Floats>(_mm256_i32gather_pd(from, _mm256_extracti128_si256(wide, 1), 4));
  near = TALKSPLAT_SHUFFLE(low, high, 0, 2, 4, 6, 8, 10, 12, 14);
  far = TALKSPLAT_SHUFFLE(low, high, 1, 3, 5, 7, 9, 11, 13, 15);
#else
  near = gather(table, index), far = gather(table + 1, index);
#endif
}

inline Values values_of(const float* table, const Corners& corners) {
  Values values;
  if (corners.dense) {
    gather_pairs(table, corners.near_near, values.near_near, values.far_near);
    gather_pairs(table, corners.near_far, values.near_far, values.far_far);
  } else {
    values = {gather(table, corners.near_near), gather(table, corners.far_near), gather(table, corners.near_far),
              gather(table, corners.far_far)};
  }
  return values;
}

// LANES columns of up to LANES rows of a row-major table: rows[c] holds column `column + c`.
inline void load_columns(const float* from, int row_length, int rows, int columns, Floats* to) {
  for (int row = 0; row < LANES; ++row)
    to[row] = row >= rows ? Floats{} : columns == LANES ? load(from + int64_t(row) * row_length)
                                                       : load_part(from + int64_t(row) * row_length, columns);
  transpose(to);
}

inline void store_columns(float* to, int row_length, int rows, int columns, Floats* from) {
  transpose(from);
  for (int row = 0; row < rows; ++row) {
    if (columns == LANES)
      store(to + int64_t(row) * row_length, from[row]);
    else
      store_part(to + int64_t(row) * row_length, from[row], columns);
  }
}

inline Floats looked_up(const Grid& grid, const float* tables, int channel, const Place& place) {
  const int plane = channel / grid.levels, level = channel % grid.levels;
  const int first = FIRST_AXIS[plane], second = SECOND_AXIS[plane];
  const Corners at = corners_of(grid, level, place.u[first], place.u[second]);
  const Values v = values_of(tables + int64_t(plane) * grid.entries + grid.offsets[level], at);
  const Floats low = v.near_near + at.f0 * (v.far_near - v.near_near);
  const Floats high = v.near_far + at.f0 * (v.far_far - v.near_far);
  return from_bits(bits(low + at.f1 * (high - low)) & place.inside[first] & place.inside[second]);
}

void look_up(const Grid& grid, const float* tables, const float* positions, int64_t points, int64_t first,
             float* features) {
  const Place place = place_of(positions, first, points, grid.inverse_extents);
  const int channels = grid.channels(), rows = int(std::min<int64_t>(LANES, points - first));
  Floats group[LANES];
  for (int start = 0; start < channels;) {
    // The last group overlaps the one before, so that whole vectors are stored.
    const int begin = channels >= LANES ? std::min(start, channels - LANES) : 0;
    const int count = std::min(LANES, channels - begin);
    for (int c = 0; c < count; ++c) group[c] = looked_up(grid, tables, begin + c, place);
    store_columns(features + first * channels + begin, channels, rows, count, group);
    start = begin + count;
  }
}

typedef float Pair __attribute__((vector_size(8)));

// What LANES points add to the tables of up to LANES channels. It is written point by point, all channels of one point
// before the next: neighbouring points often share a corner, and adding to one number twice in a row waits each time.
class Shares {
 public:
  void add(const Corners& at, int32_t offset, Floats gradient) {
    const Floats high = gradient * at.f1, low = gradient - high;
    const Floats low_far = low * at.f0, high_far = high * at.f0;
    const Floats low_near = low - low_far, high_near = high - high_far;
    if (at.dense) {
      add_pair(at.near_near + offset, low_near, low_far);
      add_pair(at.near_far + offset, high_near, high_far);
    } else {
      add_single(at.near_near + offset, low_near);
      add_single(at.far_near + offset, low_far);
      add_single(at.near_far + offset, high_near);
      add_single(at.far_far + offset, high_far);
    }
  }

  void write(float* tables) {
    // Keeps the compiler from taking lanes out of registers one by one, which is slower than loading them.
    asm volatile("" : : "r"(this) : "memory");
    for (int lane = 0; lane < LANES; ++lane) {
      for (int row = 0; row < pairs_; ++row) {
        float* to = tables + pair_indices_[row][lane];
        Pair sum, share;
        std::memcpy(&sum, to, sizeof sum);
        std::memcpy(&share, pair_shares_[row] + 2 * lane, sizeof share);
        sum += share;
        std::memcpy(to, &sum, sizeof sum);
      }
      for (int row = 0; row < singles_; ++row) tables[single_indices_[row][lane]] += single_shares_[row][lane];
    }
    pairs_ = singles_ = 0;
  }

 private:
  void add_pair(Ints index, Floats near, Floats far) {
    std::memcpy(pair_indices_[pairs_], &index, sizeof index);
    float* to = pair_shares_[pairs_++];
#if TALKSPLAT_LANES == 16
    store(to, TALKSPLAT_SHUFFLE(near, far, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23));
    store(to + LANES, TALKSPLAT_SHUFFLE(near, far, 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31));
#elif TALKSPLAT_LANES == 8
    store(to, TALKSPLAT_SHUFFLE(near, far, 0, 8, 1, 9, 2, 10, 3, 11));
    store(to + LANES, TALKSPLAT_SHUFFLE(near, far, 4, 12, 5, 13, 6, 14, 7, 15));
#else
    store(to, TALKSPLAT_SHUFFLE(near, far, 0, 4, 1, 5));
    store(to + LANES, TALKSPLAT_SHUFFLE(near, far, 2, 6, 3, 7));
#endif
  }

  void add_single(Ints index, Floats share) {
    std::memcpy(single_indices_[singles_], &index, sizeof index);
    store(single_shares_[singles_++], share);
  }

  int pairs_ = 0, singles_ = 0;
  alignas(64) int32_t pair_indices_[2 * LANES][LANES];
  alignas(64) float pair_shares_[2 * LANES][2 * LANES];
  alignas(64) int32_t single_indices_[4 * LANES][LANES];
  alignas(64) float single_shares_[4 * LANES][LANES];
};

struct Gradients {
  const float* features;  // points x channels
  float* tables;          // may be null
  float* positions;       // one thread's sums, 3 x padded points; null where not asked for
  int64_t padded;
};

// One channel of LANES points: gradient of its table, and its part of the positions' gradient.
inline void look_back(const Grid& grid, const float* tables, const Gradients& out, int channel, const Place& place,
                      Floats gradient, Shares& shares, Floats* by_u) {
  const int plane = channel / grid.levels, level = channel % grid.levels;
  const int first = FIRST_AXIS[plane], second = SECOND_AXIS[plane];
  gradient = from_bits(bits(gradient) & place.inside[first] & place.inside[second]);
  const Corners at = corners_of(grid, level, place.u[first], place.u[second]);
  const int64_t offset = int64_t(plane) * grid.entries + grid.offsets[level];
  if (out.tables) shares.add(at, int32_t(offset), gradient);
  if (!out.positions) return;
  const Values v = values_of(tables + offset, at);
  const Floats near = v.far_near - v.near_near, far = v.far_far - v.near_far;
  const Floats low = v.near_near + at.f0 * near, high = v.near_far + at.f0 * far;
  const Floats scaled = gradient * grid.scales[level];
  by_u[first] += scaled * (near + at.f1 * (far - near));
  by_u[second] += scaled * (high - low);
}

// The channels [begin, end) of a block of points. A channel's table belongs to one thread: no sums collide.
void look_back_block(const Grid& grid, const float* tables, const float* positions, int64_t points, int64_t block,
                     int begin, int end, const Gradients& out) {
  const int channels = grid.channels();
  const int64_t stop = std::min(points, block + BLOCK);
  Shares shares;
  for (int64_t first = block; first < stop; first += LANES) {
    const Place place = place_of(positions, first, points, grid.inverse_extents);
    const int rows = int(std::min<int64_t>(LANES, points - first));
    Floats group[LANES], by_u[3] = {};
    for (int start = begin; start < end;) {
      const int from = channels >= LANES ? std::min(start, channels - LANES) : 0;
      const int count = std::min(LANES, channels - from);
      load_columns(out.features + first * channels + from, channels, rows, count, group);
      const int until = std::min(end, from + count);
      for (int channel = start; channel < until; ++channel)
        look_back(grid, tables, out, channel, place, group[channel - from], shares, by_u);
      if (out.tables) shares.write(out.tables);
      start = until;
    }
    if (!out.positions) continue;
    for (int axis = 0; axis < 3; ++axis)
      store(out.positions + axis * out.padded + first, by_u[axis] * grid.inverse_extents[axis]);
  }
}

}  // namespace
}  // namespace talksplat

TALKSPLAT_EXPORT void ts_triplane_forward(const float* positions, int64_t points, const float* tables, int levels,
                                          int entries, const float* scales, const int32_t* strides,
                                          const int32_t* offsets, const int32_t* lengths, const float* inverse_extents,
                                          float* features) {
  using namespace talksplat;
  const Grid grid{levels, entries, scales, strides, offsets, lengths, inverse_extents};
#pragma omp parallel for schedule(static)
  for (int64_t first = 0; first < points; first += LANES)
    look_up(grid, tables, positions, points, first, features);
}

// table_gradient (3 x entries) is overwritten; either gradient may be null.
TALKSPLAT_EXPORT void ts_triplane_backward(const float* positions, int64_t points, const float* tables, int levels,
                                           int entries, const float* scales, const int32_t* strides,
                                           const int32_t* offsets, const int32_t* lengths,
                                           const float* inverse_extents, const float* feature_gradient,
                                           float* table_gradient, float* position_gradient) {
  using namespace talksplat;
  const Grid grid{levels, entries, scales, strides, offsets, lengths, inverse_extents};
  const int64_t padded = (points + LANES - 1) / LANES * LANES;
  static thread_local std::vector<float> sums;  // Each thread's part of the positions' gradient; grows only.
  const int most = omp_get_max_threads();
  if (position_gradient) sums.resize(size_t(3 * padded) * most);
  float* const all_sums = sums.data();
#pragma omp parallel num_threads(most)
  {
    const FlushDenormals flush;
    const int threads = omp_get_num_threads(), thread = omp_get_thread_num();
    const int begin = grid.channels() * thread / threads, end = grid.channels() * (thread + 1) / threads;
    if (table_gradient)
      for (int channel = begin; channel < end; ++channel) {
        const int plane = channel / levels, level = channel % levels;
        std::fill_n(table_gradient + int64_t(plane) * entries + offsets[level], lengths[level], 0.0f);
      }
    float* mine = position_gradient ? all_sums + 3 * padded * thread : nullptr;
    const Gradients out{feature_gradient, table_gradient, mine, padded};
    for (int64_t block = 0; block < points; block += BLOCK)
      look_back_block(grid, tables, positions, points, block, begin, end, out);
#pragma omp barrier
#pragma omp for schedule(static)
    for (int64_t point = 0; point < (position_gradient ? points : 0); ++point)
      for (int axis = 0; axis < 3; ++axis) {
        float total = 0;
        for (int other = 0; other < threads; ++other) total += all_sums[3 * padded * other + axis * padded + point];
        position_gradient[3 * point + axis] = total;
      }
  }
}
