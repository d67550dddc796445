#include "trainer/run_folder.h"

#include <filesystem>
#include <string>
#include <utility>

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include "src/core/error.h"
#include "src/io/atomic_file.h"
#include "tests/support/fixtures.h"

namespace seer {
namespace {

namespace fs = std::filesystem;
using ::testing::AllOf;
using ::testing::HasSubstr;

template <typename Action>
Error error_of(Action action) {
  try {
    action();
  } catch (const Error& error) {
    return error;
  }
  return Error("no error");
}

TEST(RunFolder, CreatesThenOpens) {
  const test::TempDir dir;
  const fs::path path = dir / "runs/first";
  {
    const RunFolder run = RunFolder::create(path, "{}\n");
    EXPECT_EQ(run.paths().root, path);
    EXPECT_EQ(read_text_file(path / "config.json"), "{}\n");
    EXPECT_EQ(run.paths().metrics(), path / "metrics.jsonl");
    EXPECT_EQ(run.paths().gate("g64"), path / "gates/g64");
  }
  const RunFolder again = RunFolder::open(path);
  EXPECT_EQ(again.paths().checkpoints(), path / "checkpoints");
}

TEST(RunFolder, RefusesAFolderThatHoldsARun) {
  const test::TempDir dir;
  for (const char* file : {"config.json", "metrics.jsonl", "tensorboard", "checkpoints", "gates"}) {
    const fs::path path = dir / fmt::format("with {}", file);
    fs::create_directories(path);
    write_file_atomically(path / file, "precious");
    const Error error = error_of([&] { RunFolder::create(path, "{}"); });
    EXPECT_EQ(error.kind(), ErrorKind::kUsage);
    EXPECT_THAT(error.what(), AllOf(HasSubstr(path.string() + " already holds a run"), HasSubstr(file),
                                    HasSubstr("--resume"), HasSubstr("output.dir")));
    EXPECT_EQ(read_text_file(path / file), "precious");
    EXPECT_FALSE(fs::exists(path / ".lock"));
  }
}

TEST(RunFolder, AcceptsAFolderWithOtherFiles) {
  const test::TempDir dir;
  write_file_atomically(dir / "slurm.out", "");
  EXPECT_TRUE(RunFolder::create(dir.path(), "{}").paths().holds_run());
}

TEST(RunFolder, OpeningNoRunSaysSo) {
  const test::TempDir dir;
  for (const fs::path& path : {dir.path(), dir / "missing"}) {
    const Error error = error_of([&] { RunFolder::open(path); });
    EXPECT_EQ(error.kind(), ErrorKind::kUsage);
    EXPECT_THAT(error.what(), HasSubstr(path.string() + " holds no run to resume"));
    EXPECT_FALSE(fs::exists(path / ".lock"));
  }
}

TEST(RunFolder, TwoProcessesNeverWriteTheSameRun) {
  const test::TempDir dir;
  int ready[2];
  int done[2];
  ASSERT_EQ(::pipe(ready), 0);
  ASSERT_EQ(::pipe(done), 0);
  const pid_t child = ::fork();
  if (child == 0) {
    char c = 'x';
    const RunFolder run = RunFolder::create(dir.path(), "{}");
    const bool told = run.paths().holds_run() && ::write(ready[1], &c, 1) == 1;
    ::_exit(told && ::read(done[0], &c, 1) == 1 ? 0 : 1);
  }
  char c = 'x';
  ASSERT_EQ(::read(ready[0], &c, 1), 1);
  const Error error = error_of([&] { RunFolder::open(dir.path()); });
  EXPECT_EQ(error.kind(), ErrorKind::kRuntime);
  EXPECT_THAT(error.what(),
              AllOf(HasSubstr(dir.path().string()), HasSubstr(fmt::format("(pid {} on ", child))));
  ASSERT_EQ(::write(done[1], &c, 1), 1);
  int status = 0;
  ::waitpid(child, &status, 0);
  EXPECT_EQ(status, 0);
  for (const int fd : {ready[0], ready[1], done[0], done[1]}) ::close(fd);
  RunFolder::open(dir.path());  // the lock went with its process, which never ran a destructor
}

TEST(RunFolder, LockMovesWithTheObject) {
  const test::TempDir dir;
  RunFolder first = RunFolder::create(dir.path(), "{}");
  {
    const RunFolder second = std::move(first);
    EXPECT_THROW(RunFolder::open(dir.path()), Error);
  }
  EXPECT_NO_THROW(RunFolder::open(dir.path()));
}

TEST(RunFolder, PlacesThatCannotBeWrittenAreNamed) {
  const test::TempDir dir;
  write_file_atomically(dir / "file", "");
  EXPECT_THAT(error_of([&] { RunFolder::create(dir / "file/run", "{}"); }).what(),
              HasSubstr("cannot make run folder " + (dir / "file/run").string()));
  EXPECT_THAT(error_of([&] { RunFolder::create(dir / "file", "{}"); }).what(),
              HasSubstr((dir / "file").string()));
  // /proc refuses new files to everybody, root included.
  EXPECT_THAT(error_of([&] { RunFolder::create("/proc/self/task", "{}"); }).what(),
              HasSubstr("cannot write /proc/self/task/.lock"));
}

TEST(RunPaths, GateNamesStayInTheirFolder) {
  const RunPaths paths{"/run"};
  for (const char* name : {"", ".", "..", ".hidden", "a/b", "/abs"}) {
    EXPECT_EQ(error_of([&] { static_cast<void>(paths.gate(name)); }).kind(), ErrorKind::kUsage) << name;
  }
}

}  // namespace
}  // namespace seer
