// Every scoring method that needs no trained gate, against its definition in double.
#include "src/sparse/block_scorer.h"

#include <cmath>
#include <functional>

#include <gtest/gtest.h>

#include "tests/sparse/layer_problem.h"

namespace seer::test {
namespace {

using Kind = ScoringMethod::Kind;
using P = LayerProblem;
using Score = std::function<double(int64_t head, int64_t i, int64_t j)>;

void expect_scores(const std::vector<float>& actual, const Score& expected, double tolerance) {
  ASSERT_EQ(actual.size(), P::at(P::kHeads, 0, 0));
  for (int64_t head = 0; head < P::kHeads; ++head) {
    for (int64_t i = 0; i < P::kBlocks; ++i) {
      for (int64_t j = 0; j <= i; ++j) {
        ASSERT_NEAR(actual[P::at(head, i, j)], expected(head, i, j), tolerance)
            << "head " << head << ", row " << i << ", block " << j;
      }
    }
  }
}

const double kScale = 1.0 / std::sqrt(static_cast<double>(P::kDim));

TEST(BlockScorer, MeanPooledIsTheMeanQueryTimesTheMeanKey) {
  P problem(1);
  const auto expected = [&](int64_t head, int64_t i, int64_t j) {
    double sum = 0;
    for (int64_t t = P::begin(j); t < P::end(j); ++t) {
      for (int64_t e = 0; e < P::kDim; ++e) sum += problem.mean_query(i, head, e) * problem.k(t, head, e);
    }
    return kScale * sum / static_cast<double>(P::end(j) - P::begin(j));
  };
  expect_scores(problem.scores({.kind = Kind::kMeanPooled}), expected, problem.tolerance(1e-5));
}

TEST(BlockScorer, MinMaxIsTheLargestProductWithinTheKeysBounds) {
  P problem(2);
  const std::vector<float> scores = problem.scores({.kind = Kind::kMinMaxBound});
  const auto expected = [&](int64_t head, int64_t i, int64_t j) {
    double sum = 0;
    for (int64_t e = 0; e < P::kDim; ++e) {
      double largest = -1e300;
      for (int64_t t = P::begin(j); t < P::end(j); ++t)
        largest = std::max(largest, problem.mean_query(i, head, e) * problem.k(t, head, e));
      sum += largest;
    }
    return kScale * sum;
  };
  expect_scores(scores, expected, problem.tolerance(2e-5));
  // A bound, then, of the product with any key of the block.
  for (int64_t head = 0; head < P::kHeads; ++head) {
    for (int64_t i = 0; i < P::kBlocks; ++i) {
      for (int64_t t = 0; t < P::end(i); ++t) {
        double product = 0;
        for (int64_t e = 0; e < P::kDim; ++e)
          product += problem.mean_query(i, head, e) * problem.k(t, head, e);
        ASSERT_LE(kScale * product, scores[P::at(head, i, t / P::kBlock)] + problem.tolerance(2e-5));
      }
    }
  }
}

TEST(BlockScorer, OracleIsTheGroundTruth) {
  P problem(3);
  // M[i, j]: the largest attention of tile (i, j); T is M over its row's sum.
  const auto maxima = [&](int64_t head, int64_t i) {
    std::vector<double> row(i + 1, 0.0);
    for (int64_t t = P::begin(i); t < P::end(i); ++t) {
      std::vector<double> a(t + 1);
      double largest = -1e300;
      for (int64_t s = 0; s <= t; ++s) largest = std::max(largest, a[s] = kScale * problem.dot(t, s, head));
      double sum = 0;
      for (double& x : a) sum += x = std::exp(x - largest);
      for (int64_t s = 0; s <= t; ++s) row[s / P::kBlock] = std::max(row[s / P::kBlock], a[s] / sum);
    }
    return row;
  };
  const std::vector<float> actual = problem.scores({.kind = Kind::kOracle});
  for (int64_t head = 0; head < P::kHeads; ++head) {
    for (int64_t i = 0; i < P::kBlocks; ++i) {
      const std::vector<double> row = maxima(head, i);
      double sum = 0;
      for (const double m : row) sum += m;
      for (int64_t j = 0; j <= i; ++j)
        ASSERT_NEAR(actual[P::at(head, i, j)], row[j] / sum, problem.tolerance(1e-5))
            << head << " " << i << " " << j;
    }
  }
}

/// AntidiagonalArgs, src/ops/sparse_args.h. Tokens behind the sequence are zero vectors.
std::vector<double> antidiagonal_row(const P& problem, int64_t stride, int64_t head, int64_t i) {
  std::vector<double> scores(i + 1, 0.0);
  for (int64_t a = i * P::kBlock / stride; a * stride < P::end(i); ++a) {
    std::vector<double> x(a + 1, 0.0);
    double largest = -1e300;
    for (int64_t c = 0; c <= a; ++c) {
      for (int64_t t = 0; t < stride; ++t) {
        const int64_t query = a * stride + stride - 1 - t;
        const int64_t key = c * stride + t;
        if (query < P::kTokens && key < P::kTokens) x[c] += problem.dot(query, key, head);
      }
      x[c] *= kScale / static_cast<double>(stride);
      largest = std::max(largest, x[c]);
    }
    double sum = 0;
    for (double& p : x) sum += p = std::exp(p - largest);
    for (int64_t c = 0; c <= a; ++c) scores[c * stride / P::kBlock] += x[c] / sum;
  }
  return scores;
}

TEST(BlockScorer, AntidiagonalSamplesTheAttention) {
  P problem(4);
  for (const int64_t stride : {8, 16}) {
    const std::vector<float> actual = problem.scores({.kind = Kind::kAntidiagonal, .stride = stride});
    for (int64_t head = 0; head < P::kHeads; ++head) {
      for (int64_t i = 0; i < P::kBlocks; ++i) {
        const std::vector<double> row = antidiagonal_row(problem, stride, head, i);
        for (int64_t j = 0; j <= i; ++j)
          ASSERT_NEAR(actual[P::at(head, i, j)], row[j], problem.tolerance(1e-5))
              << stride << ": " << i << " " << j;
      }
    }
  }
}

TEST(BlockScorer, WindowPrefersTheFirstBlockThenTheNearest) {
  P problem(5);
  const std::vector<float> scores = problem.scores({.kind = Kind::kWindow});
  for (int64_t head = 0; head < P::kHeads; ++head) {
    for (int64_t i = 1; i < P::kBlocks; ++i) {
      EXPECT_GT(scores[P::at(head, i, 0)], scores[P::at(head, i, i)]);
      for (int64_t j = 2; j <= i; ++j) EXPECT_GT(scores[P::at(head, i, j)], scores[P::at(head, i, j - 1)]);
    }
  }
}

TEST(BlockScorer, RandomScoresDependOnSeedAndLayerAlone) {
  P problem(6);
  const auto draw = [&](uint64_t seed, int64_t layer) {
    return problem.scores({.kind = Kind::kRandom, .seed = seed}, layer);
  };
  const std::vector<float> scores = draw(1, 0);
  EXPECT_EQ(scores, draw(1, 0));
  EXPECT_EQ(scores, P(7).scores({.kind = Kind::kRandom, .seed = 1}));
  EXPECT_NE(scores, draw(2, 0));
  EXPECT_NE(scores, draw(1, 1));
  double sum = 0;
  for (const float score : scores) {
    ASSERT_TRUE(score >= 0 && score < 1) << score;
    sum += score;
  }
  const auto count = static_cast<double>(scores.size());
  EXPECT_NEAR(sum / count, 0.5, 4 * std::sqrt(1 / (12 * count)));
  const auto heads = static_cast<std::ptrdiff_t>(P::at(1, 0, 0));
  EXPECT_NE(std::vector<float>(scores.begin(), scores.begin() + heads),
            std::vector<float>(scores.begin() + heads, scores.begin() + 2 * heads));
}

TEST(BlockScorer, RangesOfHeadsScoreAsAllAtOnce) {
  P problem(8);
  for (const std::string& name : scoring_method_names()) {
    if (name == "gate") continue;
    const ScoringMethod method = parse_scoring_method(name);
    EXPECT_EQ(problem.scores(method), problem.scores(method, 0, 2)) << name;
  }
}

TEST(BlockScorer, AGateThatIsNotThereIsRefused) {
  P problem(9);
  EXPECT_THROW((void)problem.scores({.kind = Kind::kGate}), Error);
}

}  // namespace
}  // namespace seer::test
