#include "src/io/model_files.h"

#include <gmock/gmock.h>

#include "tests/io/bytes.h"
#include "tests/support/fixtures.h"

namespace seer {
namespace {

using test::error_of;
using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;

class ModelFilesTest : public testing::Test {
 protected:
  void write(const std::string& file, const std::vector<std::string>& names) {
    const std::string data = "x";
    std::vector<NamedTensor> tensors;
    for (const std::string& name : names) tensors.push_back({name, DType::kU8, {1}, test::bytes_of(data)});
    write_safetensors(folder_ / file, tensors, {{"format", "pt"}});
  }

  void write_index(const std::string& text) {
    test::write_file(folder_ / "model.safetensors.index.json", text);
  }

  std::string error() {
    return error_of([&] { ModelFiles files(folder_.path()); });
  }

  test::TempDir folder_;
};

TEST_F(ModelFilesTest, SingleFile) {
  write("model.safetensors", {"b", "a"});
  const ModelFiles files(folder_.path());
  EXPECT_THAT(files.names(), ElementsAre("a", "b"));
  EXPECT_EQ(files.find("c"), nullptr);
  EXPECT_EQ(files.at("a").name, "a");
  EXPECT_EQ(files.total_bytes(), 2);
  EXPECT_THAT(error_of([&] { files.at("aa"); }),
              AllOf(HasSubstr(folder_.path().string()), HasSubstr("'aa'"), HasSubstr("'a'")));
}

TEST_F(ModelFilesTest, ShardsAreOneSetOfTensors) {
  write("model-00001-of-00002.safetensors", {"a", "c"});
  write("model-00002-of-00002.safetensors", {"b", "not in the index"});
  write_index(R"({"metadata":{"total_size":3},"weight_map":{"a":"model-00001-of-00002.safetensors",)"
              R"("b":"model-00002-of-00002.safetensors","c":"model-00001-of-00002.safetensors"}})");
  const ModelFiles files(folder_.path());
  EXPECT_THAT(files.names(), ElementsAre("a", "b", "c"));
  EXPECT_EQ(files.at("b").bytes.size(), 1);
}

TEST_F(ModelFilesTest, MissingShard) {
  write("one.safetensors", {"a"});
  write_index(R"({"weight_map":{"a":"one.safetensors","b":"two.safetensors"}})");
  EXPECT_THAT(error(), AllOf(HasSubstr("'two.safetensors'"), HasSubstr("'b'"), HasSubstr("missing")));
}

TEST_F(ModelFilesTest, ShardWithoutItsTensor) {
  write("one.safetensors", {"a"});
  write_index(R"({"weight_map":{"a":"one.safetensors","b":"one.safetensors"}})");
  EXPECT_THAT(error(), AllOf(HasSubstr("one.safetensors: no tensor 'b'"), HasSubstr("index.json")));
}

TEST_F(ModelFilesTest, IndexMustNotLeaveTheFolder) {
  write("one.safetensors", {"a"});
  for (const char* shard : {"../one.safetensors", "/etc/passwd", "x/../../one.safetensors", ""}) {
    write_index(std::string(R"({"weight_map":{"a":")") + shard + R"("}})");
    EXPECT_THAT(error(), HasSubstr("not inside the model's folder")) << shard;
  }
}

TEST_F(ModelFilesTest, DamagedIndex) {
  write("one.safetensors", {"a"});
  write_index(R"({"weight_map":{"a":"one.safetensors","a":"one.safetensors"}})");
  EXPECT_THAT(error(), HasSubstr("'a' occurs twice"));
  write_index(R"({"weight_map":{"a":1}})");
  EXPECT_THAT(error(), HasSubstr("expected a file name"));
  write_index(R"({"weight_map":[]})");
  EXPECT_THAT(error(), HasSubstr("weight_map"));
  write_index("[]");
  EXPECT_THAT(error(), HasSubstr("weight_map"));
  write_index(R"({"weight_map":{"a":"one.saf)");
  EXPECT_THAT(error(), HasSubstr("not valid JSON"));
  write_index(std::string(100, '['));
  EXPECT_THAT(error(), HasSubstr("nested deeper"));
  write_index(R"({"weight_map":{"a":")" + std::string(100'000, 'n') + R"("}})");
  EXPECT_THAT(error(), HasSubstr("missing"));
}

TEST_F(ModelFilesTest, SaysWhatItLookedFor) {
  EXPECT_THAT(error(), AllOf(HasSubstr("model.safetensors"), HasSubstr("model.safetensors.index.json")));
  test::write_file(folder_ / "pytorch_model.bin", "");
  EXPECT_THAT(error(), HasSubstr("convert the weights to safetensors"));
  EXPECT_THAT(error_of([&] { ModelFiles files(folder_ / "nowhere"); }), HasSubstr("no such folder"));
}

}  // namespace
}  // namespace seer
