#include "trainer/tensorboard.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <bit>
#include <charconv>
#include <chrono>
#include <climits>

#include <protozero/pbf_builder.hpp>
#include <unistd.h>

#include "src/core/error.h"

namespace seer {
namespace fs = std::filesystem;
namespace {

// The fields used here of tensorboard/compat/proto/{event,summary}.proto.
enum class EventField : protozero::pbf_tag_type {
  kWallTime = 1,
  kStep = 2,
  kFileVersion = 3,
  kSummary = 5,
  kSessionLog = 7,
};
enum class SummaryField : protozero::pbf_tag_type { kValue = 1 };
enum class ValueField : protozero::pbf_tag_type { kTag = 1, kSimpleValue = 2 };
enum class SessionLogField : protozero::pbf_tag_type { kStatus = 1 };
constexpr int32_t kSessionStart = 1;

constexpr std::string_view kFilePrefix = "events.out.tfevents.";

constexpr std::array<uint32_t, 256> make_crc_table() {
  constexpr uint32_t kPolynomial = 0x82f63b78;  // 0x1edc6f41 with its bits reversed
  std::array<uint32_t, 256> table{};
  for (uint32_t byte = 0; byte < 256; ++byte) {
    uint32_t crc = byte;
    for (int bit = 0; bit < 8; ++bit) crc = (crc >> 1) ^ ((crc & 1) != 0 ? kPolynomial : 0);
    table[byte] = crc;
  }
  return table;
}
constexpr std::array<uint32_t, 256> kCrcTable = make_crc_table();

template <typename Integer>
void append_little_endian(std::string& out, Integer value) {
  for (size_t i = 0; i < sizeof(value); ++i) out.push_back(static_cast<char>((value >> (8 * i)) & 0xff));
}

int64_t unix_time_in_name(const std::string& name) {
  int64_t seconds = -1;
  if (name.starts_with(kFilePrefix)) {
    std::from_chars(name.data() + kFilePrefix.size(), name.data() + name.size(), seconds);
  }
  return seconds;
}

/// Makes the folder and names a file in it. A restart within the same second, or after the clock was set
/// back, still sorts last.
fs::path next_event_file(const fs::path& folder) {
  std::error_code error;
  fs::create_directories(folder, error);
  if (error) fail("cannot make folder {}: {}", folder.string(), error.message());
  auto seconds = static_cast<int64_t>(wall_clock_seconds());
  for (const fs::directory_entry& entry : fs::directory_iterator(folder, error)) {
    seconds = std::max(seconds, unix_time_in_name(entry.path().filename().string()) + 1);
  }
  if (error) fail("cannot list folder {}: {}", folder.string(), error.message());
  std::array<char, HOST_NAME_MAX + 1> host{};
  if (::gethostname(host.data(), HOST_NAME_MAX) != 0) host = {"localhost"};
  static std::atomic<int> files_of_process = 0;
  return folder /
         fmt::format("{}{:010}.{}.{}.{}", kFilePrefix, seconds, host.data(), ::getpid(), files_of_process++);
}

/// Layer numbers that sort as text: two digits, or as many as the last layer needs.
std::string layer_tag(const std::string& tag, size_t layer, size_t layers) {
  const size_t digits = std::max<size_t>(2, std::to_string(layers - 1).size());
  return fmt::format("{}/{:0{}}", tag, layer, digits);
}

}  // namespace

uint32_t crc32c(std::string_view bytes) {
  uint32_t crc = ~uint32_t{0};
  for (const char c : bytes) crc = (crc >> 8) ^ kCrcTable[(crc ^ static_cast<unsigned char>(c)) & 0xff];
  return ~crc;
}

uint32_t masked_crc32c(std::string_view bytes) {
  return std::rotr(crc32c(bytes), 15) + 0xa282ead8U;
}

double wall_clock_seconds() {
  return std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
}

TensorBoardWriter::TensorBoardWriter(const fs::path& folder, std::optional<int64_t> resumed_from)
    : file_(next_event_file(folder), AppendFile::Mode::kNew) {
  std::string event;
  {
    protozero::pbf_builder<EventField> writer(event);
    writer.add_double(EventField::kWallTime, wall_clock_seconds());
    writer.add_string(EventField::kFileVersion, "brain.Event:2");
  }
  add_record(event);
  if (resumed_from) {
    event.clear();
    protozero::pbf_builder<EventField> writer(event);
    writer.add_double(EventField::kWallTime, wall_clock_seconds());
    writer.add_int64(EventField::kStep, *resumed_from + 1);
    {
      protozero::pbf_builder<SessionLogField> session(writer, EventField::kSessionLog);
      session.add_enum(SessionLogField::kStatus, kSessionStart);
    }
    add_record(event);
  }
  flush();
}

TensorBoardWriter::~TensorBoardWriter() {
  try {
    flush();
  } catch (const Error&) {
    // A destructor has nobody to tell.
  }
}

void TensorBoardWriter::add_scalar(std::string_view tag, int64_t step, double value, double wall_time) {
  add_event(step, wall_time, {{std::string(tag), value}});
}

void TensorBoardWriter::add(const StepMetrics& metrics, double wall_time) {
  std::vector<Scalar> scalars;
  for (size_t i = 0; i < metrics.gates.size(); ++i) {
    const GateMetrics& gate = metrics.gates[i];
    const std::string prefix = (i == 0 ? "" : gate.name + "/") + "train/";
    scalars.push_back({prefix + "loss", gate.loss});
    scalars.push_back({prefix + "learning_rate", gate.learning_rate});
    scalars.push_back({prefix + "grad_norm", gate.grad_norm});
    if (i == 0) scalars.push_back({prefix + "tokens_per_second", metrics.tokens_per_second});
    for (size_t layer = 0; layer < gate.layer_losses.size(); ++layer) {
      scalars.push_back({layer_tag(prefix + "layer_loss", layer, gate.layer_losses.size()),  //
                         gate.layer_losses[layer]});
    }
  }
  add_event(metrics.step, wall_time, scalars);
  flush();
}

void TensorBoardWriter::add(const EvalMetrics& metrics, const std::string& prefix, double wall_time) {
  const std::string eval = prefix + "eval/";
  std::vector<Scalar> scalars = {{eval + "loss", metrics.loss}};
  for (size_t layer = 0; layer < metrics.layer_losses.size(); ++layer) {
    scalars.push_back({layer_tag(eval + "layer_loss", layer, metrics.layer_losses.size()),  //
                       metrics.layer_losses[layer]});
  }
  for (const EvalDensity& at : metrics.densities) {
    scalars.push_back({fmt::format("{}recall/{}", eval, at.density), at.recall});
    scalars.push_back({fmt::format("{}oracle/{}", eval, at.density), at.oracle});
    const std::string layer_recall = fmt::format("{}layer_recall/{}", eval, at.density);
    for (size_t layer = 0; layer < at.layer_recall.size(); ++layer) {
      scalars.push_back({layer_tag(layer_recall, layer, at.layer_recall.size()), at.layer_recall[layer]});
    }
  }
  add_event(metrics.step, wall_time, scalars);
  flush();
}

void TensorBoardWriter::flush() {
  file_.append(buffer_);
  buffer_.clear();
}

void TensorBoardWriter::add_event(int64_t step, double wall_time, const std::vector<Scalar>& scalars) {
  std::string event;
  protozero::pbf_builder<EventField> writer(event);
  writer.add_double(EventField::kWallTime, wall_time);
  writer.add_int64(EventField::kStep, step);
  {
    protozero::pbf_builder<SummaryField> summary(writer, EventField::kSummary);
    for (const Scalar& scalar : scalars) {
      protozero::pbf_builder<ValueField> value(summary, SummaryField::kValue);
      value.add_string(ValueField::kTag, scalar.tag);
      value.add_float(ValueField::kSimpleValue, static_cast<float>(scalar.value));
    }
  }
  add_record(event);
}

void TensorBoardWriter::add_record(std::string_view event) {
  std::string length;
  append_little_endian(length, static_cast<uint64_t>(event.size()));
  buffer_ += length;
  append_little_endian(buffer_, masked_crc32c(length));
  buffer_ += event;
  append_little_endian(buffer_, masked_crc32c(event));
}

}  // namespace seer
