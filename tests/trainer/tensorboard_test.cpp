#include "trainer/tensorboard.h"

#include <array>
#include <bit>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <map>
#include <string>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>
#include <protozero/pbf_reader.hpp>
#include <sys/wait.h>

#include "src/core/error.h"
#include "src/io/atomic_file.h"
#include "tests/support/fixtures.h"

namespace seer {
namespace {

namespace fs = std::filesystem;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Pair;

/// An Event, read by the field numbers of TensorBoard's event.proto.
struct Event {
  double wall_time = 0;
  int64_t step = 0;
  std::string file_version;
  int session_status = 0;
  std::vector<std::pair<std::string, float>> scalars;
};

Event parse_event(const std::string& bytes) {
  Event event;
  protozero::pbf_reader reader(bytes);
  while (reader.next()) {
    switch (reader.tag()) {
      case 1:
        event.wall_time = reader.get_double();
        break;
      case 2:
        event.step = reader.get_int64();
        break;
      case 3:
        event.file_version = reader.get_string();
        break;
      case 5: {
        protozero::pbf_reader summary = reader.get_message();
        while (summary.next(1)) {
          protozero::pbf_reader value = summary.get_message();
          std::pair<std::string, float> scalar;
          while (value.next()) {
            if (value.tag() == 1) {
              scalar.first = value.get_string();
            } else if (value.tag() == 2) {
              scalar.second = value.get_float();
            } else {
              value.skip();
            }
          }
          event.scalars.push_back(scalar);
        }
        break;
      }
      case 7: {
        protozero::pbf_reader session = reader.get_message();
        while (session.next(1)) event.session_status = session.get_enum();
        break;
      }
      default:
        ADD_FAILURE() << "unexpected field " << reader.tag();
        reader.skip();
    }
  }
  return event;
}

/// Reads the framing, checking every length and both sums of each record.
std::vector<Event> read_events(const fs::path& path) {
  const std::string bytes = read_text_file(path);
  std::vector<Event> events;
  size_t at = 0;
  const auto take = [&](size_t n) {
    SEER_CHECK(at + n <= bytes.size(), "{} ends inside a record", path.string());
    at += n;
    return bytes.substr(at - n, n);
  };
  const auto sum_of = [&] {
    uint32_t sum = 0;
    std::memcpy(&sum, take(4).data(), 4);
    return sum;
  };
  while (at < bytes.size()) {
    const std::string length_bytes = take(8);
    uint64_t length = 0;
    std::memcpy(&length, length_bytes.data(), 8);
    EXPECT_EQ(sum_of(), masked_crc32c(length_bytes));
    const std::string data = take(length);
    EXPECT_EQ(sum_of(), masked_crc32c(data));
    events.push_back(parse_event(data));
  }
  return events;
}

StepMetrics step_metrics(int64_t step) {
  const auto s = static_cast<double>(step);
  return {.step = step,
          .gates = {{"first", 1 / s, {0.25 / s, 0.75 / s}, 1e-3, 2 * s}, {"second", 2 / s, {}, 2e-3, 3 * s}},
          .tokens = step * 100,
          .tokens_per_second = 50,
          .seconds = 2 * s};
}

EvalMetrics eval_metrics(int64_t step) {
  return {step, "first", 0.5, {0.125, 0.375}, {{0.1, 0.75, 0.875, {0.5, 1.0}, {0.75, 1.0}}}};
}

TEST(Crc32c, KnownVectors) {
  // RFC 3720, appendix B.4, and the check value of the Castagnoli polynomial.
  EXPECT_EQ(crc32c("123456789"), 0xe3069283U);
  EXPECT_EQ(crc32c(""), 0U);
  EXPECT_EQ(crc32c(std::string(32, '\0')), 0x8a9136aaU);
  EXPECT_EQ(crc32c(std::string(32, '\xff')), 0x62a8ab43U);
  std::string rising;
  for (int i = 0; i < 32; ++i) rising.push_back(static_cast<char>(i));
  EXPECT_EQ(crc32c(rising), 0x46dd794eU);
  EXPECT_EQ(masked_crc32c("123456789"), std::rotr(0xe3069283U, 15) + 0xa282ead8U);
}

TEST(TensorBoard, WritesEventsThatReadBack) {
  const test::TempDir dir;
  TensorBoardWriter writer(dir / "tensorboard");
  writer.add_scalar("train/loss", 1, 0.5, 1000.25);
  EXPECT_EQ(read_events(writer.path()).size(), 1U) << "buffered until flush()";
  writer.flush();
  writer.add(step_metrics(2), 1001.0);
  writer.add(eval_metrics(2), "", 1002.0);
  writer.add(eval_metrics(2), "second/", 1003.0);

  const std::vector<Event> events = read_events(writer.path());
  ASSERT_EQ(events.size(), 5U);
  EXPECT_EQ(events[0].file_version, "brain.Event:2");
  EXPECT_NEAR(events[0].wall_time, wall_clock_seconds(), 60);
  EXPECT_EQ(events[1].wall_time, 1000.25);
  EXPECT_EQ(events[1].step, 1);
  EXPECT_THAT(events[1].scalars, ElementsAre(Pair("train/loss", 0.5F)));
  EXPECT_EQ(events[2].step, 2);
  EXPECT_THAT(
      events[2].scalars,
      ElementsAre(Pair("train/loss", 0.5F), Pair("train/learning_rate", 1e-3F), Pair("train/grad_norm", 4.0F),
                  Pair("train/tokens_per_second", 50.0F), Pair("train/layer_loss/00", 0.125F),
                  Pair("train/layer_loss/01", 0.375F), Pair("second/train/loss", 1.0F),
                  Pair("second/train/learning_rate", 2e-3F), Pair("second/train/grad_norm", 6.0F)));
  EXPECT_THAT(events[3].scalars,
              ElementsAre(Pair("eval/loss", 0.5F), Pair("eval/layer_loss/00", 0.125F),
                          Pair("eval/layer_loss/01", 0.375F), Pair("eval/recall/0.1", 0.75F),
                          Pair("eval/oracle/0.1", 0.875F), Pair("eval/layer_recall/0.1/00", 0.5F),
                          Pair("eval/layer_recall/0.1/01", 1.0F)));
  EXPECT_EQ(events[4].scalars[0].first, "second/eval/loss");
}

TEST(TensorBoard, RestartIsASessionStartAtTheNextStep) {
  const test::TempDir dir;
  const TensorBoardWriter first(dir.path());
  const TensorBoardWriter second(dir.path(), 40);
  const std::vector<Event> events = read_events(second.path());
  ASSERT_EQ(events.size(), 2U);
  EXPECT_EQ(events[1].session_status, 1);
  EXPECT_EQ(events[1].step, 41);
  EXPECT_EQ(read_events(first.path()).size(), 1U);
}

TEST(TensorBoard, FileNamesSortInTheOrderOfTheRestarts) {
  const test::TempDir dir;
  std::string last;
  for (int i = 0; i < 12; ++i) {
    const std::string name = TensorBoardWriter(dir.path()).path().filename().string();
    EXPECT_GT(name, last);
    EXPECT_TRUE(name.starts_with("events.out.tfevents.")) << name;
    last = name;
  }
}

TEST(TensorBoard, FolderThatCannotBeMadeIsNamed) {
  const test::TempDir dir;
  write_file_atomically(dir / "file", "");
  try {
    const TensorBoardWriter writer(dir / "file/tensorboard");
    FAIL() << "no error";
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), HasSubstr((dir / "file/tensorboard").string()));
  }
}

