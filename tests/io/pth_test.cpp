// Reading: files of the real torch.save (tests/io/fixtures/pth), the goldens, and our own writer.
#include "src/io/pth.h"

#include <limits>

#include <gmock/gmock.h>

#include "src/core/error.h"
#include "src/io/pickle_writer.h"
#include "src/io/safetensors.h"
#include "src/io/zip_reader.h"
#include "tests/io/bytes.h"
#include "tests/support/fixtures.h"

namespace seer {
namespace {

using test::bytes_of;
using test::error_of;
using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;

std::filesystem::path fixture(const std::string& name) {
  return test::source_dir() / "tests" / "io" / "fixtures" / "pth" / name;
}

std::vector<std::string> names_of(const PthFile& file) {
  std::vector<std::string> names;
  for (const OwnedTensor& tensor : file.tensors()) names.push_back(tensor.name);
  return names;
}

std::vector<float> floats_of(const OwnedTensor& tensor) {
  std::vector<float> values(static_cast<size_t>(tensor.view().numel()));
  convert_to_f32(tensor.bytes.data(), tensor.dtype, tensor.view().numel(), values.data());
  return values;
}

TEST(PthGolden, TensorsEqualTheExpectedSafetensorsExactly) {
  int compared = 0;
  for (const auto& path : test::golden_cases("pth")) {
    if (path.extension() != ".pth") continue;
    const SafetensorsFile expected(path.parent_path() / "expected.safetensors");
    const PthFile actual(path);
    ASSERT_EQ(actual.tensors().size(), expected.tensors().size()) << path;
    for (const NamedTensor& tensor : expected.tensors()) {
      test::expect_same_tensor(actual.at(tensor.name).view(), tensor);
    }
    ++compared;
  }
  EXPECT_GE(compared, 2);
}

// ---- the fixtures: every file that is read stands here, with the values that torch.load shows

struct Saved {
  const char* file;
  const char* name;
  DType dtype;
  std::vector<int64_t> shape;
  std::vector<float> first;  // leading values
};

class PthFixture : public testing::TestWithParam<Saved> {};

TEST_P(PthFixture, HoldsTheTensorThatTorchSaved) {
  const Saved& expected = GetParam();
  const PthFile file(fixture(expected.file));
  const OwnedTensor& tensor = file.at(expected.name);
  EXPECT_EQ(tensor.dtype, expected.dtype);
  EXPECT_EQ(tensor.shape, expected.shape);
  const std::vector<float> values = floats_of(tensor);
  ASSERT_GE(values.size(), expected.first.size());
  for (size_t i = 0; i < expected.first.size(); ++i) {
    EXPECT_THAT(values[i], testing::NanSensitiveFloatEq(expected.first[i])) << i;
  }
}

constexpr DType kF32 = DType::kF32;
constexpr float kInf = std::numeric_limits<float>::infinity();
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

INSTANTIATE_TEST_SUITE_P(
    Pth, PthFixture,
    testing::Values(
        Saved{"bfloat16.pt", "tensor", DType::kBF16, {3}, {1.5F, -2.5F, 3.5F}},
        Saved{"bool.pt", "tensor", DType::kBool, {5}, {1, 0, 1, 1, 0}},
        Saved{"buffers.pt", "buffer1", DType::kI32, {3}, {1, 2, 3}},
        Saved{"buffers.pt", "buffer2", DType::kBool, {2}, {1, 0}},
        Saved{"checkpoint.pt", "model_state_dict.fc1.weight", kF32, {10, 5}, {1.0414010F, -0.39973062F}},
        Saved{
            "checkpoint.pt", "model_state_dict.fc2.bias", kF32, {3}, {1.4371334F, -0.44006175F, 0.49959478F}},
        Saved{"checkpoint.pt", "optimizer_state_dict.state.0.momentum_buffer", kF32, {10, 5}, {0.97329408F}},
        Saved{
            "complex_structure.pt", "state.encoder.layer_1.weight", kF32, {2, 4}, {0.16108324F, 0.18063714F}},
        Saved{
            "complex_structure.pt", "state.decoder.bias", kF32, {3}, {-1.0023830F, 0.44516197F, 1.7130821F}},
        Saved{"empty.pt", "tensor", kF32, {0}, {}},
        Saved{"extreme_values.pt", "tensor", kF32, {4}, {1e-30F, 1e30F, -1e-30F, -1e30F}},
        Saved{"float16.pt", "tensor", DType::kF16, {3}, {1.5F, -2.25F, 3.125F}},
        Saved{"float32.pt", "tensor", kF32, {4}, {1, 2.5F, -3.7F, 0}},
        Saved{"float64.pt", "tensor", DType::kF64, {3}, {1.1F, 2.2F, 3.3F}},
        Saved{"int16.pt", "tensor", DType::kI16, {3}, {1000, -2000, 3000}},
        Saved{"int32.pt", "tensor", DType::kI32, {3}, {10, 20, -30}},
        Saved{"int64.pt", "tensor", DType::kI64, {4}, {100, -200, 300, 0}},
        Saved{"int8.pt", "tensor", DType::kI8, {4}, {127, -128, 0, 50}},
        Saved{"large_shape.pt", "tensor", kF32, {100, 100}, {1, 0, 0}},
        Saved{"linear_with_bias.pt", "fc1.weight", kF32, {3, 2}, {-0.42706516F, -0.11852217F}},
        Saved{"linear_with_bias.pt", "fc1.bias", kF32, {3}, {0.38433844F, -0.69123286F, 0.43835002F}},
        Saved{"mixed_types.pt", "float32", kF32, {2}, {1, 2}},
        Saved{"mixed_types.pt", "int64", DType::kI64, {2}, {100, 200}},
        Saved{"mixed_types.pt", "bool", DType::kBool, {2}, {1, 0}},
        Saved{"mixed_types.pt", "float64", DType::kF64, {2}, {1.1F, 2.2F}},
        Saved{"nested_dict.pt", "layer1.weight", kF32, {2, 3}, {0.019150810F, 0.10517301F}},
        Saved{"nested_dict.pt", "layer2.bias", kF32, {4}, {-0.93160295F, -0.13348687F}},
        Saved{"parameter.pt", "param", kF32, {3, 3}, {1.0249119F, 0.22231829F}},
        Saved{"scalar.pt", "tensor", kF32, {}, {42}},
        Saved{"special_values.pt", "tensor", kF32, {5}, {kNan, kInf, -kInf, 0, 1}},
        Saved{"state_dict.pt", "weight", kF32, {3, 4}, {0.46790305F, -0.20493191F}},
        Saved{"state_dict.pt", "running_var", kF32, {3}, {1, 1, 1}},
        Saved{"tensor_2d.pt", "tensor", kF32, {3, 2}, {1, 2, 3, 4, 5, 6}},
        Saved{"tensor_3d.pt", "tensor", kF32, {2, 3, 4}, {19.269149F, 14.872842F}},
        Saved{"tensor_4d.pt", "tensor", kF32, {2, 3, 2, 2}, {0.034911666F, 0.32110310F}},
        Saved{"uint8.pt", "tensor", DType::kU8, {4}, {0, 128, 255, 42}}));

TEST(PthFixtures, AllTensorsAreFoundAndOtherLeavesListed) {
  const PthFile checkpoint(fixture("checkpoint.pt"));
  EXPECT_THAT(names_of(checkpoint), ElementsAre("model_state_dict.fc1.weight", "model_state_dict.fc1.bias",
                                                "model_state_dict.fc2.weight", "model_state_dict.fc2.bias",
                                                "optimizer_state_dict.state.0.momentum_buffer"));
  EXPECT_THAT(checkpoint.skipped(), ElementsAre("epoch", "loss"));
  const PthFile nested(fixture("complex_structure.pt"));
  EXPECT_EQ(nested.tensors().size(), 6);
  EXPECT_THAT(nested.skipped(),
              ElementsAre("metadata.version", "metadata.name", "config.hidden_size", "config.num_layers"));
  // Its `_metadata` is no leaf.
  const PthFile state(fixture("linear_with_bias.pt"));
  EXPECT_THAT(names_of(state), ElementsAre("fc1.weight", "fc1.bias"));
  EXPECT_TRUE(state.skipped().empty());
}

TEST(PthFixtures, OlderFormatsAreRefusedByName) {
  for (const char* name : {"legacy_shared_storage.pt", "legacy_uncloned_views.pt", "legacy_with_offsets.pt",
                           "simple_legacy.pt"}) {
    EXPECT_THAT(error_of([&] { PthFile file(fixture(name)); }),
                AllOf(HasSubstr(name), HasSubstr("legacy format of PyTorch before 1.6")));
  }
  EXPECT_THAT(error_of([&] { PthFile file(fixture("broken.pt")); }), HasSubstr("not a PyTorch checkpoint"));
  std::string tar(512, '\0');
  tar.replace(257, 5, "ustar");
  EXPECT_THAT(error_of([&] { PthFile::parse(bytes_of(tar), "x.tar"); }), HasSubstr("a tar file"));
}

TEST(PthFixtures, EveryFixtureIsReadOrRefusedCleanly) {
  int read = 0, refused = 0;
  for (const auto& entry : std::filesystem::directory_iterator(fixture(""))) {
    if (entry.path().extension() != ".pt") continue;
    try {
      read += PthFile(entry.path()).tensors().empty() ? 0 : 1;
    } catch (const Error&) {
      ++refused;
    }
  }
  EXPECT_EQ(read, 26);
  EXPECT_EQ(refused, 5);
}

// ---- writing

std::vector<NamedTensor> views_of(const PthFile& file) {
  std::vector<NamedTensor> views;
  for (const OwnedTensor& tensor : file.tensors()) views.push_back(tensor.view());
  return views;
}

TEST(PthWriter, WritesThePickleOfTorchByteForByte) {
  for (const char* name : {"tensor_2d", "tensor_4d", "scalar", "mixed_types", "large_shape", "bfloat16"}) {
    const std::string file = std::string(name) + ".pt";
    const std::string whole = test::read_file(fixture(file));
    const ZipReader zip(bytes_of(whole), file);
    const std::vector<std::byte> expected = zip.read_up_to(std::string(name) + "/data.pkl", 1 << 20);
    const PthFile loaded(fixture(file));
    const std::string written = write_tensor_pickle(views_of(loaded));
    EXPECT_EQ(written, std::string(reinterpret_cast<const char*>(expected.data()), expected.size())) << name;
  }
}

TEST(PthWriter, RoundTripKeepsEveryDtypeAndShape) {
  const std::vector<uint64_t> data = {0x3c003c003c003c00, 0x0001010001000100, 3, 4, 5, 6};
  const auto bytes = [&](size_t count) { return bytes_of(data).first(count); };
  std::vector<NamedTensor> tensors = {{"f64", DType::kF64, {2, 1, 3}, bytes(48)},
                                      {"f32", DType::kF32, {3}, bytes(12)},
                                      {"bf16", DType::kBF16, {2, 2, 1, 1, 2}, bytes(16)},
                                      {"f16", DType::kF16, {}, bytes(2)},
                                      {"i64", DType::kI64, {1}, bytes(8)},
                                      {"i32", DType::kI32, {2}, bytes(8)},
                                      {"i16", DType::kI16, {2}, bytes(4)},
                                      {"i8", DType::kI8, {5}, bytes(5)},
                                      {"u8", DType::kU8, {1}, bytes(1)},
                                      {"bool", DType::kBool, {2}, bytes(2)}};
  const test::TempDir folder;
  write_pth(folder / "gates.pth", tensors);
  const PthFile file(folder / "gates.pth");
  ASSERT_EQ(file.tensors().size(), tensors.size());
  for (size_t i = 0; i < tensors.size(); ++i) test::expect_same_tensor(file.tensors()[i].view(), tensors[i]);
}

TEST(PthWriter, ManyTensorsUseLongMemoSlotsAndBatches) {
  std::vector<float> values(2001);
  std::vector<NamedTensor> tensors;
  for (size_t i = 0; i < values.size(); ++i) {
    values[i] = static_cast<float>(i);
    tensors.push_back({"layer." + std::to_string(i),
                       DType::kF32,
                       {1},
                       bytes_of(values).subspan(i * sizeof(float), sizeof(float))});
  }
  const test::TempDir folder;
  write_pth(folder / "many.pth", tensors);
  const PthFile file(folder / "many.pth");
  ASSERT_EQ(file.tensors().size(), tensors.size());
  EXPECT_THAT(floats_of(file.at("layer.1999")), ElementsAre(1999));
}

template <typename T>
T field(const std::string& text, size_t at) {
  T value;
  std::memcpy(&value, text.data() + at, sizeof(T));
  return value;
}

// Walks the local headers of a zip file, which follow each other from its start.
TEST(PthWriter, RecordsAreStoredInOrderAndAlignedTo64Bytes) {
  const std::vector<uint8_t> data(1000, 7);
  const auto tensor = [&](const std::string& name, int64_t size) {
    return NamedTensor{name, DType::kU8, {size}, bytes_of(data).first(static_cast<size_t>(size))};
  };
  const std::vector<NamedTensor> tensors = {tensor("a", 1), tensor("b", 64), tensor("c", 999),
                                            tensor("d", 63)};
  const test::TempDir folder;
  for (const std::string stem : {"x", "attn_gate_weights", "größe.v2"}) {
    write_pth(folder / (stem + ".pth"), tensors);
    const std::string file = test::read_file(folder / (stem + ".pth"));
    std::vector<std::string> names;
    size_t at = 0;
    while (file.substr(at, 4) == "PK\x03\x04") {
      EXPECT_EQ(field<uint16_t>(file, at + 6) & 0x0008, 0) << "no data descriptor";
      EXPECT_EQ(field<uint16_t>(file, at + 8), 0) << "stored";
      const auto size = field<uint32_t>(file, at + 18);
      EXPECT_EQ(field<uint32_t>(file, at + 22), size);
      const auto name_length = field<uint16_t>(file, at + 26);
      const auto extra_length = field<uint16_t>(file, at + 28);
      names.push_back(file.substr(at + 30, name_length));
      EXPECT_EQ(file.substr(at + 30 + name_length, 2), "FB");
      const size_t payload = at + 30 + name_length + extra_length;
      EXPECT_EQ(payload % 64, 0) << names.back();
      at = payload + size;
    }
    EXPECT_EQ(file.substr(at, 4), "PK\x01\x02");
    EXPECT_THAT(names, ElementsAre(stem + "/data.pkl", stem + "/byteorder", stem + "/data/0",
                                   stem + "/data/1", stem + "/data/2", stem + "/data/3", stem + "/version"));
    EXPECT_EQ(PthFile(folder / (stem + ".pth")).tensors().size(), tensors.size());
  }
}

TEST(PthWriter, EqualContentGivesEqualFiles) {
  const std::vector<float> values = {1, 2};
  const std::vector<NamedTensor> tensors = {{"w", DType::kF32, {2}, bytes_of(values)}};
  const test::TempDir first, second;
  write_pth(first / "w.pth", tensors);
  write_pth(second / "w.pth", tensors);
  EXPECT_EQ(test::read_file(first / "w.pth"), test::read_file(second / "w.pth"));
  EXPECT_THAT(test::file_names(first.path()), ElementsAre("w.pth"));
}

TEST(PthWriter, RefusesWhatItCannotWrite) {
  const std::vector<float> values = {1, 2};
  const test::TempDir folder;
  const auto written = [&](const std::vector<NamedTensor>& tensors) {
    return error_of([&] { write_pth(folder / "x.pth", tensors); });
  };
  const NamedTensor good{"w", kF32, {2}, bytes_of(values)};
  EXPECT_THAT(written({good, {"e", kF32, {0, 3}, {}}}),
              AllOf(HasSubstr("x.pth"), HasSubstr("'e' of shape [0, 3] is empty")));
  EXPECT_THAT(written({good, good}), HasSubstr("two tensors are called 'w'"));
  EXPECT_THAT(written({{"", kF32, {2}, bytes_of(values)}}), HasSubstr("no name"));
  EXPECT_THAT(written({{"w", kF32, {3}, bytes_of(values)}}), HasSubstr("F32 [3] but has 8 bytes"));
  EXPECT_TRUE(test::file_names(folder.path()).empty());
  EXPECT_THAT(error_of([&] { write_pth(folder / "no/x.pth", std::vector{good}); }),
              HasSubstr("No such file"));
}

TEST(Pth, MissingTensorNamesFileAndNearestNames) {
  const PthFile file(fixture("state_dict.pt"));
  EXPECT_THAT(error_of([&] { file.at("weights"); }),
              AllOf(HasSubstr("state_dict.pt"), HasSubstr("'weights'"), HasSubstr("nearest: 'weight'")));
  EXPECT_EQ(file.find("weights"), nullptr);
}

}  // namespace
}  // namespace seer
