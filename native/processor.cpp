// What this processor can run, and how fast its multiply-add units are.
#include <chrono>

#if defined(__x86_64__) && defined(__linux__)
#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif

#include "exported.h"
#include "simd.h"

namespace {

// Whether the processor has AMX for bfloat16 and the system lets this process use its registers: it must be asked.
bool has_tiles() {
#if defined(__x86_64__) && defined(__linux__)
  constexpr int REQUEST_PERMISSION = 0x1023, TILE_DATA = 18;
  unsigned a = 0, b = 0, c = 0, d = 0;
  if (!__get_cpuid_count(7, 0, &a, &b, &c, &d) || !(d >> 22 & 1) || !(d >> 24 & 1)) return false;  // AMX-BF16, -TILE
  if (!__get_cpuid_count(7, 1, &a, &b, &c, &d) || !(a >> 5 & 1)) return false;                     // AVX512_BF16
  return syscall(SYS_arch_prctl, REQUEST_PERMISSION, TILE_DATA) == 0;
#else
  return false;
#endif
}

}  // namespace

// The widest library that runs here: 0 portable, 3 x86-64-v3, 4 x86-64-v4, 5 that with AMX.
TALKSPLAT_EXPORT int ts_cpu_level() {
#if defined(__x86_64__)
  __builtin_cpu_init();
  const bool v3 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("bmi") &&
                  __builtin_cpu_supports("bmi2");
  const bool v4 = v3 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                  __builtin_cpu_supports("avx512cd") && __builtin_cpu_supports("avx512dq") &&
                  __builtin_cpu_supports("avx512vl");
  return v4 && has_tiles() ? 5 : v4 ? 4 : v3 ? 3 : 0;
#else
  return 0;
#endif
}

// Floats in one vector of this library.
TALKSPLAT_EXPORT int ts_lanes() { return talksplat::LANES; }

// Multiply-adds of one core, in GFLOP/s (two operations each): twelve independent chains hide the latency.
TALKSPLAT_EXPORT double ts_multiply_add_rate(double seconds) {
  using namespace talksplat;
  using Clock = std::chrono::steady_clock;
  constexpr int CHAINS = 12, ROUNDS = 4096;
  Floats chains[CHAINS];
  for (int i = 0; i < CHAINS; ++i) chains[i] = splat(0.1f * float(i));
  Floats factor = splat(0.999f), addend = splat(0.001f);
  double best = 0;
  const auto start = Clock::now();
  while (std::chrono::duration<double>(Clock::now() - start).count() < seconds) {
    const auto begin = Clock::now();
    for (int round = 0; round < ROUNDS; ++round) {
#pragma GCC unroll 12
      for (int i = 0; i < CHAINS; ++i) chains[i] = chains[i] * factor + addend;
    }
    const double taken = std::chrono::duration<double>(Clock::now() - begin).count();
    const double rate = 2.0 * LANES * CHAINS * ROUNDS / taken * 1e-9;
    best = rate > best ? rate : best;
  }
  Floats total = {};
  for (int i = 0; i < CHAINS; ++i) total += chains[i];
  volatile float sink = sum(total);
  (void)sink;
  return best;
}
