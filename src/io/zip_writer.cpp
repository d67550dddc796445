#include "src/io/zip_writer.h"

#include <cerrno>
#include <exception>
#include <vector>

#include <zip.h>

#include "src/core/error.h"
#include "src/io/tensor_name.h"

namespace seer {

// What libzip writes to: it puts each local header before its payload and goes back to complete it.
struct ZipWriter::Sink {
  explicit Sink(const std::filesystem::path& path) : file(path) { zip_error_init(&error); }
  ~Sink() { zip_error_fini(&error); }
  Sink(const Sink&) = delete;
  Sink& operator=(const Sink&) = delete;

  AtomicFile file;
  size_t position = 0;
  zip_error_t error;
  std::exception_ptr failure;  // thrown by `file` below C frames; rethrown by commit()

  zip_int64_t refuse(int code, int system_error = 0) {
    zip_error_set(&error, code, system_error);
    return -1;
  }

  zip_int64_t write(const void* data, size_t bytes) {
    try {
      file.write_at(position, {static_cast<const std::byte*>(data), bytes});
    } catch (...) {
      failure = std::current_exception();
      return refuse(ZIP_ER_WRITE, EIO);
    }
    position += bytes;
    return static_cast<zip_int64_t>(bytes);
  }

  static zip_int64_t handle(void* state, void* data, zip_uint64_t bytes, zip_source_cmd_t command) {
    auto& sink = *static_cast<Sink*>(state);
    switch (command) {
      case ZIP_SOURCE_SUPPORTS:
        return ZIP_SOURCE_SUPPORTS_WRITABLE;
      case ZIP_SOURCE_STAT:
        return sink.refuse(ZIP_ER_READ, ENOENT);  // there is no archive yet
      case ZIP_SOURCE_ERROR:
        return zip_error_to_data(&sink.error, data, bytes);
      case ZIP_SOURCE_BEGIN_WRITE:
        sink.position = 0;
        return 0;
      case ZIP_SOURCE_WRITE:
        return sink.write(data, bytes);
      case ZIP_SOURCE_TELL_WRITE:
        return static_cast<zip_int64_t>(sink.position);
      case ZIP_SOURCE_SEEK_WRITE: {
        const zip_int64_t target =
            zip_source_seek_compute_offset(sink.position, sink.file.size(), data, bytes, &sink.error);
        if (target < 0) return -1;
        sink.position = static_cast<size_t>(target);
        return 0;
      }
      case ZIP_SOURCE_COMMIT_WRITE:
      case ZIP_SOURCE_ROLLBACK_WRITE:
      case ZIP_SOURCE_FREE:
        return 0;
      default:
        return sink.refuse(ZIP_ER_OPNOTSUPP);
    }
  }
};

void ZipWriter::Discard::operator()(zip* archive) const {
  zip_discard(archive);
}

ZipWriter::ZipWriter(const std::filesystem::path& path) : path_(path), sink_(std::make_unique<Sink>(path)) {
  zip_error_t error;
  zip_error_init(&error);
  zip_source_t* source = zip_source_function_create(&Sink::handle, sink_.get(), &error);
  if (source != nullptr) archive_.reset(zip_open_from_source(source, ZIP_CREATE | ZIP_TRUNCATE, &error));
  if (archive_ == nullptr) {
    const std::string cause = zip_error_strerror(&error);
    zip_error_fini(&error);
    zip_source_free(source);
    fail("cannot write {}: {}", path_.string(), cause);
  }
  zip_error_fini(&error);
}

ZipWriter::~ZipWriter() = default;

void ZipWriter::add(const std::string& name, std::span<const std::byte> bytes) {
  constexpr size_t kLocalHeader = 30;
  constexpr size_t kExtraHeader = 4;
  constexpr size_t kZip64Extra = kExtraHeader + 16;
  constexpr zip_uint16_t kPaddingId = 'F' | 'B' << 8;
  constexpr uint64_t kZip64Threshold = 0xffffffff;
  constexpr zip_uint16_t kDosDate = (1 << 5) | 1;  // 1980-01-01

  zip_t* archive = archive_.get();
  zip_source_t* source = zip_source_buffer(archive, bytes.data(), bytes.size(), 0);
  const zip_int64_t added =
      source == nullptr ? -1 : zip_file_add(archive, name.c_str(), source, ZIP_FL_ENC_UTF_8);
  if (added < 0) zip_source_free(source);
  const auto index = static_cast<zip_uint64_t>(added);

  const size_t zip64 = bytes.size() >= kZip64Threshold ? kZip64Extra : 0;
  const size_t unpadded = offset_ + kLocalHeader + name.size() + zip64 + kExtraHeader;
  const size_t payload = (unpadded + kAlignment - 1) / kAlignment * kAlignment;
  const std::vector<zip_uint8_t> padding(payload - unpadded, 'Z');
  if (added < 0 || zip_set_file_compression(archive, index, ZIP_CM_STORE, 0) != 0 ||
      zip_file_set_dostime(archive, index, 0, kDosDate, 0) != 0 ||
      zip_file_extra_field_set(archive, index, kPaddingId, ZIP_EXTRA_FIELD_NEW, padding.data(),
                               static_cast<zip_uint16_t>(padding.size()), ZIP_FL_LOCAL) != 0) {
    fail("cannot write {}: record {}: {}", path_.string(), quote_name(name), zip_strerror(archive));
  }
  offset_ = payload + bytes.size();
}

void ZipWriter::commit() {
  if (zip_close(archive_.get()) != 0) {
    if (sink_->failure) std::rethrow_exception(sink_->failure);
    fail("cannot write {}: {}", path_.string(), zip_strerror(archive_.get()));
  }
  static_cast<void>(archive_.release());  // zip_close() has freed it
  sink_->file.commit();
}

}  // namespace seer
