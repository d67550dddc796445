#include "src/core/error.h"

#include <cerrno>

#include <gmock/gmock.h>

namespace seer {
namespace {

using testing::AllOf;
using testing::HasSubstr;

template <typename Action>
Error thrown_by(const Action& action) {
  try {
    action();
  } catch (const Error& e) {
    return e;
  }
  ADD_FAILURE() << "no seer::Error was thrown";
  return Error("");
}

TEST(Error, FailFormatsItsMessage) {
  const Error error = thrown_by([] { fail("{}: tensor {}", "x.safetensors", 7); });
  EXPECT_STREQ(error.what(), "x.safetensors: tensor 7");
  EXPECT_EQ(error.kind(), ErrorKind::kRuntime);
  EXPECT_EQ(thrown_by([] { fail_usage("unknown key {}", "a.b"); }).kind(), ErrorKind::kUsage);
}

TEST(Error, FailErrnoEndsWithTheCause) {
  EXPECT_THAT(thrown_by([] { fail_errno("cannot write /x", ENOSPC); }).what(),
              AllOf(HasSubstr("cannot write /x"), HasSubstr("No space left on device")));
}

TEST(Error, CheckNamesExpressionFileAndValues) {
  const int rows = 3;
  EXPECT_NO_THROW(SEER_CHECK(rows == 3, "{} rows", rows));
  EXPECT_THAT(thrown_by([&] { SEER_CHECK(rows > 4, "{} rows", rows); }).what(),
              AllOf(HasSubstr("rows > 4"), HasSubstr("error_test.cpp"), HasSubstr("3 rows")));
}

}  // namespace
}  // namespace seer
