#include "src/io/npy.h"

#include <limits>

#include <gmock/gmock.h>

#include "src/core/error.h"
#include "tests/io/bytes.h"
#include "tests/support/fixtures.h"

namespace seer {
namespace {

using test::error_of;
using test::little_endian;
using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;

std::string npy_text(const std::string& header, std::string_view data, char version = 1) {
  const std::string length = version == 1 ? little_endian(static_cast<uint16_t>(header.size()))
                                          : little_endian(static_cast<uint32_t>(header.size()));
  return std::string("\x93NUMPY") + version + '\0' + length + header + std::string(data);
}

std::string header_of(const std::string& descr, const std::string& shape,
                      const std::string& order = "False") {
  return "{'descr': '" + descr + "', 'fortran_order': " + order + ", 'shape': " + shape + ", }     \n";
}

template <typename T>
std::string data_of(const std::vector<T>& values) {
  return {reinterpret_cast<const char*>(values.data()), values.size() * sizeof(T)};
}

class Npy : public testing::Test {
 protected:
  NpyFile open(const std::string& text) {
    test::write_file(folder_ / "ids.npy", text);
    return NpyFile(folder_ / "ids.npy");
  }
  std::string error(const std::string& text) {
    return error_of([&] { open(text); });
  }

  test::TempDir folder_;
};

template <typename T>
class NpyDtype : public Npy {};
using Dtypes = testing::Types<int8_t, uint8_t, int16_t, uint16_t, int32_t, uint32_t, int64_t, uint64_t>;
TYPED_TEST_SUITE(NpyDtype, Dtypes);

TYPED_TEST(NpyDtype, ReadsIdsOfAnyWidth) {
  using T = TypeParam;
  const std::string descr =
      std::string(sizeof(T) == 1 ? "|" : "<") + (std::is_signed_v<T> ? "i" : "u") + std::to_string(sizeof(T));
  const NpyFile file =
      this->open(npy_text(header_of(descr, "(2, 3)"), data_of(std::vector<T>{1, 2, 3, 4, 5, 100})));
  EXPECT_EQ(file.dtype(), descr);
  EXPECT_THAT(file.shape(), ElementsAre(2, 3));
  std::vector<int32_t> ids;
  file.read_ids(0, 6, ids);
  EXPECT_THAT(ids, ElementsAre(1, 2, 3, 4, 5, 100));
  file.read_ids(4, 2, ids);
  EXPECT_THAT(ids, ElementsAre(5, 100));
  file.read_ids(6, 0, ids);
  EXPECT_TRUE(ids.empty());
  EXPECT_THROW(file.read_ids(5, 2, ids), Error);
  EXPECT_THROW(file.read_ids(-1, 2, ids), Error);
}

TYPED_TEST(NpyDtype, RefusesValuesThatAreNoIds) {
  using T = TypeParam;
  const bool can_be_wrong = std::is_signed_v<T> || sizeof(T) >= 4;
  if (!can_be_wrong) return;
  const T wrong = std::is_signed_v<T> ? T(-1) : std::numeric_limits<T>::max();
  const std::string descr =
      std::string(sizeof(T) == 1 ? "|" : "<") + (std::is_signed_v<T> ? "i" : "u") + std::to_string(sizeof(T));
  const NpyFile file = this->open(npy_text(header_of(descr, "(3,)"), data_of(std::vector<T>{7, 8, wrong})));
  std::vector<int32_t> ids;
  file.read_ids(0, 2, ids);
  EXPECT_THAT(error_of([&] { file.read_ids(1, 2, ids); }),
              AllOf(HasSubstr("ids.npy"), HasSubstr("element 2")));
}

TEST_F(Npy, LargestIdAndOneMore) {
  const NpyFile file =
      open(npy_text(header_of("<i8", "(2,)"), data_of(std::vector<int64_t>{2147483647, 2147483648})));
  std::vector<int32_t> ids;
  file.read_ids(0, 1, ids);
  EXPECT_EQ(ids[0], 2147483647);
  EXPECT_THROW(file.read_ids(1, 1, ids), Error);
}

TEST_F(Npy, Versions2And3AndOtherSpellings) {
  const std::string one = data_of(std::vector<int32_t>{9});
  for (const char version : {2, 3}) {
    EXPECT_EQ(open(npy_text(header_of("<i4", "(1,)"), one, version)).numel(), 1);
  }
  EXPECT_TRUE(open(npy_text(header_of("<i4", "()"), one)).shape().empty());
  EXPECT_EQ(open(npy_text(header_of("<i4", "(0, 5)"), "")).numel(), 0);
  EXPECT_EQ(open(npy_text(R"({"shape":(1),"descr":"<i4","fortran_order":False})", one)).numel(), 1);
}

TEST_F(Npy, RefusesOtherArrays) {
  const std::string eight(8, '\0');
  EXPECT_THAT(error(npy_text(header_of("<i4", "(2,)", "True"), eight)), HasSubstr("fortran_order"));
  EXPECT_THAT(error(npy_text(header_of("|O", "(1,)"), eight)), HasSubstr("'|O'"));
  EXPECT_THAT(error(npy_text(header_of(">i4", "(2,)"), eight)), HasSubstr("'>i4'"));
  EXPECT_THAT(error(npy_text(header_of("<f4", "(2,)"), eight)), HasSubstr("'<f4'"));
  EXPECT_THAT(error(npy_text("{'descr': [('a', '<i4')], 'fortran_order': False, 'shape': (2,), }", eight)),
              HasSubstr("structured"));
  EXPECT_THAT(error(npy_text(header_of("<i4", "(3,)"), eight)), HasSubstr("do not match the 8 bytes"));
  EXPECT_THAT(error(npy_text(header_of("<i4", "(1,)"), eight)), HasSubstr("do not match"));
  EXPECT_THAT(error(npy_text(header_of("<i4", "(4611686018427387906,)"), eight)), HasSubstr("do not match"));
  EXPECT_THAT(error(npy_text(header_of("<i4", "(-2,)"), eight)), HasSubstr("damaged"));
  EXPECT_THAT(error(npy_text("{'descr': '<i4', 'shape': (2,), }", eight)), HasSubstr("lacks"));
  EXPECT_THAT(error(npy_text(header_of("<i4", "(2,)"), eight, 4)), HasSubstr("version 4"));
  EXPECT_THAT(error("PK"), HasSubstr("not a .npy file"));
}

TEST_F(Npy, EveryTruncationIsRefused) {
  const std::string text = npy_text(header_of("<i4", "(2,)"), std::string(8, '\0'));
  for (size_t length = 0; length < text.size(); ++length) {
    EXPECT_THROW(open(text.substr(0, length)), Error) << length;
  }
}

}  // namespace
}  // namespace seer
