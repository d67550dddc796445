#include "src/io/npy.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cstring>
#include <limits>
#include <string_view>

#include "src/core/error.h"
#include "src/io/named_tensor.h"
#include "src/io/tensor_name.h"

namespace seer {
namespace {

constexpr size_t kMaxRank = 32;  // NumPy's own limit

// The header is a Python dict literal: {'descr': '<i4', 'fortran_order': False, 'shape': (3, 4), }.
class HeaderParser {
 public:
  HeaderParser(std::string_view text, const std::string& file) : rest_(text), file_(file) {}

  struct Header {
    std::string descr;
    std::vector<int64_t> shape;
  };

  Header parse() {
    Header header;
    bool has_descr = false, has_order = false, has_shape = false;
    expect('{');
    while (!accept('}')) {
      const std::string key(string());
      expect(':');
      if (key == "descr" && !std::exchange(has_descr, true)) {
        if (next() != '\'' && next() != '"') fail("{}: structured arrays are not read", file_);
        header.descr = string();
      } else if (key == "fortran_order" && !std::exchange(has_order, true)) {
        if (!accept_word("False"))
          fail("{}: fortran_order is not False; expected an array in C order", file_);
      } else if (key == "shape" && !std::exchange(has_shape, true)) {
        header.shape = tuple();
      } else {
        fail("{}: unexpected key {} in the header", file_, quote_name(key));
      }
      if (!accept(',') && next() != '}') refuse();
    }
    if (!has_descr || !has_order || !has_shape) {
      fail("{}: the header lacks one of descr, fortran_order and shape", file_);
    }
    if (next() != '\0') refuse();
    return header;
  }

 private:
  [[noreturn]] void refuse() const { fail("{}: the .npy header is damaged", file_); }

  // The next character after white space; NUL at the end.
  char next() {
    while (!rest_.empty() && (rest_.front() == ' ' || rest_.front() == '\n')) rest_.remove_prefix(1);
    return rest_.empty() ? '\0' : rest_.front();
  }

  bool accept(char c) {
    if (next() != c) return false;
    rest_.remove_prefix(1);
    return true;
  }

  void expect(char c) {
    if (!accept(c)) refuse();
  }

  bool accept_word(std::string_view word) {
    next();
    if (!rest_.starts_with(word)) return false;
    rest_.remove_prefix(word.size());
    return true;
  }

  std::string_view string() {
    const char quote = next();
    if (quote != '\'' && quote != '"') refuse();
    const size_t end = rest_.find(quote, 1);
    if (end == std::string_view::npos) refuse();
    const std::string_view text = rest_.substr(1, end - 1);
    rest_.remove_prefix(end + 1);
    return text;
  }

  std::vector<int64_t> tuple() {
    std::vector<int64_t> values;
    expect('(');
    while (!accept(')')) {
      int64_t value = 0;
      next();
      const auto [end, error] = std::from_chars(rest_.data(), rest_.data() + rest_.size(), value);
      if (error != std::errc() || value < 0 || values.size() == kMaxRank) refuse();
      rest_.remove_prefix(static_cast<size_t>(end - rest_.data()));
      values.push_back(value);
      if (!accept(',') && next() != ')') refuse();
    }
    return values;
  }

