#include "trainer/metrics_log.h"

#include <cmath>
#include <cstdio>
#include <fstream>
#include <limits>
#include <string>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>
#include <unistd.h>

#include "src/core/error.h"
#include "src/io/atomic_file.h"
#include "tests/support/file_size_limit.h"
#include "tests/support/fixtures.h"

namespace seer {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr double kThird = 1.0 / 3.0;
constexpr double kTiny = 4.9406564584124654e-324;

StepMetrics step_metrics(int64_t step, const std::vector<std::string>& gates = {"gate"}) {
  StepMetrics metrics{
      .step = step, .tokens = step * 1000, .tokens_per_second = 5210.0 + kThird, .seconds = 0.1 * step};
  for (size_t i = 0; i < gates.size(); ++i) {
    const double loss = std::exp(-0.1 * static_cast<double>(step)) + static_cast<double>(i);
    metrics.gates.push_back({gates[i], loss, {loss * kThird, loss * 2 * kThird}, 1e-3 / 3, 0.7 * loss});
  }
  return metrics;
}

EvalMetrics eval_metrics(int64_t step) {
  return {step, "gate", 0.1 + 0.2, {0.1, 0.2}, {{0.1, kThird, 0.97, {0.3, 0.4}, {0.96, 0.98}}}};
}

void append_text(const std::filesystem::path& path, const std::string& text) {
  std::ofstream(path, std::ios::app) << text;
}

std::vector<int64_t> steps_of(const MetricsHistory& history) {
  std::vector<int64_t> steps;
  for (const StepMetrics& step : history.steps) steps.push_back(step.step);
  return steps;
}

template <typename Action>
std::string error_of(Action action) {
  try {
    action();
  } catch (const Error& error) {
    return error.what();
  }
  return "no error";
}

TEST(MetricsLog, LinesAreFlatJson) {
  const test::TempDir dir;
  MetricsLog log = MetricsLog::create(dir / "metrics.jsonl");
  log.append(StepMetrics{3, {{"gate", 0.5, {0.25, 0.25}, 0.001, 1.5}}, 4096, 100.0, 40.96});
  log.append(EvalMetrics{3, "gate", 0.25, {0.25}, {{0.1, 0.5, 1.0, {0.5}, {1.0}}}});
  EXPECT_EQ(
      read_text_file(dir / "metrics.jsonl"),
      R"({"step":3,"gate":"gate","loss":0.5,"layer_losses":[0.25,0.25],"lr":0.001,"grad_norm":1.5,)"
      R"("tokens":4096,"tokens_per_second":100.0,"time":40.96})"
      "\n"
      R"({"step":3,"gate":"gate","eval_loss":0.25,"eval_layer_losses":[0.25],)"
      R"("recall":[{"density":0.1,"recall":0.5,"oracle":1.0,"layer_recall":[0.5],"layer_oracle":[1.0]}]})"
      "\n");
}

TEST(MetricsLog, ReadsBackTheSameBits) {
  const test::TempDir dir;
  MetricsLog log = MetricsLog::create(dir / "metrics.jsonl");
  StepMetrics odd = step_metrics(1, {"a", "b"});
  odd.gates[0].layer_losses = {kTiny, -0.0, std::numeric_limits<double>::max(), std::nextafter(1.0, 2.0),
                               1e22};
  odd.gates[1].loss = std::numeric_limits<double>::quiet_NaN();
  odd.tokens = int64_t{1} << 62;
  log.append(odd);
  log.append(eval_metrics(1));
  log.append(step_metrics(2, {"a", "b"}));

  const MetricsHistory history = read_metrics(dir / "metrics.jsonl");
  ASSERT_EQ(steps_of(history), (std::vector<int64_t>{1, 2}));
  const StepMetrics& back = history.steps[0];
  EXPECT_EQ(back.tokens, odd.tokens);
  EXPECT_EQ(back.tokens_per_second, odd.tokens_per_second);
  EXPECT_EQ(back.seconds, odd.seconds);
  ASSERT_EQ(back.gates.size(), 2U);
  EXPECT_EQ(back.gates[0].name, "a");
  EXPECT_EQ(back.gates[0].loss, odd.gates[0].loss);
  EXPECT_EQ(back.gates[0].layer_losses, odd.gates[0].layer_losses);
  EXPECT_TRUE(std::signbit(back.gates[0].layer_losses[1]));
  EXPECT_EQ(back.gates[0].learning_rate, odd.gates[0].learning_rate);
  EXPECT_EQ(back.gates[0].grad_norm, odd.gates[0].grad_norm);
  EXPECT_EQ(back.gates[1].name, "b");
  EXPECT_TRUE(std::isnan(back.gates[1].loss));

  ASSERT_EQ(history.evals.size(), 1U);
  const EvalMetrics expected = eval_metrics(1);
  EXPECT_EQ(history.evals[0].loss, expected.loss);
  EXPECT_EQ(history.evals[0].layer_losses, expected.layer_losses);
  ASSERT_EQ(history.evals[0].densities.size(), 1U);
  EXPECT_EQ(history.evals[0].densities[0].density, 0.1);
  EXPECT_EQ(history.evals[0].densities[0].recall, kThird);
  EXPECT_EQ(history.evals[0].densities[0].oracle, 0.97);
  EXPECT_EQ(history.evals[0].densities[0].layer_recall, expected.densities[0].layer_recall);
  EXPECT_EQ(history.evals[0].densities[0].layer_oracle, expected.densities[0].layer_oracle);
}

TEST(MetricsLog, ResumedRunLeavesTheBytesOfAnUninterruptedOne) {
  const test::TempDir dir;
  const auto whole = dir / "whole.jsonl";
  const auto killed = dir / "killed.jsonl";
  const auto write = [](MetricsLog& log, int64_t from, int64_t to) {
    for (int64_t step = from; step <= to; ++step) {
      log.append(step_metrics(step, {"a", "b"}));
      if (step % 2 == 0) log.append(eval_metrics(step));
    }
  };
  {
    MetricsLog log = MetricsLog::create(whole);
    write(log, 1, 8);
  }
  {
    MetricsLog log = MetricsLog::create(killed);
    write(log, 1, 6);
  }
  append_text(killed, R"({"step":7,"gate":"a","lo)");
  {
    MetricsLog log = MetricsLog::resume(killed, 4);
    EXPECT_THAT(steps_of(read_metrics(killed)), ElementsAre(1, 2, 3, 4));
    EXPECT_EQ(read_metrics(killed).evals.size(), 2U);
    write(log, 5, 8);
  }
  EXPECT_EQ(read_text_file(killed), read_text_file(whole));
}

TEST(MetricsLog, ResumeRemovesAHalfWrittenLineEvenIfNothingElse) {
  const test::TempDir dir;
  const auto path = dir / "metrics.jsonl";
  MetricsLog::create(path).append(step_metrics(1));
  const std::string before = read_text_file(path);
  append_text(path, std::string("{\"step\":2") + std::string(7, '\0'));
  EXPECT_THAT(steps_of(read_metrics(path)), ElementsAre(1));
  MetricsLog::resume(path, 1);
  EXPECT_EQ(read_text_file(path), before);
}

TEST(MetricsLog, ResumeFromTheStartAndWithoutAFile) {
  const test::TempDir dir;
  const auto path = dir / "metrics.jsonl";
  {
    MetricsLog log = MetricsLog::create(path);
    log.append(eval_metrics(0));
    log.append(step_metrics(1));
  }
  MetricsLog::resume(path, 0);
  EXPECT_EQ(read_metrics(path).evals.size(), 1U);
  MetricsLog::resume(path, -1);
  EXPECT_EQ(read_text_file(path), "");
  std::filesystem::remove(path);
  MetricsLog::resume(path, 5).append(step_metrics(6));
  EXPECT_THAT(steps_of(read_metrics(path)), ElementsAre(6));
}

TEST(MetricsLog, DamagedLinesAreNamedAndNothingIsCut) {
  const test::TempDir dir;
  const auto path = dir / "metrics.jsonl";
  const auto expect_error = [&](const std::string& line, const std::string& sentence) {
    write_file_atomically(path, R"({"step":1,"gate":"gate","eval_loss":1,"eval_layer_losses":[],"recall":[]})"
                                "\n" +
                                    line +
                                    "\n"
                                    R"({"step":9})"
                                    "\n");
    const std::string before = read_text_file(path);
    EXPECT_THAT(error_of([&] { read_metrics(path); }), AllOf(HasSubstr("metrics.jsonl line 2: " + sentence)));
    EXPECT_EQ(read_text_file(path), before);
  };
  expect_error("{\"step\":2", "not a JSON object");
  expect_error("", "not a JSON object");
  expect_error("[2]", "not a JSON object");
  expect_error(R"({"loss":1})", "no \"step\"");
  expect_error(R"({"step":"2","loss":1})", "\"step\" is not an integer");
  expect_error(R"({"step":2,"tokens":1,"tokens_per_second":true})", "\"tokens_per_second\" is not a number");
  expect_error(R"({"step":2,"gate":"g","eval_loss":1,"eval_layer_losses":[[1]]})",
               "\"eval_layer_losses\" is not a number");
  expect_error(R"({"step":2,"gate":"g","eval_loss":1,"eval_layer_losses":[],"recall":[1]})",
               "\"recall\" is not a list of objects");

  write_file_atomically(path, "{\"step\":1}\ngarbage\n{\"step\":3}\n");
  EXPECT_THAT(error_of([&] { MetricsLog::resume(path, 1); }), HasSubstr("metrics.jsonl line 2"));
  EXPECT_EQ(read_text_file(path), "{\"step\":1}\ngarbage\n{\"step\":3}\n");
}

TEST(MetricsLog, ErrorsNameTheFile) {
  const test::TempDir dir;
  EXPECT_THAT(error_of([&] { MetricsLog::create(dir / "missing/metrics.jsonl"); }),
              HasSubstr("cannot write " + (dir / "missing/metrics.jsonl").string()));
  MetricsLog::create(dir / "metrics.jsonl");
  EXPECT_THAT(error_of([&] { MetricsLog::create(dir / "metrics.jsonl"); }), HasSubstr("File exists"));
}

TEST(MetricsLog, AppendThatDoesNotFitLeavesTheFileAsItWas) {
  const test::TempDir dir;
  const auto path = dir / "metrics.jsonl";
  MetricsLog log = MetricsLog::create(path);
  log.append(step_metrics(1));
  const std::string before = read_text_file(path);
  {
    const test::FileSizeLimit limit(before.size() + 20);
    EXPECT_THAT(error_of([&] { log.append(step_metrics(2)); }), HasSubstr("cannot write " + path.string()));
  }
  EXPECT_EQ(read_text_file(path), before);
  log.append(step_metrics(2));
  EXPECT_THAT(steps_of(read_metrics(path)), ElementsAre(1, 2));
}

TEST(MetricsLog, FullDeviceIsAnError) {
  EXPECT_THAT(error_of([] { AppendFile("/dev/full", AppendFile::Mode::kExisting).append("x"); }),
              HasSubstr("cannot write /dev/full: No space left on device"));
}

}  // namespace
}  // namespace seer
