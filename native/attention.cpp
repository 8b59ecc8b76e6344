// Attention of many points to a few tokens with the residual and its layer norm, each way in one pass.
// The tokens' products with the projections come folded: a matrix that turns a point into scores, one for each token
// of each head, and the rows that answers mix. Scores have a point's tokens in lanes, everything else its channels.
// The backward pass computes again what the norm saw. Gradients of what all points share are summed by thread and
// then in the threads' order: they repeat bit for bit with the same number of threads.
#include <omp.h>

#include <algorithm>
#include <vector>

#include "denormals.h"
#include "exported.h"
#include "layer_norm.h"
#include "simd.h"

namespace talksplat {
namespace {

constexpr int MOST_ROWS = 32;  // Heads x tokens; native.py knows it as MOST_SCORES.
constexpr int TOGETHER = 4;    // Points whose sums run at once: the multiply-adds of one wait for each other.
constexpr int TALL = 8;        // Rows of a sum over points that the registers hold.

static_assert(NORM_BLOCK % TOGETHER == 0 && MOST_ROWS % TALL == 0);

constexpr int padded(int rows, int to) { return (rows + to - 1) / to * to; }

// Rows of whole vectors, zeros behind: `tall` of `rows` floats.
std::vector<float> widened(const float* from, int tall, int rows) {
  const int step = padded(rows, LANES);
  std::vector<float> wide(size_t(tall) * step, 0.0f);
  for (int at = 0; at < tall; ++at) std::copy_n(from + at * rows, rows, wide.data() + at * step);
  return wide;
}

std::vector<float> transposed(const float* from, int rows, int columns) {
  std::vector<float> turned(size_t(rows) * columns);
  for (int row = 0; row < rows; ++row)
    for (int column = 0; column < columns; ++column) turned[column * rows + row] = from[row * columns + column];
  return turned;
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

// Products of `count` points, at most TOGETHER, with columns `step` floats wide, plus bias.
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

// to = from + bias + factors table for `count` points, at most TOGETHER; bias may be null.
inline void mix(const float* from, int count, int width, const float* bias, const float (*factors)[MOST_ROWS],
                const float* table, int rows, float* to) {
  for (int at = 0; at < width; at += LANES) {
    const Floats start = bias ? load(bias + at) : Floats{};
    Floats sums[TOGETHER];
    for (int point = 0; point < TOGETHER; ++point) sums[point] = load(from + (point < count ? point : 0) * width + at);
    for (int point = 0; point < TOGETHER; ++point) sums[point] += start;
    for (int row = 0; row < rows; ++row) {
      const Floats entry = load(table + row * width + at);
      for (int point = 0; point < TOGETHER; ++point) sums[point] += factors[point][row] * entry;
    }
    for (int point = 0; point < count; ++point) store(to + point * width + at, sums[point]);
  }
}

// Scores' gradients, in place of those of the shares.
inline void shares_backward(const float* shares, int heads, int tokens, float* slopes) {
  for (int head = 0; head < heads; ++head) {
    const float* mine = shares + head * tokens;
    float *slope = slopes + head * tokens, usual = 0;
    for (int token = 0; token < tokens; ++token) usual += mine[token] * slope[token];
    for (int token = 0; token < tokens; ++token) slope[token] = mine[token] * (slope[token] - usual);
  }
}

// to(row, :) += sum over `count` points of left(point, row) right(point, :); a multiple of TALL rows.
inline void add_products(const float (*left)[MOST_ROWS], int rows, const float* right, int count, int width,
                         float* to) {
  for (int row = 0; row < rows; row += TALL)
    for (int at = 0; at < width; at += LANES) {
      Floats sums[TALL];
      for (int i = 0; i < TALL; ++i) sums[i] = load(to + (row + i) * width + at);
      for (int point = 0; point < count; ++point) {
        const Floats value = load(right + point * width + at);
        for (int i = 0; i < TALL; ++i) sums[i] += left[point][row + i] * value;
      }
      for (int i = 0; i < TALL; ++i) store(to + (row + i) * width + at, sums[i]);
    }
}

// What all points share.
struct Shared {
  int width, heads, tokens, rows, step;
  const float *answers, *answer_bias, *gain;
  float epsilon;
  std::vector<float> answers_t, questions_t, nothing;
};

// One thread's gradients of questions (rows x width here), their bias and answers.
struct TokenSums {
  std::vector<float> questions, bias, answers;
  explicit TokenSums(const Shared& all)
      : questions(size_t(padded(all.rows, TALL)) * all.width, 0.0f), bias(all.rows, 0.0f), answers(questions) {}
};

// A thread's memory for one block: what normalize_backward makes, shares and the scores' gradients.
struct Block {
  std::vector<float> normal, by_sums;
  float shares[NORM_BLOCK][MOST_ROWS] = {}, slopes[NORM_BLOCK][MOST_ROWS] = {};
  explicit Block(int width) : normal(size_t(NORM_BLOCK) * width), by_sums(normal) {}
};

// `points`, `shares`, `slopes` and `by_points` (or null) begin at the block, which has `count` points.
void block_backward(const Shared& all, const float* points, const float* shares, const float* slopes, int count,
                    Block& block, TokenSums& sums, NormSums& norm, float* by_points) {
  const int width = all.width, rows = all.rows;
  float *normal = block.normal.data(), *by_sums = block.by_sums.data();
  for (int point = 0; point < count; ++point)
    for (int row = 0; row < rows; ++row) block.shares[point][row] = shares[point * rows + row];
  for (int first = 0; first < count; first += TOGETHER) {
    const int here = std::min(TOGETHER, count - first), at = first * width;
    mix(points + at, here, width, all.answer_bias, block.shares + first, all.answers, rows, normal + at);
    for (int point = first; point < first + here; ++point)
      normalize_backward(slopes + point * width, width, all.gain, all.epsilon, normal + point * width,
                         by_sums + point * width);
    score(by_sums + at, here, width, all.answers_t.data(), all.nothing.data(), all.step, block.slopes + first);
    for (int point = first; point < first + here; ++point) {
      shares_backward(block.shares[point], all.heads, all.tokens, block.slopes[point]);
      for (int row = 0; row < rows; ++row) sums.bias[row] += block.slopes[point][row];
    }
    if (by_points)
      mix(by_sums + at, here, width, nullptr, block.slopes + first, all.questions_t.data(), rows, by_points + at);
  }
  norm.add(slopes, by_sums, normal, count, width);
  add_products(block.shares, rows, by_sums, count, width, sums.answers.data());
  add_products(block.slopes, rows, points, count, width, sums.questions.data());
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
  const int rows = heads * tokens, step = padded(rows, LANES);
  const std::vector<float> wide = widened(questions, width, rows), wide_bias = widened(bias, 1, rows);
#pragma omp parallel
  {
    const FlushDenormals flush;
#pragma omp for schedule(static)
    for (int64_t first = 0; first < count; first += TOGETHER) {
      float scores[TOGETHER][MOST_ROWS];
      const int here = int(count - first < TOGETHER ? count - first : TOGETHER);
      score(points + first * width, here, width, wide.data(), wide_bias.data(), step, scores);
      for (int point = 0; point < here; ++point) shares_of(scores[point], heads, tokens);
      mix(points + first * width, here, width, answer_bias, scores, answers, rows, heard + first * width);
      for (int point = 0; point < here; ++point) {
        normalize(heard + (first + point) * width, width, gain, shift, epsilon);
        for (int row = 0; row < rows; ++row) shares[(first + point) * rows + row] = scores[point][row];
      }
    }
  }
}

// Gradients for the slopes of `heard`, from the shares that were found. All are overwritten; by_points may be null.
TALKSPLAT_EXPORT void ts_attend_backward(const float* points, int64_t count, int width, int heads, int tokens,
                                         const float* questions, const float* answers, const float* answer_bias,
                                         const float* gain, float epsilon, const float* shares, const float* slopes,
                                         float* by_points, float* by_questions, float* by_bias, float* by_answers,
                                         float* by_answer_bias, float* by_gain, float* by_shift) {
  using namespace talksplat;
  const int rows = heads * tokens, step = padded(rows, LANES);
  const Shared all{width, heads, tokens, rows, step, answers, answer_bias, gain, epsilon,
                   widened(transposed(answers, rows, width).data(), width, rows), transposed(questions, width, rows),
                   std::vector<float>(step, 0.0f)};
  std::vector<TokenSums> sums(omp_get_max_threads(), TokenSums(all));
  std::vector<NormSums> norms(sums.size(), NormSums(width));
#pragma omp parallel
  {
    const FlushDenormals flush;
    const int thread = omp_get_thread_num();
    Block block(width);
#pragma omp for schedule(static)
    for (int64_t first = 0; first < count; first += NORM_BLOCK) {
      const int64_t at = first * width;
      block_backward(all, points + at, shares + first * rows, slopes + at,
                     int(std::min<int64_t>(NORM_BLOCK, count - first)), block, sums[thread], norms[thread],
                     by_points ? by_points + at : nullptr);
    }
  }
  std::vector<float> turned(size_t(rows) * width);
  gather(sums, &TokenSums::questions, turned.size(), turned.data());
  std::copy_n(transposed(turned.data(), rows, width).data(), turned.size(), by_questions);
  gather(sums, &TokenSums::bias, rows, by_bias);
  gather(sums, &TokenSums::answers, turned.size(), by_answers);
  gather_norm(norms, width, by_answer_bias, by_gain, by_shift);
}
