// Truncated, bit-flipped and lying safetensors files: each gets an Error that names file and cause.
#include <limits>

#include <gmock/gmock.h>

#include "src/core/error.h"
#include "src/io/safetensors.h"
#include "tests/io/bytes.h"
#include "tests/support/fixtures.h"

namespace seer {
namespace {

using test::bytes_of;
using test::error_of;
using test::safetensors_text;
using testing::AllOf;
using testing::HasSubstr;

void parse(std::string_view text) {
  SafetensorsFile::parse(bytes_of(text), "bad.safetensors");
}

constexpr std::string_view kGood =
    R"({"__metadata__":{"format":"pt"},"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"b":{"dtype":"BF16","shape":[1,2],"data_offsets":[8,12]}})";

TEST(SafetensorsDamage, EveryTruncationIsRefused) {
  const std::string text = safetensors_text(kGood, std::string(12, 'x'));
  ASSERT_NO_THROW(parse(text));
  for (size_t length = 0; length < text.size(); ++length) {
    // A copy of its own size, so that AddressSanitizer sees a read past the end.
    const std::vector<char> cut(text.begin(), text.begin() + static_cast<std::ptrdiff_t>(length));
    EXPECT_THROW(parse({cut.data(), cut.size()}), Error) << length;
  }
  EXPECT_THROW(parse(text + "x"), Error);
}

TEST(SafetensorsDamage, EveryBitFlipOfTheHeaderIsRefusedOrHarmless) {
  const std::string text = safetensors_text(kGood, std::string(12, 'x'));
  int refused = 0;
  for (size_t bit = 0; bit < 8 * (text.size() - 12); ++bit) {
    std::string flipped = text;
    flipped[bit / 8] = static_cast<char>(flipped[bit / 8] ^ (1 << (bit % 8)));
    try {
      const SafetensorsFile file = SafetensorsFile::parse(bytes_of(flipped), "bad.safetensors");
      // What still parses tiles the data exactly: a name, metadata or dtype of the same size has changed.
      size_t total = 0;
      for (const NamedTensor& tensor : file.tensors()) total += tensor.bytes.size();
      EXPECT_EQ(total, 12) << "bit " << bit;
    } catch (const Error& e) {
      EXPECT_THAT(e.what(), HasSubstr("bad.safetensors"));
      ++refused;
    }
  }
  EXPECT_GT(refused, 900);
}

TEST(SafetensorsDamage, HeaderLengthLies) {
  const auto with_length = [](uint64_t length) {
    return test::little_endian(length) + std::string(kGood) + std::string(12, 'x');
  };
  EXPECT_THAT(error_of([&] { parse(with_length(100'000'001)); }),
              HasSubstr("more than the 100000000 allowed"));
  EXPECT_THAT(error_of([&] { parse(with_length(std::numeric_limits<uint64_t>::max())); }),
              HasSubstr("allowed"));
  EXPECT_THAT(error_of([&] { parse(with_length(100'000'000)); }), HasSubstr("truncated"));
  EXPECT_THAT(error_of([&] { parse(with_length(kGood.size() + 13)); }), HasSubstr("truncated"));
  EXPECT_THAT(error_of([&] { parse(with_length(0)); }), HasSubstr("does not start with '{'"));
  EXPECT_THAT(error_of([&] { parse(with_length(kGood.size() - 1)); }), HasSubstr("not valid JSON"));
  EXPECT_THAT(error_of([&] { parse("short"); }), HasSubstr("5 bytes"));
}

struct Lie {
  const char* label;
  std::string header;
  const char* message;
};

class SafetensorsLie : public testing::TestWithParam<Lie> {};

TEST_P(SafetensorsLie, IsRefusedByName) {
  const std::string text = safetensors_text(GetParam().header, std::string(8, 'x'));
  EXPECT_THAT(error_of([&] { parse(text); }),
              AllOf(HasSubstr("bad.safetensors"), HasSubstr(GetParam().message)))
      << GetParam().header;
}

