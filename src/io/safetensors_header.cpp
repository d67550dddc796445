#include "src/io/safetensors_header.h"

#include <algorithm>
#include <limits>
#include <set>

#include <fmt/ranges.h>
#include <nlohmann/json.hpp>

#include "src/core/error.h"
#include "src/io/safetensors.h"
#include "src/io/tensor_name.h"

namespace seer {
namespace {

using nlohmann::json;

constexpr std::string_view kMetadataKey = "__metadata__";

// Receives the events of nlohmann's parser, which does not recurse. The header has three levels: the root
// object, an object for each tensor (or the metadata), and the two arrays of a tensor.
class HeaderReader : public nlohmann::json_sax<json> {
 public:
  HeaderReader(SafetensorsHeader& header, const std::string& file) : header_(header), file_(file) {}

  bool key(string_t& name) override {
    if (level_ == Level::kRoot) {
      name_ = std::move(name);
    } else if (level_ == Level::kMetadata) {
      metadata_key_ = std::move(name);
    } else {
      start_field(name);
    }
    return true;
  }

  bool start_object(size_t /*elements*/) override {
    if (level_ == Level::kOutside) {
      level_ = Level::kRoot;
    } else if (level_ == Level::kRoot && name_ == kMetadataKey) {
      if (std::exchange(has_metadata_, true)) fail("{}: the header has {} twice", file_, kMetadataKey);
      level_ = Level::kMetadata;
    } else if (level_ == Level::kRoot) {
      header_.entries.emplace_back().name = name_;
      numbers_.clear();
      seen_ = {};
      level_ = Level::kTensor;
    } else {
      unexpected("an object");
    }
    return true;
  }

  bool end_object() override {
    if (level_ == Level::kTensor) end_tensor();
    level_ = level_ == Level::kRoot ? Level::kOutside : Level::kRoot;
    return true;
  }

  bool start_array(size_t /*elements*/) override {
    if (level_ != Level::kTensor || field_ == Field::kDtype) unexpected("an array");
    level_ = Level::kNumbers;
    numbers_.clear();
    return true;
  }

  bool end_array() override {
    level_ = Level::kTensor;
    SafetensorsHeader::Entry& entry = header_.entries.back();
    if (field_ == Field::kShape) {
      for (const uint64_t extent : numbers_) {
        if (extent > static_cast<uint64_t>(std::numeric_limits<int64_t>::max())) {
          fail("{}: tensor {}: the extent {} in its shape is too large", file_, quote_name(name_), extent);
        }
        entry.shape.push_back(static_cast<int64_t>(extent));
      }
    } else {
      if (numbers_.size() != 2) {
        fail("{}: tensor {}: data_offsets holds {} numbers; expected [begin, end]", file_, quote_name(name_),
             numbers_.size());
      }
      entry.begin = numbers_[0];
      entry.end = numbers_[1];
    }
    return true;
  }

  bool string(string_t& value) override {
    if (level_ == Level::kMetadata) {
      if (!header_.metadata.emplace(metadata_key_, std::move(value)).second) {
        fail("{}: the key {} occurs twice in {}", file_, quote_name(metadata_key_), kMetadataKey);
      }
    } else if (level_ == Level::kTensor && field_ == Field::kDtype) {
      const std::optional<DType> dtype = dtype_from_name(value);
      if (!dtype) {
        fail(
            "{}: tensor {}: dtype {} is not supported; expected F64, F32, BF16, F16, I64, I32, I16, I8, U8 "
            "or BOOL",
            file_, quote_name(name_), quote_name(value));
      }
      header_.entries.back().dtype = *dtype;
    } else {
      unexpected("a string");
    }
    return true;
  }

  bool number_unsigned(number_unsigned_t value) override {
    if (level_ != Level::kNumbers) unexpected("a number");
    const bool shape = field_ == Field::kShape;
    if (numbers_.size() == (shape ? SafetensorsHeader::kMaxRank : 2)) {
      fail("{}: tensor {}: more than {} numbers in {}", file_, quote_name(name_), numbers_.size(),
           shape ? "shape" : "data_offsets");
    }
    numbers_.push_back(value);
    return true;
  }

  bool null() override { return unexpected("null"); }
  bool boolean(bool /*value*/) override { return unexpected("a boolean"); }
  bool number_integer(number_integer_t /*value*/) override { return unexpected("a negative number"); }
  bool number_float(number_float_t /*value*/, const string_t& text) override {
    return unexpected(fmt::format("the number {}", quote_name(text)));
  }
  bool binary(binary_t& /*value*/) override { return unexpected("binary data"); }

  bool parse_error(size_t /*position*/, const std::string& /*token*/,
                   const nlohmann::detail::exception& e) override {
    fail("{}: the header is not valid JSON: {}", file_, e.what());
  }

