// Vectors of TALKSPLAT_LANES floats by the compiler's vector extensions: arithmetic, comparison and ?: work on them.
// The width must equal the processor's: wider vectors than registers are spilled and run several times slower.
#pragma once

#include <cstdint>
#include <cstring>
#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace talksplat {

constexpr int LANES = TALKSPLAT_LANES;
static_assert(LANES == 4 || LANES == 8 || LANES == 16, "TALKSPLAT_LANES is 4, 8 or 16");

typedef float Floats __attribute__((vector_size(4 * LANES)));
typedef int32_t Ints __attribute__((vector_size(4 * LANES)));  // Also the type of a comparison: -1 or 0 per lane.

inline Floats load(const float* from) {  // No alignment needed.
  Floats value;
  std::memcpy(&value, from, sizeof value);
  return value;
}
inline void store(float* to, Floats value) { std::memcpy(to, &value, sizeof value); }
inline Floats splat(float value) { return Floats{} + value; }
inline Ints splat(int32_t value) { return Ints{} + value; }
inline Ints bits(Floats value) { return Ints(value); }
inline Floats from_bits(Ints value) { return Floats(value); }
inline Floats to_floats(Ints value) { return __builtin_convertvector(value, Floats); }
inline Ints truncated(Floats value) { return __builtin_convertvector(value, Ints); }

// The first `count` floats, zeros in the other lanes.
inline Floats load_part(const float* from, int count) {
  Floats value = {};
  std::memcpy(&value, from, sizeof(float) * count);
  return value;
}
inline void store_part(float* to, Floats value, int count) { std::memcpy(to, &value, sizeof(float) * count); }

inline Floats select(Ints mask, Floats yes, Floats no) { return mask ? yes : no; }
// a < b ? a : b and a > b ? a : b: the second one where either is NaN. GCC makes three instructions of the operators.
#if TALKSPLAT_LANES == 16 && defined(__AVX512F__)
inline Floats minimum(Floats a, Floats b) { return Floats(_mm512_min_ps(__m512(a), __m512(b))); }
inline Floats maximum(Floats a, Floats b) { return Floats(_mm512_max_ps(__m512(a), __m512(b))); }
#elif TALKSPLAT_LANES == 8 && defined(__AVX2__)
inline Floats minimum(Floats a, Floats b) { return Floats(_mm256_min_ps(__m256(a), __m256(b))); }
inline Floats maximum(Floats a, Floats b) { return Floats(_mm256_max_ps(__m256(a), __m256(b))); }
#elif TALKSPLAT_LANES == 4 && defined(__SSE2__)
inline Floats minimum(Floats a, Floats b) { return Floats(_mm_min_ps(__m128(a), __m128(b))); }
inline Floats maximum(Floats a, Floats b) { return Floats(_mm_max_ps(__m128(a), __m128(b))); }
#else
inline Floats minimum(Floats a, Floats b) { return a < b ? a : b; }
inline Floats maximum(Floats a, Floats b) { return a > b ? a : b; }
#endif
inline Floats minimum(Floats a, float b) { return minimum(a, splat(b)); }
inline Floats maximum(Floats a, float b) { return maximum(a, splat(b)); }
inline Floats clamped(Floats value, Floats low, Floats high) { return minimum(maximum(value, low), high); }
inline Floats magnitude(Floats value) { return from_bits(bits(value) & 0x7fffffff); }

inline Floats lane_numbers() {
  Floats value = {};
  for (int lane = 0; lane < LANES; ++lane) value[lane] = float(lane);
  return value;
}

inline Floats square_root(Floats value) {
#if TALKSPLAT_LANES == 16 && defined(__AVX512F__)
  return Floats(_mm512_sqrt_ps(__m512(value)));
#elif TALKSPLAT_LANES == 8 && defined(__AVX2__)
  return Floats(_mm256_sqrt_ps(__m256(value)));
#elif TALKSPLAT_LANES == 4 && defined(__SSE2__)
  return Floats(_mm_sqrt_ps(__m128(value)));
#else
  for (int lane = 0; lane < LANES; ++lane) value[lane] = __builtin_sqrtf(value[lane]);
  return value;
#endif
}

// 1 / value to about 2e-7: an estimate and one Newton step, three instructions instead of a division's long wait.
inline Floats reciprocal(Floats value) {
#if TALKSPLAT_LANES == 16 && defined(__AVX512F__)
  const Floats guess = Floats(_mm512_rcp14_ps(__m512(value)));
  return guess * (2.0f - value * guess);
#elif TALKSPLAT_LANES == 8 && defined(__AVX2__)
  const Floats guess = Floats(_mm256_rcp_ps(__m256(value)));
  return guess * (2.0f - value * guess);
#else
  return 1.0f / value;
#endif
}