  std::string_view rest_;
  const std::string& file_;
};

struct Integer {
  std::string_view descr;
  size_t bytes;
  bool is_signed;
};

constexpr std::array<Integer, 8> kIntegers = {{{"|i1", 1, true},
                                               {"|u1", 1, false},
                                               {"<i2", 2, true},
                                               {"<u2", 2, false},
                                               {"<i4", 4, true},
                                               {"<u4", 4, false},
                                               {"<i8", 8, true},
                                               {"<u8", 8, false}}};

const Integer* find_integer(std::string_view descr) {
  const auto* it =
      std::find_if(kIntegers.begin(), kIntegers.end(), [&](const Integer& i) { return i.descr == descr; });
  return it == kIntegers.end() ? nullptr : it;
}

// Converts until the first value that is no id; returns how many were converted.
template <typename T>
int64_t convert(const std::byte* from, int64_t count, int32_t* to) {
  for (int64_t i = 0; i < count; ++i) {
    T value;
    std::memcpy(&value, from + i * sizeof(T), sizeof(T));
    if (!std::in_range<int32_t>(value) || value < T{0}) return i;
    to[i] = static_cast<int32_t>(static_cast<std::make_unsigned_t<T>>(value));
  }
  return count;
}

}  // namespace

NpyFile::NpyFile(const std::filesystem::path& path) : mapping_(path) {
  read_header();
}

void NpyFile::read_header() {
  constexpr std::string_view kMagic = "\x93NUMPY";
  constexpr size_t kVersionAt = 6, kLengthAt = 8;
  const std::string file = mapping_.path().string();
  const std::span<const std::byte> bytes = mapping_.data();
  const std::string_view text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  if (!text.starts_with(kMagic) || text.size() < kLengthAt) fail("{}: not a .npy file", file);
  const int major = static_cast<uint8_t>(text[kVersionAt]);
  if (major < 1 || major > 3) fail("{}: .npy format version {}; expected 1, 2 or 3", file, major);

  // Version 1 counts the header in two bytes, later ones in four.
  const size_t length_bytes = major == 1 ? sizeof(uint16_t) : sizeof(uint32_t);
  const size_t header_at = kLengthAt + length_bytes;
  uint32_t length = 0;
  if (bytes.size() >= header_at) std::memcpy(&length, bytes.data() + kLengthAt, length_bytes);
  if (bytes.size() < header_at || length > bytes.size() - header_at) fail("{}: truncated .npy header", file);

  HeaderParser::Header header = HeaderParser(text.substr(header_at, length), file).parse();
  const Integer* integer = find_integer(header.descr);
  if (integer == nullptr) {
    fail("{}: elements are {}; expected little-endian integers (|i1 |u1 <i2 <u2 <i4 <u4 <i8 <u8)", file,
         quote_name(header.descr));
  }
  const std::optional<int64_t> numel = checked_numel(header.shape);
  int64_t expected = 0;
  elements_ = bytes.subspan(header_at + length);
  if (!numel || __builtin_mul_overflow(*numel, static_cast<int64_t>(integer->bytes), &expected) ||
      static_cast<uint64_t>(expected) != elements_.size()) {
    fail("{}: {} elements of shape {} do not match the {} bytes of data", file, header.descr,
         shape_text(header.shape), elements_.size());
  }
  numel_ = *numel;
  shape_ = std::move(header.shape);
  dtype_ = std::move(header.descr);
}

void NpyFile::read_ids(int64_t begin, int64_t count, std::vector<int32_t>& ids) const {
  SEER_CHECK(begin >= 0 && count >= 0 && count <= numel_ && begin <= numel_ - count,
             "elements {}+{} of {} in {}", begin, count, numel_, mapping_.path().string());
  ids.resize(static_cast<size_t>(count));
  const Integer& integer = *find_integer(dtype_);
  const std::byte* from = elements_.data() + static_cast<size_t>(begin) * integer.bytes;
  int64_t done = 0;
  switch (integer.bytes) {
    case 1:
      done = integer.is_signed ? convert<int8_t>(from, count, ids.data())
                               : convert<uint8_t>(from, count, ids.data());
      break;
    case 2:
      done = integer.is_signed ? convert<int16_t>(from, count, ids.data())
                               : convert<uint16_t>(from, count, ids.data());
      break;
    case 4:
      done = integer.is_signed ? convert<int32_t>(from, count, ids.data())
                               : convert<uint32_t>(from, count, ids.data());
      break;
    default:
      done = integer.is_signed ? convert<int64_t>(from, count, ids.data())
                               : convert<uint64_t>(from, count, ids.data());
  }
  if (done < count) {
    fail("{}: element {} is no token id: negative or beyond 2^31 - 1", mapping_.path().string(),
         begin + done);
  }
}

}  // namespace seer
