#include "tests/data/corpus_files.h"

#include <cstring>
#include <fstream>
#include <memory>

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>
#include <zlib.h>
#include <zstd.h>

#include "src/core/error.h"
#include "src/core/rng.h"

namespace seer::test {

void write_bytes(const std::filesystem::path& path, std::string_view bytes) {
  std::filesystem::create_directories(path.parent_path());
  std::ofstream file(path, std::ios::binary);
  file.write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
  SEER_CHECK(file.good(), "write {}", path.string());
}

std::string gzip(std::string_view bytes) {
  z_stream stream{};
  SEER_CHECK(::deflateInit2(&stream, 6, Z_DEFLATED, 16 + MAX_WBITS, 8, Z_DEFAULT_STRATEGY) == Z_OK,
             "deflateInit2");
  std::string out(::deflateBound(&stream, bytes.size()), '\0');
  stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(bytes.data()));
  stream.avail_in = static_cast<uInt>(bytes.size());
  stream.next_out = reinterpret_cast<Bytef*>(out.data());
  stream.avail_out = static_cast<uInt>(out.size());
  SEER_CHECK(::deflate(&stream, Z_FINISH) == Z_STREAM_END, "deflate");
  out.resize(stream.total_out);
  ::deflateEnd(&stream);
  return out;
}

std::string zstd(std::string_view bytes) {
  const std::unique_ptr<ZSTD_CCtx, decltype(&::ZSTD_freeCCtx)> context(::ZSTD_createCCtx(), &::ZSTD_freeCCtx);
  ::ZSTD_CCtx_setParameter(context.get(), ZSTD_c_checksumFlag, 1);  // as the zstd tool does
  std::string out(::ZSTD_compressBound(bytes.size()), '\0');
  const size_t size = ::ZSTD_compress2(context.get(), out.data(), out.size(), bytes.data(), bytes.size());
  SEER_CHECK(::ZSTD_isError(size) == 0, "ZSTD_compress2");
  out.resize(size);
  return out;
}

std::string json_lines(const std::vector<std::string>& texts) {
  std::string lines;
  for (const std::string& text : texts) lines += nlohmann::json{{"text", text}}.dump() + "\n";
  return lines;
}

std::string npy(const std::vector<int64_t>& shape, const std::vector<int32_t>& ids) {
  std::string header =
      fmt::format("{{'descr': '<i4', 'fortran_order': False, 'shape': ({},), }}", fmt::join(shape, ","));
  constexpr size_t kPrefix = 10;
  header.append(64 - (kPrefix + header.size() + 1) % 64, ' ');
  header += '\n';
  std::string file("\x93NUMPY\x01\x00", 8);
  file += static_cast<char>(header.size() & 0xff);
  file += static_cast<char>(header.size() >> 8);
  file += header;
  const size_t begin = file.size();
  file.resize(begin + ids.size() * sizeof(int32_t));
  if (!ids.empty()) std::memcpy(file.data() + begin, ids.data(), ids.size() * sizeof(int32_t));
  return file;
}

std::vector<std::string> random_texts(uint64_t seed, int64_t count, int64_t shortest, int64_t longest) {
  Rng rng(seed);
  std::vector<std::string> texts;
  for (int64_t i = 0; i < count; ++i) {
    const auto size =
        shortest + static_cast<int64_t>(rng.below(static_cast<uint64_t>(longest - shortest + 1)));
    std::string text = fmt::format("{}:", seed * 1000 + static_cast<uint64_t>(i));
    while (static_cast<int64_t>(text.size()) < size) text += static_cast<char>('a' + rng.below(26));
    text.resize(static_cast<size_t>(size));
    texts.push_back(text);
  }
  return texts;
}

void ByteEncoder::encode(const Document& document, std::vector<int32_t>& ids) const {
  std::string text = document.text;
  for (const ChatMessage& message : document.messages) text += message.role + "=" + message.content + ";";
  if (text.find("refuse") != std::string::npos) fail("this text is refused");
  for (const char c : text) ids.push_back(static_cast<unsigned char>(c));
}

std::string error_of(const std::function<void()>& body) {
  try {
    body();
  } catch (const Error& error) {
    return error.what();
  }
  ADD_FAILURE() << "no Error was thrown";
  return "";
}

}  // namespace seer::test