TEST(TensorBoard, TensorBoardItselfReadsARestartedRun) {
  const auto python = test::environment("SEER_TENSORBOARD_PYTHON");
  if (!python)
    GTEST_SKIP() << "SEER_TENSORBOARD_PYTHON names no Python that has tensorboard (tools/test.sh sets it)";
  const test::TempDir dir;
  fs::path killed;
  {
    TensorBoardWriter writer(dir.path());
    killed = writer.path();
    for (int64_t step = 1; step <= 8; ++step) {
      writer.add(step_metrics(step));
      if (step % 4 == 0) writer.add(eval_metrics(step));
    }
    writer.add(step_metrics(9));
  }
  fs::resize_file(killed, fs::file_size(killed) - 5);  // killed in the middle of a write
  {
    TensorBoardWriter writer(dir.path(), 6);
    for (int64_t step = 7; step <= 8; ++step) {
      StepMetrics metrics = step_metrics(step);
      metrics.gates[0].loss += 100;
      writer.add(metrics);
    }
  }
  const std::string command =
      fmt::format("'{}' '{}' '{}'", *python, (test::source_dir() / "tests/trainer/read_tfevents.py").string(),
                  dir.path().string());
  std::string output;
  FILE* pipe = ::popen(command.c_str(), "r");
  ASSERT_NE(pipe, nullptr);
  std::array<char, 4096> buffer{};
  for (size_t n; (n = std::fread(buffer.data(), 1, buffer.size(), pipe)) > 0;)
    output.append(buffer.data(), n);
  ASSERT_EQ(::pclose(pipe), 0) << command;

  const auto scalars =
      nlohmann::json::parse(output).get<std::map<std::string, std::map<std::string, float>>>();
  ASSERT_EQ(scalars.size(), 9U + 4U + 3U) << output;
  std::map<std::string, float> loss;
  std::map<std::string, float> second_norm;
  for (int step = 1; step <= 8; ++step) {
    loss[std::to_string(step)] = static_cast<float>(1.0 / step + (step > 6 ? 100 : 0));
    second_norm[std::to_string(step)] = 3.0F * static_cast<float>(step);
  }
  EXPECT_EQ(scalars.at("train/loss"), loss);
  EXPECT_EQ(scalars.at("second/train/grad_norm"), second_norm);
  EXPECT_EQ(scalars.at("train/layer_loss/01").at("4"), 0.1875F);
  // The evaluation of step 8 was purged with steps 7 and 8 and has not been run again.
  EXPECT_THAT(scalars.at("eval/recall/0.1"), ElementsAre(Pair("4", 0.75F)));
}

}  // namespace
}  // namespace seer