std::string one(std::string_view dtype, std::string_view shape, std::string_view offsets) {
  return fmt::format(R"({{"t":{{"dtype":"{}","shape":{},"data_offsets":{}}}}})", dtype, shape, offsets);
}

std::string two(std::string_view offsets_a, std::string_view offsets_b) {
  return fmt::format(
      R"({{"a":{{"dtype":"F32","shape":[1],"data_offsets":{}}},"b":{{"dtype":"F32","shape":[1],"data_offsets":{}}}}})",
      offsets_a, offsets_b);
}

const std::string kEntry = R"({"dtype":"F32","shape":[2],"data_offsets":[0,8]})";

INSTANTIATE_TEST_SUITE_P(
    SafetensorsDamage, SafetensorsLie,
    testing::Values(
        Lie{"Overlap", two("[0,4]", "[2,6]"), "'b' at [2, 6] overlaps tensor 'a'"},
        Lie{"SameRange", two("[0,4]", "[0,4]"), "overlaps"},
        Lie{"Hole", R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}})", "hole of 4 bytes"},
        Lie{"DataLeftOver", R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}})",
            "end at 4, but the file holds 8"},
        Lie{"NoTensors", "{}", "end at 0"},
        Lie{"BeyondTheFile", one("F32", "[4]", "[0,16]"), "tensor 't': data_offsets [0, 16]"},
        Lie{"Backwards", one("F32", "[0]", "[8,0]"), "data_offsets [8, 0]"},
        Lie{"HugeOffset", one("F32", "[2]", "[0,18446744073709551615]"), "data_offsets"},
        Lie{"OffsetBeyond64Bits", one("F32", "[2]", "[0,18446744073709551616]"), "'18446744073709551616'"},
        Lie{"NegativeOffset", one("F32", "[2]", "[-1,7]"), "negative"},
        Lie{"FractionalOffset", one("F32", "[2]", "[0,8.0]"), "'8.0'"},
        Lie{"OneOffset", one("F32", "[2]", "[8]"), "data_offsets holds 1"},
        Lie{"ThreeOffsets", one("F32", "[2]", "[0,8,8]"), "more than 2 numbers in data_offsets"},
        Lie{"SizeTooSmall", one("F32", "[3]", "[0,8]"), "F32 [3] takes 12 bytes"},
        Lie{"SizeOfAnotherDtype", one("F16", "[2]", "[0,8]"), "F16 [2] takes 4 bytes"},
        Lie{"ShapeOverflows", one("F32", "[4294967296,4294967296,2]", "[0,8]"), "overflows"},
        Lie{"ShapeOverflowsToSize", one("F32", "[4611686018427387906]", "[0,8]"), "overflows"},
        Lie{"ShapeOverflowsBesideZero", one("F32", "[9223372036854775807,9,0]", "[0,0]"), "overflows"},
        Lie{"ExtentBeyondInt64", one("U8", "[9223372036854775808]", "[0,8]"), "too large"},
        Lie{"NegativeExtent", one("F32", "[-2]", "[0,8]"), "negative"},
        Lie{"NestedShape", one("F32", "[[2]]", "[0,8]"), "an array"},
        Lie{"StringExtent", one("F32", R"(["2"])", "[0,8]"), "a string"},
        Lie{"RankTooHigh",
            one("F32",
                "[1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,"
                "1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,2]",
                "[0,8]"),
            "more than 64"},
        Lie{"UnknownDtype", one("F8_E4M3", "[8]", "[0,8]"), "tensor 't': dtype 'F8_E4M3' is not supported"},
        Lie{"NumericDtype", R"({"t":{"dtype":3,"shape":[2],"data_offsets":[0,8]}})",
            "the field dtype holds a number"},
        Lie{"MissingField", R"({"t":{"dtype":"F32","shape":[2]}})", "data_offsets is missing"},
        Lie{"UnknownField", R"({"t":{"dtype":"F32","shape":[2],"data_offsets":[0,8],"x":1}})",
            "unknown field 'x'"},
        Lie{"RepeatedField", R"({"t":{"dtype":"F32","dtype":"F32","shape":[2],"data_offsets":[0,8]}})",
            "dtype occurs twice"},
        Lie{"RepeatedName", R"({"t":)" + kEntry + R"(,"t":)" + kEntry + "}",
            "the tensor name 't' occurs twice"},
        Lie{"RepeatedEmptyName",
            R"({"t":)" + kEntry +
                R"(,"e":{"dtype":"F32","shape":[0],"data_offsets":[0,0]},"e":{"dtype":"F32","shape":[0],"data_offsets":[8,8]}})",
            "the tensor name 'e' occurs twice"},
        Lie{"RepeatedMetadata", R"({"__metadata__":{},"__metadata__":{},"t":)" + kEntry + "}",
            "__metadata__ twice"},
        Lie{"RepeatedMetadataKey", R"({"__metadata__":{"k":"1","k":"2"},"t":)" + kEntry + "}",
            "'k' occurs twice"},
        Lie{"MetadataNumber", R"({"__metadata__":{"k":1},"t":)" + kEntry + "}", "expected a string"},
        Lie{"MetadataObject", R"({"__metadata__":{"k":{}},"t":)" + kEntry + "}", "expected a string"},
        Lie{"MetadataArray", R"({"__metadata__":[],"t":)" + kEntry + "}", "an array"},
        Lie{"EntryIsNull", R"({"t":null})", "'t' is null"},
        Lie{"EntryIsArray", R"({"t":[1]})", "'t' is an array"},
        Lie{"SpaceFirst", R"( {"t":)" + kEntry + "}", "does not start with '{'"},
        Lie{"Array", "[]", "does not start with '{'"},
        Lie{"TrailingText", R"({"t":)" + kEntry + "}x", "not valid JSON"},
        Lie{"NulThenText", R"({"t":)" + kEntry + "}" + std::string("\0x", 2), "NUL byte"},
        Lie{"InvalidUtf8", "{\"\xff\":" + kEntry + "}", "not valid JSON"},
        Lie{"Comment", R"({/**/"t":)" + kEntry + "}", "not valid JSON"}),
    [](const auto& lie) { return lie.param.label; });

