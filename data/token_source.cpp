#include "data/token_source.h"

#include <algorithm>
#include <cstring>
#include <limits>
#include <string>
#include <utility>

#include "src/core/error.h"
#include "src/io/npy.h"
#include "src/io/safetensors.h"

namespace seer {
namespace {

/// Element `index` of an integer tensor, whose bytes need not be aligned.
int64_t integer_at(const NamedTensor& tensor, int64_t index) {
  const std::byte* at = tensor.bytes.data() + static_cast<size_t>(index) * size_of(tensor.dtype);
  const auto load = [at](auto value) {
    std::memcpy(&value, at, sizeof(value));
    return static_cast<int64_t>(value);
  };
  switch (tensor.dtype) {
    case DType::kI64:
      return load(int64_t{});
    case DType::kI32:
      return load(int32_t{});
    case DType::kI16:
      return load(int16_t{});
    case DType::kI8:
      return load(int8_t{});
    case DType::kU8:
      return load(uint8_t{});
    default:
      break;
  }
  fail("tensor `{}` has dtype {}, integers were expected", tensor.name, name_of(tensor.dtype));
}

void check_integers(const NamedTensor& tensor, const std::string& file) {
  if (is_floating(tensor.dtype) || tensor.dtype == DType::kBool)
    fail("{}: tensor `{}` has dtype {}, integers were expected", file, tensor.name, name_of(tensor.dtype));
}

class NpyIds : public IdArray {
 public:
  explicit NpyIds(const std::filesystem::path& path) : file_(path) {}
  void read(int64_t begin, int64_t count, std::vector<int32_t>& ids) const override {
    file_.read_ids(begin, count, ids);
  }
  const std::vector<int64_t>& shape() const { return file_.shape(); }

 private:
  NpyFile file_;
};

class SafetensorsIds : public IdArray {
 public:
  explicit SafetensorsIds(const std::filesystem::path& path) : file_(path), ids_(file_.at("input_ids")) {
    check_integers(ids_, file_.display_name());
  }

  void read(int64_t begin, int64_t count, std::vector<int32_t>& ids) const override {
    ids.resize(static_cast<size_t>(count));
    for (int64_t i = 0; i < count; ++i) {
      const int64_t id = integer_at(ids_, begin + i);
      if (id < 0 || id > std::numeric_limits<int32_t>::max())
        fail("{}: tensor `input_ids`, position {}: {} is no token id", file_.display_name(), begin + i, id);
      ids[static_cast<size_t>(i)] = static_cast<int32_t>(id);
    }
  }

  const std::vector<int64_t>& shape() const { return ids_.shape; }

  /// The documents' bounds from `cu_seqlens`; empty if the file has none.
  std::vector<int64_t> bounds() const {
    const NamedTensor* tensor = file_.find("cu_seqlens");
    if (tensor == nullptr) return {};
    check_integers(*tensor, file_.display_name());
    if (tensor->shape.size() != 1 || ids_.shape.size() != 1)
      fail("{}: `cu_seqlens` {} beside `input_ids` {}: both must have one axis", file_.display_name(),
           shape_text(tensor->shape), shape_text(ids_.shape));
    std::vector<int64_t> bounds(static_cast<size_t>(tensor->numel()));
    for (size_t i = 0; i < bounds.size(); ++i) bounds[i] = integer_at(*tensor, static_cast<int64_t>(i));
    if (bounds.empty() || bounds.front() != 0 || bounds.back() != ids_.numel() ||
        !std::is_sorted(bounds.begin(), bounds.end()))
      fail("{}: `cu_seqlens` must ascend from 0 to {}, the length of `input_ids`", file_.display_name(),
           ids_.numel());
    return bounds;
  }

 private:
  SafetensorsFile file_;
  const NamedTensor& ids_;
};

class IdSource : public RecordSource {
 public:
  /// Document d is [bounds[d], bounds[d+1]), or rows of `row_length` ids where `bounds` is empty.
  IdSource(std::shared_ptr<const IdArray> array, int64_t length, int64_t row_length,
           std::vector<int64_t> bounds, int64_t piece_tokens)
      : array_(std::move(array)),
        length_(length),
        row_length_(row_length),
        bounds_(std::move(bounds)),
        piece_tokens_(piece_tokens) {}

  bool next(Record& record) override {
    if (position_ == length_ && at_document_start_ && document_ == documents()) return false;
    const int64_t begin = bounds_.empty() ? document_ * row_length_ : bounds_[static_cast<size_t>(document_)];
    const int64_t end = bounds_.empty() ? begin + row_length_ : bounds_[static_cast<size_t>(document_) + 1];
    record = Record{};
    record.kind = Record::Kind::kIds;
    record.array = array_;
    record.begin = position_;
    record.count = std::min(piece_tokens_, end - position_);
    record.begins_document = at_document_start_;
    position_ += record.count;
    record.ends_document = at_document_start_ = position_ == end;
    document_ += record.ends_document ? 1 : 0;
    return true;
  }

 private:
  int64_t documents() const {
    return bounds_.empty() ? length_ / row_length_ : static_cast<int64_t>(bounds_.size()) - 1;
  }

  std::shared_ptr<const IdArray> array_;
  int64_t length_;
  int64_t row_length_;
  std::vector<int64_t> bounds_;
  int64_t piece_tokens_;
  int64_t document_ = 0;
  int64_t position_ = 0;
  bool at_document_start_ = true;
};

class NoRecords : public RecordSource {
 public:
  bool next(Record& /*record*/) override { return false; }
};

template <typename Array>
std::unique_ptr<RecordSource> open_array(std::shared_ptr<Array> array, std::vector<int64_t> bounds,
                                         const std::filesystem::path& path, int64_t piece_tokens) {
  const std::vector<int64_t>& shape = array->shape();
  if (shape.empty() || shape.size() > 2)
    fail("{}: ids of shape {}; one axis (one document) or two (rows) were expected", path.string(),
         shape_text(shape));
  const int64_t length = shape.size() == 1 ? shape[0] : shape[0] * shape[1];
  if (length == 0) return std::make_unique<NoRecords>();
  return std::make_unique<IdSource>(std::move(array), length, shape.back(), std::move(bounds), piece_tokens);
}

}  // namespace

std::unique_ptr<RecordSource> open_ids(const DataFile& file, int64_t piece_tokens) {
  if (file.format == DataFormat::kNpy)
    return open_array(std::make_shared<NpyIds>(file.path), {}, file.path, piece_tokens);
  auto array = std::make_shared<SafetensorsIds>(file.path);
  std::vector<int64_t> bounds = array->bounds();
  return open_array(std::move(array), std::move(bounds), file.path, piece_tokens);
}

}  // namespace seer
