#include "data/fingerprint.h"

#include <sstream>

#include <fmt/format.h>
#include <zlib.h>

#include "src/core/error.h"

namespace seer {
namespace {

std::vector<std::string> words(const std::string& text) {
  std::istringstream stream(text);
  std::vector<std::string> result;
  for (std::string word; stream >> word;) result.push_back(word);
  return result;
}

}  // namespace

std::string data_fingerprint(const LoaderOptions& options, const TokenEncoder* encoder,
                             const std::vector<DataFile>& files) {
  uLong checksum = ::crc32(0, nullptr, 0);
  int64_t bytes = 0;
  for (const DataFile& file : files) {
    const std::string line = fmt::format("{}\t{}\n", file.path.lexically_normal().string(), file.size);
    checksum = ::crc32(checksum, reinterpret_cast<const Bytef*>(line.data()), static_cast<uInt>(line.size()));
    bytes += file.size;
  }
  std::string text =
      fmt::format("layout={} sequence_length={} seed={} batch_size={} shuffle={}",
                  options.layout == DataLayout::kJoined ? "joined" : "packed", options.sequence_length,
                  options.seed, options.batch_size, options.shuffle ? options.shuffle_buffer : 0);
  if (options.layout == DataLayout::kPacked)
    text += fmt::format(" min_document_tokens={}", options.min_document_tokens);
  text += fmt::format(" files={} bytes={} paths_and_sizes={:08x} max_document_bytes={}", files.size(), bytes,
                      checksum, options.max_document_bytes);
  if (encoder != nullptr) {
    text +=
        fmt::format(" text_field={} separator={} {}", options.text_field,
                    options.separator ? fmt::to_string(*options.separator) : "none", encoder->fingerprint());
  }
  return text;
}

void check_fingerprint(const std::string& found, const std::string& expected) {
  if (found == expected) return;
  const std::vector<std::string> then = words(found);
  const std::vector<std::string> now = words(expected);
  std::string differences;
  for (size_t i = 0; i < std::max(then.size(), now.size()); ++i) {
    const std::string before = i < then.size() ? then[i] : "(nothing)";
    const std::string after = i < now.size() ? now[i] : "(nothing)";
    if (before != after)
      differences += fmt::format("{}{} became {}", differences.empty() ? "" : ", ", before, after);
  }
  fail("data: the checkpoint was made with other data or data options: {}", differences);
}

}  // namespace seer
