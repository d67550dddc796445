#include "src/io/safetensors.h"

#include <gmock/gmock.h>

#include "src/core/error.h"
#include "tests/io/bytes.h"
#include "tests/support/fixtures.h"

namespace seer {
namespace {

using test::bytes_of;
using test::error_of;
using test::safetensors_text;
using test::values_of;
using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;

SafetensorsFile parse(const std::string& text) {
  return SafetensorsFile::parse(bytes_of(text), "made.safetensors");
}

std::vector<std::string> names_of(const SafetensorsFile& file) {
  std::vector<std::string> names;
  for (const NamedTensor& tensor : file.tensors()) names.push_back(tensor.name);
  return names;
}

TEST(Safetensors, RoundTripKeepsEveryDtypeAndShape) {
  const std::vector<double> f64 = {1.5, -2.5};
  const std::vector<float> f32 = {1, 2, 3, 4, 5, 6};
  const std::vector<uint16_t> half = {0x3c00, 0x4000};
  const std::vector<int64_t> i64 = {-1};
  const std::vector<int8_t> i8 = {-3, 0, 3};
  const std::vector<NamedTensor> tensors = {
      {"b", DType::kI8, {3}, bytes_of(i8)},       {"a", DType::kBool, {3, 1}, bytes_of(i8)},
      {"scalar", DType::kI64, {}, bytes_of(i64)}, {"empty", DType::kF32, {0, 7}, {}},
      {"z", DType::kF32, {2, 3}, bytes_of(f32)},  {"half", DType::kBF16, {1, 2, 1}, bytes_of(half)},
      {"wide", DType::kF64, {2}, bytes_of(f64)},  {"na\"me\nß", DType::kF16, {2}, bytes_of(half)}};
  const test::TempDir folder;
  write_safetensors(folder / "x.safetensors", tensors, {{"format", "pt"}, {"k", "v\""}});

  const SafetensorsFile file(folder / "x.safetensors");
  EXPECT_EQ(file.tensors().size(), tensors.size());
  for (const NamedTensor& tensor : tensors) test::expect_same_tensor(file.at(tensor.name), tensor);
  EXPECT_EQ(file.metadata(), (std::map<std::string, std::string>{{"format", "pt"}, {"k", "v\""}}));
  // By descending dtype size, then by name.
  EXPECT_THAT(names_of(file), ElementsAre("scalar", "wide", "empty", "z", "half", "na\"me\nß", "a", "b"));
  for (const NamedTensor& tensor : file.tensors()) {
    EXPECT_EQ(reinterpret_cast<uintptr_t>(tensor.bytes.data()) % size_of(tensor.dtype), 0) << tensor.name;
  }
}

TEST(Safetensors, WritesTheDocumentedBytes) {
  const std::vector<float> values = {1};
  const std::vector<NamedTensor> tensors = {{"w", DType::kF32, {1}, bytes_of(values)}};
  const test::TempDir folder;
  write_safetensors(folder / "x.safetensors", tensors, {{"format", "pt"}});
  std::string header =
      R"({"__metadata__":{"format":"pt"},"w":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}})";
  header.resize((header.size() + 7) / 8 * 8, ' ');
  EXPECT_EQ(test::read_file(folder / "x.safetensors"), safetensors_text(header, test::little_endian(1.0F)));
}

TEST(Safetensors, NoTensorsAtAllIsLegal) {
  const test::TempDir folder;
  write_safetensors(folder / "x.safetensors", {}, {});
  EXPECT_TRUE(SafetensorsFile(folder / "x.safetensors").tensors().empty());
}

TEST(Safetensors, ReadsAFileWrittenByTheReferenceTools) {
  for (const auto& path : test::golden_cases("pth")) {
    if (path.extension() != ".safetensors") continue;
    const SafetensorsFile file(path);
    EXPECT_EQ(file.at("i64").dtype, DType::kI64);
    EXPECT_THAT(file.at("strided").shape, ElementsAre(4, 6));
    return;
  }
  FAIL() << "no .safetensors among the goldens";
}

TEST(Safetensors, KeepsFileOrderAndSurvivesMoves) {
  SafetensorsFile first = parse(safetensors_text(
      R"({"b":{"dtype":"U8","shape":[2],"data_offsets":[1,3]},"a":{"dtype":"U8","shape":[],"data_offsets":[0,1]},)"
      R"("none":{"dtype":"F64","shape":[3,0],"data_offsets":[1,1]}}   )",
      "xyz"));
  const SafetensorsFile file = std::move(first);
  EXPECT_THAT(names_of(file), ElementsAre("a", "none", "b"));
  EXPECT_EQ(file.find("b"), &file.tensors()[2]);
  EXPECT_THAT(values_of<char>(file.at("b").bytes), ElementsAre('y', 'z'));
  EXPECT_EQ(file.at("a").numel(), 1);
  EXPECT_EQ(file.at("none").numel(), 0);
  EXPECT_EQ(file.find("c"), nullptr);
}

TEST(Safetensors, MissingTensorNamesFileAndNearestNames) {
  const SafetensorsFile file = parse(safetensors_text(
      R"({"model.norm.weight":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"lm_head.weight":{"dtype":"U8","shape":[1],"data_offsets":[1,2]}})",
      "xy"));
  const std::string message = error_of([&] { file.at("model.norm.weights"); });
  EXPECT_THAT(message, AllOf(HasSubstr("made.safetensors"), HasSubstr("'model.norm.weights'"),
                             HasSubstr("nearest: 'model.norm.weight')")));
  EXPECT_THAT(error_of([&] { file.at("something else entirely"); }), Not(HasSubstr("nearest")));
}

TEST(Safetensors, WriterRefusesWhatItCannotWrite) {
  const std::vector<float> values = {1, 2};
  const test::TempDir folder;
  const auto written = [&](const std::vector<NamedTensor>& tensors,
                           const std::map<std::string, std::string>& metadata = {}) {
    return error_of([&] { write_safetensors(folder / "x.safetensors", tensors, metadata); });
  };
  const NamedTensor good{"w", DType::kF32, {2}, bytes_of(values)};
  EXPECT_THAT(written({good, good}), HasSubstr("two tensors are called 'w'"));
  EXPECT_THAT(written({{"w", DType::kF32, {3}, bytes_of(values)}}),
              HasSubstr("'w' is F32 [3] but has 8 bytes"));
  EXPECT_THAT(written({{"w", DType::kF32, {-2}, bytes_of(values)}}), HasSubstr("[-2]"));
  EXPECT_THAT(written({{"__metadata__", DType::kF32, {2}, bytes_of(values)}}), HasSubstr("__metadata__"));
  EXPECT_THAT(written({{"\xff", DType::kF32, {2}, bytes_of(values)}}), HasSubstr("UTF-8"));
  EXPECT_THAT(written({good}, {{"k", "\xff"}}), HasSubstr("UTF-8"));
  EXPECT_TRUE(test::file_names(folder.path()).empty());
  EXPECT_THAT(error_of([&] { write_safetensors(folder / "no/x.safetensors", {}, {}); }),
              HasSubstr("No such file or directory"));
}

}  // namespace
}  // namespace seer