// Bit i is set where a >= b in lane i.
inline uint32_t at_least(Floats a, Floats b) {
#if TALKSPLAT_LANES == 16 && defined(__AVX512F__)
  return _mm512_cmp_ps_mask(__m512(a), __m512(b), _CMP_GE_OQ);
#elif TALKSPLAT_LANES == 8 && defined(__AVX2__)
  const Ints mask = a >= b;
  return uint32_t(_mm256_movemask_ps(__m256(mask)));
#elif TALKSPLAT_LANES == 4 && defined(__SSE2__)
  const Ints mask = a >= b;
  return uint32_t(_mm_movemask_ps(__m128(mask)));
#else
  const Ints mask = a >= b;
  uint32_t result = 0;
  for (int lane = 0; lane < LANES; ++lane) result |= uint32_t(mask[lane] & 1) << lane;
  return result;
#endif
}

// `value` where a >= b, else 0.
inline Floats where_at_least(Floats a, Floats b, Floats value) {
#if TALKSPLAT_LANES == 16 && defined(__AVX512F__)
  return Floats(_mm512_maskz_mov_ps(at_least(a, b), __m512(value)));
#else
  return from_bits(bits(value) & (a >= b));
#endif
}

// 2^f for f in [0, 1): minimax polynomial of degree 5, relative error 2e-7.
inline Floats exp2_fraction(Floats f) {
  Floats p = splat(1.8775767e-3f);
  p = p * f + 8.9893397e-3f;
  p = p * f + 5.5826318e-2f;
  p = p * f + 2.4015361e-1f;
  p = p * f + 6.9315308e-1f;
  return p * f + 9.9999993e-1f;
}

// 2^x to a relative 2e-7; below 2^-126 it returns 0 or nearly so, above 2^127 it saturates.
inline Floats exp2(Floats x) {
#if TALKSPLAT_LANES == 16 && defined(__AVX512DQ__)
  const __m512 wide = __m512(x);
  const Floats fraction = Floats(_mm512_reduce_ps(wide, _MM_FROUND_TO_NEG_INF));
  return Floats(_mm512_scalef_ps(__m512(exp2_fraction(fraction)), wide));
#else
  x = clamped(x, splat(-126.0f), splat(127.99f));
  const Ints biased = truncated(x + 127.0f);  // Positive, so truncation rounds down.
  return exp2_fraction(x - to_floats(biased - 127)) * from_bits(biased << 23);
#endif
}

// 2^x for x up to a little above 0, to a relative 2e-7 for -126 < x <= 0; below that some number, perhaps NaN.
inline Floats exp2_of_negative(Floats x) {
#if TALKSPLAT_LANES == 16 && defined(__AVX512DQ__)
  return exp2(x);
#else
  const Ints above = truncated(x);  // Rounds up, so the rest lies in (-1, 0]: half the polynomial one further on.
  const Floats rest = x - to_floats(above);
  return exp2_fraction(rest + 1.0f) * from_bits((above << 23) + 0x3f000000);
#endif
}
inline Floats exp(Floats x) { return exp2(x * 1.44269504f); }

// log2 of positive normal numbers to an absolute 3e-7.
inline Floats log2(Floats x) {
  const Ints exponent = ((bits(x) - 0x3f3504f3) >> 23);  // Splits at sqrt(1/2), so that the mantissa surrounds 1.
  const Floats m = from_bits(bits(x) - (exponent << 23));
  const Floats t = (m - 1.0f) / (m + 1.0f), u = t * t;   // log2 m = 2/ln 2 atanh t, |t| < 0.172
  Floats p = splat(2.0f * 1.44269504f / 9.0f);
  p = p * u + 2.0f * 1.44269504f / 7.0f;
  p = p * u + 2.0f * 1.44269504f / 5.0f;
  p = p * u + 2.0f * 1.44269504f / 3.0f;
  p = p * u + 2.0f * 1.44269504f;
  return p * t + to_floats(exponent);
}
inline Floats log(Floats x) { return log2(x) * 0.693147181f; }
inline Floats sigmoid(Floats x) { return reciprocal(1.0f + exp(clamped(-x, splat(-80.0f), splat(80.0f)))); }
inline Floats tanh(Floats x) { return 2.0f * sigmoid(2.0f * x) - 1.0f; }

#if defined(__clang__) || __GNUC__ >= 12
#define TALKSPLAT_SHUFFLE(a, b, ...) __builtin_shufflevector(a, b, __VA_ARGS__)
#else
#define TALKSPLAT_SHUFFLE(a, b, ...) __builtin_shuffle(a, b, Ints{__VA_ARGS__})
#endif

// Sum of all lanes: halves onto each other, in registers (of a loop over lanes GCC makes a dozen loads and stores).
inline float sum(Floats value) {
#if TALKSPLAT_LANES == 16
  value += TALKSPLAT_SHUFFLE(value, value, 8, 9, 10, 11, 12, 13, 14, 15, 0, 1, 2, 3, 4, 5, 6, 7);
  value += TALKSPLAT_SHUFFLE(value, value, 4, 5, 6, 7, 0, 1, 2, 3, 12, 13, 14, 15, 8, 9, 10, 11);
#elif TALKSPLAT_LANES == 8
  value += TALKSPLAT_SHUFFLE(value, value, 4, 5, 6, 7, 0, 1, 2, 3);
#endif
  const float even = value[0] + value[2], odd = value[1] + value[3];
  return even + odd;
}

