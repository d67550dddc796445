// Scores: RULER's by hand, LongBench's against what its own packages give (fixtures/README.md).
#include "data/tasks/scoring.h"

#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "data/tasks/longbench_metrics.h"
#include "data/tasks/rouge_l.h"
#include "data/tasks/string_match.h"
#include "src/io/atomic_file.h"
#include "tests/data/tasks/task_files.h"

namespace seer::test {
namespace {

using Json = nlohmann::json;

const Json& vectors() {
  static const Json json =
      Json::parse(read_text_file(source_dir() / "tests/data/tasks/fixtures/longbench_vectors.json"));
  return json;
}

template <typename Metric>
void expect_vectors(const std::string& name, size_t least, const Metric& metric) {
  ASSERT_GE(vectors().at(name).size(), least);
  for (const Json& row : vectors().at(name)) {
    const auto prediction = row.at("prediction").get<std::string>();
    const auto answer = row.at("answer").get<std::string>();
    EXPECT_NEAR(metric(prediction, answer), row.at("score").get<double>(), 1e-12)
        << "prediction " << row.at("prediction") << ", answer " << row.at("answer");
  }
}

TEST(LongBenchMetrics, RougeLAsThePackage) {
  expect_vectors("rouge_l", 60, rouge_l);
}
TEST(LongBenchMetrics, QaF1AsPublished) {
  expect_vectors("qa_f1", 40, qa_f1);
}
TEST(LongBenchMetrics, CodeSimilarityAsThePackage) {
  expect_vectors("code_similarity", 150, code_similarity);
}
TEST(LongBenchMetrics, RetrievalAsPublished) {
  expect_vectors("retrieval", 30, retrieval_score);
}
TEST(LongBenchMetrics, CountAsPublished) {
  expect_vectors("count", 30, count_score);
}

TEST(LongBenchMetrics, ClassificationAsPublished) {
  const auto classes = vectors().at("classes").get<std::vector<std::string>>();
  expect_vectors("classification", 50, [&](const std::string& prediction, const std::string& answer) {
    return classification_score(prediction, answer, classes);
  });
}

TEST(LongBenchMetrics, RefusesAnAnswerWithoutAParagraph) {
  EXPECT_THAT(error_of([] { (void)retrieval_score("3", "Section 3"); }),
              ::testing::HasSubstr("\"Section 3\" names no paragraph"));
}

TEST(StringMatch, CountsWhatOccurs) {
  const std::vector<std::string> outputs = {"Alpha", "\u00c9t\u00e9", "7"};
  EXPECT_DOUBLE_EQ(string_match_all("alpha and \u00e9T\u00c9", outputs), 2.0 / 3.0);
  EXPECT_EQ(string_match_all("ALPHABET", outputs), 1.0 / 3.0);  // a substring will do
  EXPECT_EQ(string_match_all("", outputs), 0.0);
  EXPECT_EQ(string_match_part("beta 17", outputs), 1.0);
  EXPECT_EQ(string_match_part("beta", outputs), 0.0);
}

TEST(StringMatch, ControlCharactersAreNewlines) {
  EXPECT_EQ(clean_prediction(" \x01 a\tb\x1f\x7f c\x02 "), "a\nb\n\x7f c");
  EXPECT_EQ(string_match_part("a\tb", std::vector<std::string>{"a b"}), 0.0);
  EXPECT_EQ(string_match_part("a\tb", std::vector<std::string>{"a\nb"}), 1.0);
}

TEST(StringMatch, RoundsAsPython) {
  EXPECT_EQ(round_to_cents(200.0 / 3.0), 66.67);
  EXPECT_EQ(round_to_cents(100.0), 100.0);
  EXPECT_EQ(round_to_cents(0.125), 0.12);  // a tie: to the even one
  EXPECT_EQ(round_to_cents(0.375), 0.38);
  EXPECT_EQ(round_to_cents(2.675), 2.67);  // a little less than it seems
}

TEST(Score, GoesByTheSamplesMetric) {
  TaskSample sample{.task = "x", .outputs = {"Paragraph 3", "Paragraph 4"}};
  const auto by = [&](Metric metric, const std::string& prediction) {
    sample.metric = metric;
    return score(sample, prediction);
  };
  EXPECT_EQ(by(Metric::kMatchAll, "paragraph 3"), 0.5);
  EXPECT_EQ(by(Metric::kMatchPart, "paragraph 3"), 1.0);
  EXPECT_EQ(by(Metric::kQaF1, "the paragraph 4"), 1.0);  // the best of the answers
  EXPECT_NEAR(by(Metric::kRougeL, "Paragraph 4"), 1.0, 1e-7);
  EXPECT_EQ(by(Metric::kRetrieval, "4 or 5"), 0.5);
  EXPECT_EQ(by(Metric::kCount, "4"), 0.0);
  EXPECT_EQ(by(Metric::kCodeSimilarity, "\nParagraph 3\nmore"), 1.0);
  sample.all_classes = {"Paragraph 3", "Paragraph 4"};
  EXPECT_EQ(by(Metric::kClassification, "Paragraph 4, Paragraph 3"), 0.5);
}

TEST(Score, OnlyTheFirstLineWhereTheSetSaysSo) {
  TaskSample sample{.task = "trec", .outputs = {"right"}, .metric = Metric::kQaF1, .first_line_only = true};
  EXPECT_EQ(score(sample, "\n\nright\nwrong words"), 1.0);
  EXPECT_EQ(score(sample, "wrong\nright"), 0.0);
  EXPECT_EQ(score(sample, ""), 0.0);
  sample.first_line_only = false;
  EXPECT_LT(score(sample, "right\nwrong words"), 1.0);
}

}  // namespace
}  // namespace seer::test
