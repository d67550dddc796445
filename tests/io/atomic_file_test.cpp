#include "src/io/atomic_file.h"

#include <gmock/gmock.h>

#include "src/core/error.h"
#include "src/io/pth.h"
#include "src/io/safetensors.h"
#include "tests/io/bytes.h"
#include "tests/support/file_size_limit.h"
#include "tests/support/fixtures.h"

namespace seer {
namespace {

using test::error_of;
using test::file_names;
using test::read_file;
using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

TEST(AtomicFile, CommitReplacesTheTarget) {
  const test::TempDir folder;
  test::write_file(folder / "f", "old");
  AtomicFile file(folder / "f");
  file.write("one ");
  file.write("two");
  EXPECT_EQ(read_file(folder / "f"), "old");
  EXPECT_EQ(file.size(), 7);
  file.commit();
  EXPECT_EQ(read_file(folder / "f"), "one two");
  EXPECT_THAT(file_names(folder.path()), ElementsAre("f"));
}

TEST(AtomicFile, WriteAtChangesBytesInPlace) {
  const test::TempDir folder;
  AtomicFile file(folder / "f");
  file.write("abcdef");
  file.write_at(1, test::bytes_of("XY"));
  file.write("g");
  file.write_at(7, test::bytes_of("hi"));
  EXPECT_EQ(file.size(), 9);
  file.commit();
  EXPECT_EQ(read_file(folder / "f"), "aXYdefghi");
}

TEST(AtomicFile, WithoutCommitNothingChanges) {
  const test::TempDir folder;
  test::write_file(folder / "f", "old");
  { AtomicFile(folder / "f").write("new"); }
  EXPECT_EQ(read_file(folder / "f"), "old");
  EXPECT_THAT(file_names(folder.path()), ElementsAre("f"));
}

TEST(AtomicFile, FullDiskLeavesTheOldFile) {
  const test::TempDir folder;
  test::write_file(folder / "f", "old");
  std::string message;
  {
    const test::FileSizeLimit limit(1000);
    message = error_of([&] { write_file_atomically(folder / "f", std::string(5000, 'x')); });
  }
  EXPECT_THAT(message, AllOf(HasSubstr("cannot write"), HasSubstr((folder / "f").string()),
                             HasSubstr("File too large")));
  EXPECT_EQ(read_file(folder / "f"), "old");
  EXPECT_THAT(file_names(folder.path()), ElementsAre("f"));
}

TEST(AtomicFile, TensorWritersLeaveNothingBehindOnAFullDisk) {
  const test::TempDir folder;
  const std::vector<float> values(10'000);
  const std::vector<NamedTensor> tensors = {{"w", DType::kF32, {100, 100}, test::bytes_of(values)}};
  std::string safetensors, pth;
  {
    const test::FileSizeLimit limit(20'000);
    safetensors = error_of([&] { write_safetensors(folder / "x.safetensors", tensors, {}); });
    pth = error_of([&] { write_pth(folder / "x.pth", tensors); });
  }
  EXPECT_THAT(safetensors, AllOf(HasSubstr("x.safetensors"), HasSubstr("File too large")));
  EXPECT_THAT(pth, AllOf(HasSubstr("x.pth"), HasSubstr("File too large")));
  EXPECT_THAT(file_names(folder.path()), IsEmpty());
}

TEST(AtomicFile, UnwritableTargetIsNamed) {
  const test::TempDir folder;
  EXPECT_THAT(error_of([&] { AtomicFile(folder / "no/f"); }),
              AllOf(HasSubstr((folder / "no/f").string()), HasSubstr("No such file or directory")));
  test::write_file(folder / "file", "");
  EXPECT_THAT(error_of([&] { AtomicFile(folder / "file/f"); }), HasSubstr("Not a directory"));
  std::filesystem::create_directory(folder / "d");
  AtomicFile onto_a_folder(folder / "d");
  EXPECT_THAT(error_of([&] { onto_a_folder.commit(); }), HasSubstr("Is a directory"));
  EXPECT_THAT(file_names(folder.path()), ElementsAre("d", "file"));
}

TEST(AtomicFile, ReadTextFileHasALimit) {
  const test::TempDir folder;
  test::write_file(folder / "f", "12345");
  EXPECT_EQ(read_text_file(folder / "f"), "12345");
  EXPECT_THAT(error_of([&] { read_text_file(folder / "f", 4); }), HasSubstr("more than the 4 accepted"));
}

TEST(CommitFolder, MovesAndReplaces) {
  const test::TempDir folder;
  const auto make = [&](const std::string& name, const std::string& text) {
    std::filesystem::create_directories(folder / name / "sub");
    test::write_file(folder / name / "sub" / "f", text);
  };
  make("new.tmp", "1");
  commit_folder(folder / "new.tmp", folder / "target");
  EXPECT_EQ(read_file(folder / "target" / "sub" / "f"), "1");
  make("new.tmp", "2");
  commit_folder(folder / "new.tmp", folder / "target");
  EXPECT_EQ(read_file(folder / "target" / "sub" / "f"), "2");
  EXPECT_THAT(file_names(folder.path()), ElementsAre("target"));
  make("new.tmp", "3");
  EXPECT_THAT(error_of([&] { commit_folder(folder / "new.tmp", folder / "no/target"); }),
              HasSubstr("cannot move"));
}

}  // namespace
}  // namespace seer
