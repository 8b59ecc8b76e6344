// Attention of many points to a few tokens, and the layer norm after a residual, each in one pass (inference alone).
// The tokens' products with the projections come folded: a matrix that turns a point into scores, one for each token
// of each head, and the rows that answers mix. Scores have a point's tokens in lanes, everything else its channels.
#include <cmath>
#include <vector>

#include "denormals.h"
#include "exported.h"
#include "simd.h"

namespace talksplat {
namespace {

constexpr int MOST_ROWS = 32;  // Heads x tokens; native.py knows it as MOST_SCORES.
constexpr int TOGETHER = 4;    // Points whose scores are summed at once: the multiply-adds of one wait for each other.

// Layer norm of `count` values in place, a multiple of the lanes (Ba et al., 2016).
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

// Softmax within each of `heads` groups of `tokens` scores.
inline void shares_of(float* scores, int heads, int tokens) {
  const int rows = heads * tokens;
  for (int head = 0; head < heads; ++head) {
    float* mine = scores + head * tokens;
    float most = mine[0];
    for (int token = 1; token < tokens; ++token) most = mine[token] > most ? mine[token] : most;
    for (int token = 0; token < tokens; ++token) mine[token] -= most;
  }
  for (int row = 0; row < rows; row += LANES) store(scores + row, exp(maximum(load(scores + row), splat(-80.0f))));
  for (int head = 0; head < heads; ++head) {
    float* mine = scores + head * tokens;
    float total = 0;
    for (int token = 0; token < tokens; ++token) total += mine[token];
    for (int token = 0; token < tokens; ++token) mine[token] /= total;
  }
}

// Scores of `count` points, at most TOGETHER, to rows of MOST_ROWS floats.
inline void score(const float* points, int count, int width, const float* questions, const float* bias, int step,
                  float (*scores)[MOST_ROWS]) {
  for (int row = 0; row < step; row += LANES) {
    Floats sums[TOGETHER];
    for (int point = 0; point < TOGETHER; ++point) sums[point] = load(bias + row);
    for (int channel = 0; channel < width; ++channel) {
      const Floats asked = load(questions + channel * step + row);
      for (int point = 0; point < TOGETHER; ++point)
        sums[point] += points[(point < count ? point : 0) * width + channel] * asked;
    }
    for (int point = 0; point < count; ++point) store(scores[point] + row, sums[point]);
  }
}

}  // namespace
}  // namespace talksplat

// heard = norm(points + shares answers + answer_bias), shares = softmax by head (points questions + bias).
// points and heard: count x width; questions: width x rows; answers: rows x width; shares: count x rows, with
// rows = heads x tokens, at most 32, and width a multiple of 16.
TALKSPLAT_EXPORT void ts_attend(const float* points, int64_t count, int width, int heads, int tokens,
                                const float* questions, const float* bias, const float* answers,
                                const float* answer_bias, const float* gain, const float* shift, float epsilon,
                                float* heard, float* shares) {
  using namespace talksplat;
  const int rows = heads * tokens, step = (rows + LANES - 1) / LANES * LANES;
  std::vector<float> wide(size_t(width + 1) * step, 0.0f);  // Rows of whole vectors; the last is the bias.
  for (int channel = 0; channel <= width; ++channel)
    for (int row = 0; row < rows; ++row)
      wide[channel * step + row] = channel < width ? questions[channel * rows + row] : bias[row];
#pragma omp parallel
  {
    const FlushDenormals flush;
#pragma omp for schedule(static)
    for (int64_t first = 0; first < count; first += TOGETHER) {
      float scores[TOGETHER][MOST_ROWS];
      const int here = int(count - first < TOGETHER ? count - first : TOGETHER);
      score(points + first * width, here, width, wide.data(), wide.data() + width * step, step, scores);
      for (int point = 0; point < here; ++point) {
        const float* from = points + (first + point) * width;
        float* to = heard + (first + point) * width;
        shares_of(scores[point], heads, tokens);
        for (int at = 0; at < width; at += LANES) {
          Floats value = load(from + at) + load(answer_bias + at);
          for (int row = 0; row < rows; ++row) value += scores[point][row] * load(answers + row * width + at);
          store(to + at, value);
        }
        normalize(to, width, gain, shift, epsilon);
        for (int row = 0; row < rows; ++row) shares[(first + point) * rows + row] = scores[point][row];
      }
    }
  }
}

// values = norm(values + points + bias), count x width each; width is a multiple of 16.
TALKSPLAT_EXPORT void ts_add_norm(const float* points, int64_t count, int width, const float* bias, const float* gain,
                                  const float* shift, float epsilon, float* values) {
  using namespace talksplat;
#pragma omp parallel for schedule(static)
  for (int64_t point = 0; point < count; ++point) {
    float* mine = values + point * width;
    for (int at = 0; at < width; at += LANES)
      store(mine + at, load(mine + at) + load(points + point * width + at) + load(bias + at));
    normalize(mine, width, gain, shift, epsilon);
  }
}