 private:
  enum class Level { kOutside, kRoot, kMetadata, kTensor, kNumbers };
  enum class Field { kDtype, kShape, kOffsets };
  static constexpr std::array<std::string_view, 3> kFields = {"dtype", "shape", "data_offsets"};

  void start_field(std::string_view name) {
    const auto* it = std::find(kFields.begin(), kFields.end(), name);
    if (it == kFields.end()) {
      fail("{}: tensor {}: unknown field {}; expected dtype, shape and data_offsets", file_,
           quote_name(name_), quote_name(name));
    }
    const auto index = static_cast<size_t>(it - kFields.begin());
    if (std::exchange(seen_[index], true)) {
      fail("{}: tensor {}: the field {} occurs twice", file_, quote_name(name_), name);
    }
    field_ = static_cast<Field>(index);
  }

  void end_tensor() {
    for (size_t i = 0; i < kFields.size(); ++i) {
      if (!seen_[i]) fail("{}: tensor {}: the field {} is missing", file_, quote_name(name_), kFields[i]);
    }
  }

  [[noreturn]] bool unexpected(std::string_view what) const {
    switch (level_) {
      case Level::kOutside:
        fail("{}: the header is {}; expected an object", file_, what);
      case Level::kRoot:
        fail("{}: the header's entry {} is {}; expected an object", file_, quote_name(name_), what);
      case Level::kMetadata:
        fail("{}: {}: the value of {} is {}; expected a string", file_, kMetadataKey,
             quote_name(metadata_key_), what);
      case Level::kTensor:
      case Level::kNumbers:
        break;
    }
    fail("{}: tensor {}: the field {} holds {}; expected {}", file_, quote_name(name_),
         kFields[static_cast<size_t>(field_)], what,
         field_ == Field::kDtype ? "a string" : "an array of non-negative integers");
  }

  SafetensorsHeader& header_;
  const std::string& file_;
  Level level_ = Level::kOutside;
  Field field_ = Field::kDtype;
  std::array<bool, kFields.size()> seen_{};
  bool has_metadata_ = false;
  std::string name_;  // key of the root object that is being read
  std::string metadata_key_;
  std::vector<uint64_t> numbers_;
};

std::string json_string(const std::string& text, const std::string& file) {
  try {
    return json(text).dump();
  } catch (const json::exception&) {
    fail("cannot write {}: {} is not valid UTF-8", file, quote_name(text));
  }
}

}  // namespace

SafetensorsHeader parse_safetensors_header(std::string_view text, const std::string& file) {
  if (text.empty() || text.front() != '{') {
    fail("{}: not a safetensors file: the header does not start with '{{'", file);
  }
  // nlohmann's lexer takes a NUL byte for the end of the text and would ignore what follows.
  if (text.find('\0') != std::string_view::npos) {
    fail("{}: the header is not valid JSON: NUL byte at offset {}", file, text.find('\0'));
  }
  SafetensorsHeader header;
  HeaderReader reader(header, file);
  json::sax_parse(text, &reader);
  return header;
}

std::string format_safetensors_header(const SafetensorsHeader& header, const std::string& file) {
  std::vector<std::string> members;
  members.reserve(header.entries.size() + 1);
  if (!header.metadata.empty()) {
    std::vector<std::string> pairs;
    for (const auto& [key, value] : header.metadata) {
      pairs.push_back(fmt::format("{}:{}", json_string(key, file), json_string(value, file)));
    }
    members.push_back(fmt::format("\"{}\":{{{}}}", kMetadataKey, fmt::join(pairs, ",")));
  }
  std::set<std::string_view> names;
  for (const SafetensorsHeader::Entry& entry : header.entries) {
    if (entry.name == kMetadataKey) fail("cannot write {}: no tensor may be called {}", file, kMetadataKey);
    if (!names.insert(entry.name).second) {
      fail("cannot write {}: two tensors are called {}", file, quote_name(entry.name));
    }
    members.push_back(fmt::format(R"({}:{{"dtype":"{}","shape":[{}],"data_offsets":[{},{}]}})",
                                  json_string(entry.name, file), name_of(entry.dtype),
                                  fmt::join(entry.shape, ","), entry.begin, entry.end));
  }
  std::string text = fmt::format("{{{}}}", fmt::join(members, ","));
  text.resize((text.size() + 7) / 8 * 8, ' ');
  if (text.size() > SafetensorsFile::kMaxHeaderBytes) {
    fail("cannot write {}: its header takes {} bytes, more than the {} the format allows", file, text.size(),
         SafetensorsFile::kMaxHeaderBytes);
  }
  return text;
}

}  // namespace seer