TEST(SafetensorsDamage, DeepNestingEndsAtTheFirstWrongLevel) {
  const std::string deep = R"({"t":)" + std::string(5'000'000, '[');
  EXPECT_THAT(error_of([&] { parse(safetensors_text(deep, "")); }), HasSubstr("'t' is an array"));
}

TEST(SafetensorsDamage, ManyTensorsParseInTimeProportionalToTheHeader) {
  std::string header = "{";
  constexpr int kTensors = 100'000;
  for (int i = 0; i < kTensors; ++i) {
    header += fmt::format(R"({}"tensor.{}":{{"dtype":"U8","shape":[1],"data_offsets":[{},{}]}})",
                          i == 0 ? "" : ",", i, kTensors - 1 - i, kTensors - i);
  }
  const std::string text = safetensors_text(header + "}", std::string(kTensors, 'x'));
  const SafetensorsFile file = SafetensorsFile::parse(bytes_of(text), "many");
  EXPECT_EQ(file.tensors().front().name, "tensor.99999");
  EXPECT_NE(file.find("tensor.500"), nullptr);
}

TEST(SafetensorsDamage, LongNamesAreCutInMessages) {
  const std::string text = safetensors_text(R"({")" + std::string(100'000, 'n') + R"(":1})", "");
  EXPECT_LT(error_of([&] { parse(text); }).size(), 500);
}

TEST(SafetensorsDamage, PathsThatAreNoFiles) {
  const test::TempDir folder;
  EXPECT_THAT(error_of([&] { SafetensorsFile(folder / "missing.safetensors"); }),
              AllOf(HasSubstr("missing.safetensors"), HasSubstr("No such file")));
  EXPECT_THAT(error_of([&] { SafetensorsFile(folder.path()); }), HasSubstr("not a regular file"));
  test::write_file(folder / "empty.safetensors", "");
  EXPECT_THAT(error_of([&] { SafetensorsFile(folder / "empty.safetensors"); }), HasSubstr("0 bytes"));
}

}  // namespace
}  // namespace seer
