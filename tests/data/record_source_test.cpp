#include <cstring>
#include <map>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "data/record.h"
#include "data/text_source.h"
#include "data/token_source.h"
#include "src/io/safetensors.h"
#include "tests/data/corpus_files.h"
#include "tests/support/fixtures.h"

namespace seer {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Pair;

using Ids = std::vector<int32_t>;

class RecordSourceTest : public ::testing::Test {
 protected:
  DataFile file(const std::string& name, std::string_view bytes) {
    test::write_bytes(folder_ / name, bytes);
    return expand_inputs({(folder_ / name).string()}).at(0);
  }

  DataFile safetensors(const std::string& name, const std::vector<NamedTensor>& tensors) {
    write_safetensors(folder_ / name, tensors, {});
    return expand_inputs({(folder_ / name).string()}).at(0);
  }

  static std::vector<std::pair<int64_t, std::string>> texts(const DataFile& file,
                                                            int64_t max_bytes = 1 << 20) {
    const auto source = open_records(file, max_bytes);
    std::vector<std::pair<int64_t, std::string>> found;
    for (Record record; source->next(record);)
      found.emplace_back(record.line, record.kind == Record::Kind::kTooLong ? "<too long>" : record.bytes);
    return found;
  }

  /// The documents, put together from their pieces.
  static std::vector<Ids> documents(const DataFile& file, int64_t piece_tokens = 3) {
    const auto source = open_ids(file, piece_tokens);
    std::vector<Ids> found;
    bool open = false;
    for (Record record; source->next(record);) {
      EXPECT_EQ(record.begins_document, !open);
      EXPECT_LE(record.count, piece_tokens);
      if (record.begins_document) found.emplace_back();
      Ids ids;
      record.array->read(record.begin, record.count, ids);
      found.back().insert(found.back().end(), ids.begin(), ids.end());
      open = !record.ends_document;
    }
    EXPECT_FALSE(open);
    return found;
  }

