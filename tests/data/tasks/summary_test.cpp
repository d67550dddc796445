// Summaries as the published scripts make them.
#include "data/tasks/summary.h"

#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/data/tasks/task_files.h"

namespace seer::test {
namespace {

TEST(Summary, RulerAveragesTasksNotSamples) {
  const std::vector<ScoredSample> samples = {
      {"vt", 4000, 1.0 / 3}, {"niah_single_1", 4000, 1}, {"vt", 4000, 0}, {"vt", 4000, 1.0 / 3}};
  const RulerSummary summary = summarise_ruler(samples);
  ASSERT_EQ(summary.rows.size(), 2U);
  EXPECT_EQ(summary.rows[0].task, "niah_single_1");  // RULER's order
  EXPECT_EQ(summary.rows[0].figure.score, 100.0);
  EXPECT_EQ(summary.rows[1].figure.score, 22.22);
  EXPECT_EQ(summary.rows[1].figure.samples, 3);
  EXPECT_EQ(summary.average, 61.11);
  EXPECT_EQ(summarise_ruler({}).average, std::nullopt);
}

TEST(Summary, LongBenchGoesByLength) {
  EXPECT_EQ(longbench_bucket(3999), 0U);
  EXPECT_EQ(longbench_bucket(4000), 1U);
  EXPECT_EQ(longbench_bucket(7999), 1U);
  EXPECT_EQ(longbench_bucket(8000), 2U);
  const std::vector<ScoredSample> samples = {{"lcc", 100, 0.5},
                                             {"qasper", 100, 1},
                                             {"lcc", 100, 0.25},
                                             {"qasper", 4000, 0.1},
                                             {"lcc", 9000, 0.123456}};
  const LongBenchSummary summary = summarise_longbench(samples);
  ASSERT_EQ(summary.rows.size(), 2U);
  const auto& qasper = summary.rows[0];
  const auto& lcc = summary.rows[1];
  EXPECT_EQ(qasper.task, "qasper");
  EXPECT_EQ(qasper.buckets[0].score, 100.0);
  EXPECT_EQ(qasper.buckets[1].score, 10.0);
  EXPECT_EQ(qasper.buckets[2].score, std::nullopt);
  EXPECT_EQ(qasper.all.score, 55.0);
  EXPECT_EQ(lcc.buckets[0].score, 37.5);
  EXPECT_EQ(lcc.buckets[0].samples, 2);
  EXPECT_EQ(lcc.buckets[1].samples, 0);
  EXPECT_EQ(lcc.buckets[2].score, 12.35);
  EXPECT_EQ(lcc.all.score, 29.12);  // of 29.1152
  EXPECT_EQ(summary.average[0], 68.75);
  EXPECT_EQ(summary.average[1], 10.0);
  EXPECT_EQ(summary.average[2], 12.35);
  EXPECT_EQ(summary.average_of_all, 42.06);
}

TEST(Summary, RefusesUnknownTasks) {
  const std::vector<ScoredSample> samples = {{"lcc", 100, 0.5}};
  EXPECT_THAT(error_of([&] { (void)summarise_ruler(samples); }),
              ::testing::HasSubstr("no RULER task \"lcc\""));
}

}  // namespace
}  // namespace seer::test