// Two rows interleaved within each group of four lanes, by single floats (low, high) or by pairs.
#if TALKSPLAT_LANES == 16
#define TALKSPLAT_GROUPS(p, q, r, s) \
  p, q, r, s, p + 4, q + 4, r + 4, s + 4, p + 8, q + 8, r + 8, s + 8, p + 12, q + 12, r + 12, s + 12
#elif TALKSPLAT_LANES == 8
#define TALKSPLAT_GROUPS(p, q, r, s) p, q, r, s, p + 4, q + 4, r + 4, s + 4
#else
#define TALKSPLAT_GROUPS(p, q, r, s) p, q, r, s
#endif

// Transposes each 4 x 4 block of four rows in place.
inline void transpose_groups(Floats* rows) {
  constexpr int N = LANES;
  const Floats a = TALKSPLAT_SHUFFLE(rows[0], rows[1], TALKSPLAT_GROUPS(0, N, 1, N + 1));
  const Floats b = TALKSPLAT_SHUFFLE(rows[0], rows[1], TALKSPLAT_GROUPS(2, N + 2, 3, N + 3));
  const Floats c = TALKSPLAT_SHUFFLE(rows[2], rows[3], TALKSPLAT_GROUPS(0, N, 1, N + 1));
  const Floats d = TALKSPLAT_SHUFFLE(rows[2], rows[3], TALKSPLAT_GROUPS(2, N + 2, 3, N + 3));
  rows[0] = TALKSPLAT_SHUFFLE(a, c, TALKSPLAT_GROUPS(0, 1, N, N + 1));
  rows[1] = TALKSPLAT_SHUFFLE(a, c, TALKSPLAT_GROUPS(2, 3, N + 2, N + 3));
  rows[2] = TALKSPLAT_SHUFFLE(b, d, TALKSPLAT_GROUPS(0, 1, N, N + 1));
  rows[3] = TALKSPLAT_SHUFFLE(b, d, TALKSPLAT_GROUPS(2, 3, N + 2, N + 3));
}

// rows[i][j] becomes rows[j][i], a square of LANES x LANES in registers.
inline void transpose(Floats* rows) {
  for (int row = 0; row < LANES; row += 4) transpose_groups(rows + row);
#if TALKSPLAT_LANES == 8
  for (int i = 0; i < 4; ++i) {
    const Floats a = rows[i], b = rows[i + 4];
    rows[i] = TALKSPLAT_SHUFFLE(a, b, 0, 1, 2, 3, 8, 9, 10, 11);
    rows[i + 4] = TALKSPLAT_SHUFFLE(a, b, 4, 5, 6, 7, 12, 13, 14, 15);
  }
#elif TALKSPLAT_LANES == 16
  for (int i = 0; i < 4; ++i) {
    const Floats a = rows[i], b = rows[i + 4], c = rows[i + 8], d = rows[i + 12];
    const Floats ab = TALKSPLAT_SHUFFLE(a, b, 0, 1, 2, 3, 8, 9, 10, 11, 16, 17, 18, 19, 24, 25, 26, 27);
    const Floats AB = TALKSPLAT_SHUFFLE(a, b, 4, 5, 6, 7, 12, 13, 14, 15, 20, 21, 22, 23, 28, 29, 30, 31);
    const Floats cd = TALKSPLAT_SHUFFLE(c, d, 0, 1, 2, 3, 8, 9, 10, 11, 16, 17, 18, 19, 24, 25, 26, 27);
    const Floats CD = TALKSPLAT_SHUFFLE(c, d, 4, 5, 6, 7, 12, 13, 14, 15, 20, 21, 22, 23, 28, 29, 30, 31);
    rows[i] = TALKSPLAT_SHUFFLE(ab, cd, 0, 1, 2, 3, 8, 9, 10, 11, 16, 17, 18, 19, 24, 25, 26, 27);
    rows[i + 8] = TALKSPLAT_SHUFFLE(ab, cd, 4, 5, 6, 7, 12, 13, 14, 15, 20, 21, 22, 23, 28, 29, 30, 31);
    rows[i + 4] = TALKSPLAT_SHUFFLE(AB, CD, 0, 1, 2, 3, 8, 9, 10, 11, 16, 17, 18, 19, 24, 25, 26, 27);
    rows[i + 12] = TALKSPLAT_SHUFFLE(AB, CD, 4, 5, 6, 7, 12, 13, 14, 15, 20, 21, 22, 23, 28, 29, 30, 31);
  }
#endif
}

}  // namespace talksplat