  test::TempDir folder_;
};

template <typename T>
NamedTensor tensor(const std::string& name, DType dtype, std::vector<int64_t> shape,
                   const std::vector<T>& values) {
  return {name, dtype, std::move(shape), std::as_bytes(std::span(values))};
}

TEST_F(RecordSourceTest, JsonLinesAreNumberedAndBlankOnesLeftOut) {
  const std::string bytes = "\xEF\xBB\xBF{\"a\":1}\r\n\r\n \t\n{\"b\":2}";
  EXPECT_THAT(texts(file("a.jsonl", bytes)), ElementsAre(Pair(1, "{\"a\":1}"), Pair(4, "{\"b\":2}")));
  EXPECT_THAT(texts(file("a.json", bytes), 4), ElementsAre(Pair(1, "<too long>"), Pair(4, "<too long>")));
  EXPECT_THAT(texts(file("a.jsonl.gz", test::gzip(bytes))),
              ElementsAre(Pair(1, "{\"a\":1}"), Pair(4, "{\"b\":2}")));
  EXPECT_THAT(texts(file("a.jsonl.zst", test::zstd(bytes))),
              ElementsAre(Pair(1, "{\"a\":1}"), Pair(4, "{\"b\":2}")));
  EXPECT_THAT(texts(file("empty.jsonl", "")), IsEmpty());
}

TEST_F(RecordSourceTest, ATextFileIsOneDocument) {
  EXPECT_THAT(texts(file("a.txt", "\xEF\xBB\xBFline\r\n\nline\n")), ElementsAre(Pair(1, "line\r\n\nline\n")));
  const std::string large(200'000, 'x');
  EXPECT_THAT(texts(file("b.txt.zst", test::zstd(large))), ElementsAre(Pair(1, large)));
  EXPECT_THAT(texts(file("b.txt.gz", test::gzip(large)), 100'000), ElementsAre(Pair(1, "<too long>")));
  EXPECT_THAT(texts(file("empty.txt", "")), IsEmpty());
}

TEST_F(RecordSourceTest, NpyHoldsOneDocumentOrRows) {
  EXPECT_THAT(documents(file("a.npy", test::npy({7}, {1, 2, 3, 4, 5, 6, 7}))),
              ElementsAre(Ids{1, 2, 3, 4, 5, 6, 7}));
  EXPECT_THAT(documents(file("b.npy", test::npy({3, 2}, {1, 2, 3, 4, 5, 6}))),
              ElementsAre(Ids{1, 2}, Ids{3, 4}, Ids{5, 6}));
  EXPECT_THAT(documents(file("c.npy", test::npy({0}, {}))), IsEmpty());
  const DataFile cube = file("d.npy", test::npy({1, 1, 2}, {1, 2}));
  EXPECT_THAT(test::error_of([&] { documents(cube); }), AllOf(HasSubstr("d.npy"), HasSubstr("[1, 1, 2]")));
}

TEST_F(RecordSourceTest, ANegativeIdIsNamed) {
  const DataFile bad = file("a.npy", test::npy({3}, {1, 2, -7}));
  EXPECT_THAT(test::error_of([&] { documents(bad); }), AllOf(HasSubstr("a.npy"), HasSubstr("element 2")));
  const std::vector<int64_t> ids = {5, int64_t{1} << 40};
  const DataFile large = safetensors("a.safetensors", {tensor("input_ids", DType::kI64, {2}, ids)});
  EXPECT_THAT(test::error_of([&] { documents(large); }),
              AllOf(HasSubstr("a.safetensors"), HasSubstr("position 1"), HasSubstr("1099511627776")));
}

TEST_F(RecordSourceTest, SafetensorsWithAndWithoutBoundaries) {
  const std::vector<int64_t> ids = {1, 2, 3, 4, 5, 6};
  const std::vector<int32_t> bounds = {0, 1, 1, 6};
  EXPECT_THAT(documents(safetensors("a.safetensors", {tensor("input_ids", DType::kI64, {6}, ids)})),
              ElementsAre(Ids{1, 2, 3, 4, 5, 6}));
  EXPECT_THAT(documents(safetensors("b.safetensors", {tensor("input_ids", DType::kI64, {2, 3}, ids)})),
              ElementsAre(Ids{1, 2, 3}, Ids{4, 5, 6}));
  EXPECT_THAT(documents(safetensors("c.safetensors", {tensor("input_ids", DType::kI64, {6}, ids),
                                                      tensor("cu_seqlens", DType::kI32, {4}, bounds)})),
              ElementsAre(Ids{1}, Ids{}, Ids{2, 3, 4, 5, 6}));
}

TEST_F(RecordSourceTest, LyingSafetensorsAreRefused) {
  const std::vector<int64_t> ids = {1, 2, 3, 4, 5, 6};
  const NamedTensor good = tensor("input_ids", DType::kI64, {6}, ids);
  for (const std::vector<int64_t>& bounds :
       std::vector<std::vector<int64_t>>{{0, 5}, {1, 6}, {0, 4, 2, 6}, {0, 7}, {6}}) {
    const DataFile bad =
        safetensors("a.safetensors",
                    {good, tensor("cu_seqlens", DType::kI64, {static_cast<int64_t>(bounds.size())}, bounds)});
    EXPECT_THAT(test::error_of([&] { documents(bad); }),
                AllOf(HasSubstr("a.safetensors"), HasSubstr("cu_seqlens")));
  }
  const std::vector<float> floats = {1, 2};
  const DataFile real = safetensors("b.safetensors", {tensor("input_ids", DType::kF32, {2}, floats)});
  EXPECT_THAT(test::error_of([&] { documents(real); }), AllOf(HasSubstr("b.safetensors"), HasSubstr("F32")));
  const DataFile other = safetensors("c.safetensors", {tensor("ids", DType::kI64, {6}, ids)});
  EXPECT_THAT(test::error_of([&] { documents(other); }),
              AllOf(HasSubstr("c.safetensors"), HasSubstr("input_ids")));
}

}  // namespace
}  // namespace seer
