// Our checkpoints in the hands of PyTorch, and PyTorch's in ours.
#include <array>
#include <cstdio>
#include <optional>

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <sys/wait.h>

#include "src/io/pth.h"
#include "tests/io/bytes.h"
#include "tests/support/fixtures.h"

namespace seer {
namespace {

constexpr int kNoTorch = 77;    // as torch_bridge.py says
constexpr int kNoPython = 127;  // as the shell says

struct Output {
  int exit_code = 0;
  std::string text;
};

Output run(const std::string& command) {
  Output output;
  FILE* pipe = ::popen(command.c_str(), "r");
  EXPECT_NE(pipe, nullptr);
  std::array<char, 4096> buffer{};
  while (const size_t n = std::fread(buffer.data(), 1, buffer.size(), pipe))
    output.text.append(buffer.data(), n);
  const int status = ::pclose(pipe);
  output.exit_code = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  return output;
}

class PthTorch : public testing::Test {
 protected:
  /// What torch_bridge.py prints, under the first Python that has torch: $SEER_PYTHON, the system's, or the
  /// one in PATH. Nothing if none has.
  std::optional<std::string> bridge(const std::string& mode, const std::filesystem::path& file) {
    const auto script = test::source_dir() / "tests" / "io" / "torch_bridge.py";
    for (const std::string& python :
         {test::environment("SEER_PYTHON").value_or("/usr/bin/python3"), std::string("python3")}) {
      const Output output =
          run(fmt::format("'{}' '{}' {} '{}' 2>&1", python, script.string(), mode, file.string()));
      if (output.exit_code == kNoTorch || output.exit_code == kNoPython) continue;
      EXPECT_EQ(output.exit_code, 0) << output.text;
      return output.text;
    }
    return std::nullopt;
  }

  test::TempDir folder_;
};

// GTEST_SKIP() and FAIL() return from the function they stand in.
#define SKIP_WITHOUT_TORCH(printed)                                                                    \
  if (!(printed).has_value()) {                                                                        \
    if (test::environment("SEER_REQUIRE_TORCH")) FAIL() << "SEER_REQUIRE_TORCH is set: no torch here"; \
    GTEST_SKIP() << "no Python with torch (Debian: python3-torch); SEER_REQUIRE_TORCH=1 insists";      \
  }

std::string line_of(const NamedTensor& tensor) {
  std::string line = fmt::format("{} {} {} ", tensor.name, name_of(tensor.dtype), shape_text(tensor.shape));
  for (const std::byte b : tensor.bytes) line += fmt::format("{:02x}", static_cast<unsigned>(b));
  return line + "\n";
}

TEST_F(PthTorch, LoadsWhatWeWrite) {
  std::vector<uint64_t> data;
  for (uint64_t i = 0; i < 120; ++i) data.push_back(0x3c01'4002'bc03'3504 + i * 0x0001'0001'0001'0001);
  const std::vector<uint8_t> flags = {1, 0, 1};
  const auto bytes = [&](size_t count) { return test::bytes_of(data).first(count); };
  const std::vector<NamedTensor> tensors = {
      {"model.layers.0.self_attn.attn_gate.mask_linear_k.weight", DType::kBF16, {4, 12, 5}, bytes(480)},
      {"f64", DType::kF64, {2, 1, 3}, bytes(48)},
      {"f32", DType::kF32, {5, 3, 2, 2, 2}, bytes(480)},
      {"f16", DType::kF16, {}, bytes(2)},
      {"i64", DType::kI64, {120}, bytes(960)},
      {"i32", DType::kI32, {2}, bytes(8)},
      {"i16", DType::kI16, {300}, bytes(600)},
      {"i8", DType::kI8, {5}, bytes(5)},
      {"u8", DType::kU8, {1}, bytes(1)},
      {"bool", DType::kBool, {3}, test::bytes_of(flags)}};
  write_pth(folder_ / "attn_gate_weights.pth", tensors);
  std::string expected;
  for (const NamedTensor& tensor : tensors) expected += line_of(tensor);
  const std::optional<std::string> loaded = bridge("load", folder_ / "attn_gate_weights.pth");
  SKIP_WITHOUT_TORCH(loaded)
  EXPECT_EQ(*loaded, expected);
}

TEST_F(PthTorch, SavesWhatWeRead) {
  const std::optional<std::string> expected = bridge("save", folder_ / "views.pt");
  SKIP_WITHOUT_TORCH(expected)
  const PthFile file(folder_ / "views.pt");
  std::string actual;
  for (const OwnedTensor& tensor : file.tensors()) actual += line_of(tensor.view());
  EXPECT_EQ(actual, *expected);
}

}  // namespace
}  // namespace seer
