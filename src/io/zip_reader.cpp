#include "src/io/zip_reader.h"

#include <zip.h>

#include "src/core/error.h"
#include "src/io/tensor_name.h"

namespace seer {

void ZipReader::Discard::operator()(zip* archive) const {
  zip_discard(archive);
}

ZipReader::ZipReader(std::span<const std::byte> archive, const std::string& display_name)
    : display_name_(display_name), archive_bytes_(archive.size()) {
  zip_error_t error;
  zip_error_init(&error);
  const auto refuse = [&] {
    const std::string cause = zip_error_strerror(&error);
    zip_error_fini(&error);
    fail("{}: not a readable zip archive (truncated or damaged?): {}", display_name_, cause);
  };
  zip_source_t* source = zip_source_buffer_create(archive.data(), archive.size(), 0, &error);
  if (source == nullptr) refuse();
  archive_.reset(zip_open_from_source(source, ZIP_RDONLY, &error));
  if (archive_ == nullptr) {
    zip_source_free(source);
    refuse();
  }
  zip_error_fini(&error);

  const zip_int64_t count = zip_get_num_entries(archive_.get(), 0);
  for (zip_int64_t i = 0; i < count; ++i) {
    zip_stat_t stat;
    if (zip_stat_index(archive_.get(), static_cast<zip_uint64_t>(i), 0, &stat) != 0 ||
        (stat.valid & ZIP_STAT_NAME) == 0 || (stat.valid & ZIP_STAT_SIZE) == 0) {
      fail("{}: damaged zip archive: entry {} cannot be read", display_name_, i);
    }
    if (!records_.emplace(stat.name, Record{static_cast<uint64_t>(i), stat.size}).second) {
      fail("{}: two records are called {}", display_name_, quote_name(stat.name));
    }
  }
}

std::vector<std::string_view> ZipReader::names() const {
  std::vector<std::string_view> names;
  names.reserve(records_.size());
  for (const auto& [name, record] : records_) names.push_back(name);
  return names;
}

const ZipReader::Record& ZipReader::record(std::string_view name) const {
  const auto it = records_.find(name);
  if (it == records_.end()) fail("{}: the record {} is missing", display_name_, quote_name(name));
  return it->second;
}

std::vector<std::byte> ZipReader::read(std::string_view name, uint64_t expected_bytes) const {
  const Record& found = record(name);
  if (found.bytes != expected_bytes) {
    fail("{}: the record {} has {} bytes; expected {}", display_name_, quote_name(name), found.bytes,
         expected_bytes);
  }
  return read(name, found);
}

std::vector<std::byte> ZipReader::read_up_to(std::string_view name, uint64_t max_bytes) const {
  const Record& found = record(name);
  if (found.bytes > max_bytes) {
    fail("{}: the record {} has {} bytes; expected at most {}", display_name_, quote_name(name), found.bytes,
         max_bytes);
  }
  return read(name, found);
}

std::vector<std::byte> ZipReader::read(std::string_view name, const Record& record) const {
  zip_stat_t stat;
  if (zip_stat_index(archive_.get(), record.index, 0, &stat) != 0 || stat.comp_method != ZIP_CM_STORE ||
      stat.encryption_method != ZIP_EM_NONE) {
    fail("{}: the record {} is compressed or encrypted; PyTorch stores records as they are", display_name_,
         quote_name(name));
  }
  if (record.bytes > archive_bytes_) {
    fail("{}: the record {} claims {} bytes, more than the whole archive", display_name_, quote_name(name),
         record.bytes);
  }
  const std::unique_ptr<zip_file_t, int (*)(zip_file_t*)> file(
      zip_fopen_index(archive_.get(), record.index, 0), &zip_fclose);
  if (file == nullptr) {
    fail("{}: cannot read the record {}: {}", display_name_, quote_name(name), zip_strerror(archive_.get()));
  }
  std::vector<std::byte> bytes(record.bytes);
  uint64_t done = 0;
  while (true) {
    // The last read asks for one byte past the end: only then libzip compares size and CRC.
    std::byte past_end;
    const bool complete = done == bytes.size();
    const zip_int64_t n =
        zip_fread(file.get(), complete ? &past_end : bytes.data() + done, complete ? 1 : bytes.size() - done);
    if (n < 0 || (n == 0) != complete) {
      fail("{}: the record {} is damaged: {}", display_name_, quote_name(name),
           n < 0 ? zip_file_strerror(file.get()) : "it has another length than the archive says");
    }
    if (complete) return bytes;
    done += static_cast<uint64_t>(n);
  }
}

}  // namespace seer
