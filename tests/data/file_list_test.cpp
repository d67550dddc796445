#include "data/file_list.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/data/corpus_files.h"
#include "tests/support/fixtures.h"

namespace seer {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::UnorderedElementsAre;

class FileListTest : public ::testing::Test {
 protected:
  void touch(const std::string& name, const std::string& bytes = "x") {
    test::write_bytes(folder_ / name, bytes);
  }

  std::vector<std::string> names(const std::vector<std::string>& inputs) {
    std::vector<std::string> full;
    for (const std::string& input : inputs) full.push_back((folder_ / input).string());
    std::vector<std::string> found;
    for (const DataFile& file : expand_inputs(full))
      found.push_back(std::filesystem::relative(file.path, folder_.path()).string());
    return found;
  }

  std::string error(const std::string& input) {
    return test::error_of([&] { expand_inputs({(folder_ / input).string()}); });
  }

  test::TempDir folder_;
};

TEST_F(FileListTest, FolderIsSortedRecursiveAndWithoutHiddenFiles) {
  for (const char* name :
       {"b.jsonl", "a/z.txt", "a/b.npy", "c.jsonl.gz", ".hidden.jsonl", ".git/x.jsonl", "README.md"})
    touch(name);
  EXPECT_THAT(names({"."}), ElementsAre("a/b.npy", "a/z.txt", "b.jsonl", "c.jsonl.gz"));
}

TEST_F(FileListTest, InputsKeepTheirOrderAndRepeats) {
  touch("b.txt");
  touch("a.txt");
  EXPECT_THAT(names({"b.txt", "a.txt", "b.txt"}), ElementsAre("b.txt", "a.txt", "b.txt"));
}

TEST_F(FileListTest, GlobsMatchFilesAndFolders) {
  for (const char* name :
       {"part-2.jsonl", "part-1.jsonl", "part-10.jsonl", "other.txt", "sub1/x.txt", "sub2/y.txt"})
    touch(name);
  EXPECT_THAT(names({"part-?.jsonl"}), ElementsAre("part-1.jsonl", "part-2.jsonl"));
  EXPECT_THAT(names({"sub*"}), ElementsAre("sub1/x.txt", "sub2/y.txt"));
  EXPECT_THAT(error("nothing-*"), HasSubstr("no file matches"));
}

TEST_F(FileListTest, ANameWithGlobCharactersIsTakenAsItStands) {
  touch("odd[1].txt");
  EXPECT_THAT(names({"odd[1].txt"}), ElementsAre("odd[1].txt"));
}

TEST_F(FileListTest, FormatsGoByTheName) {
  touch("a.JSONL.zst", "12345");
  const auto files = expand_inputs({(folder_ / "a.JSONL.zst").string()});
  ASSERT_EQ(files.size(), 1U);
  EXPECT_EQ(files[0].format, DataFormat::kJsonLines);
  EXPECT_EQ(files[0].compression, Compression::kZstd);
  EXPECT_EQ(files[0].size, 5);
}

TEST_F(FileListTest, OtherKindsAreRefusedByName) {
  for (const char* name : {"notes.md", "ids.npy.gz", "noextension"}) {
    touch(name);
    EXPECT_THAT(error(name), AllOf(HasSubstr(name), HasSubstr(".jsonl"), HasSubstr(".safetensors")));
  }
}

TEST_F(FileListTest, ParquetIsRefusedWithTheConversion) {
  touch("sub/train.parquet");
  const auto says_how = AllOf(HasSubstr("train.parquet"), HasSubstr("python3 -c"), HasSubstr("train.jsonl"));
  EXPECT_THAT(error("sub/train.parquet"), says_how);
  touch("sub/a.jsonl");
  EXPECT_THAT(error("sub"), says_how);
}

TEST_F(FileListTest, MissingAndEmptyAreErrors) {
  EXPECT_THAT(error("gone.jsonl"), AllOf(HasSubstr("gone.jsonl"), HasSubstr("no such file")));
  std::filesystem::create_directories(folder_ / "empty");
  EXPECT_THAT(error("empty"), HasSubstr("no data file"));
  EXPECT_THAT(test::error_of([] { expand_inputs({}); }), HasSubstr("data.files"));
}

TEST_F(FileListTest, OrderIsSeededPerEpoch) {
  const auto first = file_order(8, 1, 0, true);
  EXPECT_THAT(first, UnorderedElementsAre(0, 1, 2, 3, 4, 5, 6, 7));
  EXPECT_EQ(first, file_order(8, 1, 0, true));
  EXPECT_NE(first, file_order(8, 1, 1, true));
  EXPECT_NE(first, file_order(8, 2, 0, true));
  EXPECT_THAT(file_order(3, 1, 5, false), ElementsAre(0, 1, 2));
}

}  // namespace
}  // namespace seer
