#include "data/byte_source.h"

#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <string>
#include <vector>

#include <zlib.h>
#include <zstd.h>

#include "src/core/error.h"

namespace seer {
namespace {

constexpr size_t kChunkBytes = size_t{1} << 18;
constexpr int kWindowLogMax = 31;

class PlainSource : public ByteSource {
 public:
  explicit PlainSource(const std::filesystem::path& path)
      : name_(path.string()), file_(std::fopen(path.c_str(), "rb")) {
    if (file_ == nullptr) fail_errno(name_ + ": cannot open", errno);
  }
  ~PlainSource() override { std::fclose(file_); }
  PlainSource(const PlainSource&) = delete;
  PlainSource& operator=(const PlainSource&) = delete;

  size_t read(std::span<char> out) override {
    const size_t count = std::fread(out.data(), 1, out.size(), file_);
    if (count < out.size() && std::ferror(file_) != 0) fail_errno(name_ + ": cannot read", errno);
    return count;
  }

  const std::string& name() const { return name_; }

 private:
  std::string name_;
  std::FILE* file_;
};

/// Compressed bytes as they come from the file, and how far they are used.
class Input {
 public:
  explicit Input(const std::filesystem::path& path) : file_(path), buffer_(kChunkBytes) {}

  /// Unused bytes, read on if there are none; empty at the end of the file.
  std::span<char> rest() {
    if (begin_ == end_) {
      begin_ = 0;
      end_ = file_.read(buffer_);
    }
    return std::span<char>(buffer_).subspan(begin_, end_ - begin_);
  }
  void consume(size_t count) {
    begin_ += count;
    position_ += count;
  }
  uint64_t position() const { return position_; }
  const std::string& name() const { return file_.name(); }

 private:
  PlainSource file_;
  std::vector<char> buffer_;
  size_t begin_ = 0;
  size_t end_ = 0;
  uint64_t position_ = 0;
};

class GzipSource : public ByteSource {
 public:
  explicit GzipSource(const std::filesystem::path& path) : input_(path) {
    constexpr int kGzipOnly = 16 + MAX_WBITS;
    SEER_CHECK(::inflateInit2(&stream_, kGzipOnly) == Z_OK, "inflateInit2 for {}", input_.name());
  }
  ~GzipSource() override { ::inflateEnd(&stream_); }
  GzipSource(const GzipSource&) = delete;
  GzipSource& operator=(const GzipSource&) = delete;

  size_t read(std::span<char> out) override {
    size_t written = 0;
    while (written < out.size() && !finished_) {
      const std::span<char> in = input_.rest();
      if (in.empty()) end_of_file();
      if (finished_ || (between_members_ && any_member_ && skip_padding(in))) continue;
      between_members_ = false;
      stream_.next_in = reinterpret_cast<Bytef*>(in.data());
      stream_.avail_in = static_cast<uInt>(in.size());
      const size_t room = std::min(out.size() - written, kChunkBytes);
      stream_.next_out = reinterpret_cast<Bytef*>(out.data() + written);
      stream_.avail_out = static_cast<uInt>(room);
      const int status = ::inflate(&stream_, Z_NO_FLUSH);
      input_.consume(in.size() - stream_.avail_in);
      written += room - stream_.avail_out;
      if (status == Z_STREAM_END) {
        any_member_ = between_members_ = true;
        ::inflateReset(&stream_);
      } else if (status != Z_OK && status != Z_BUF_ERROR) {
        fail("{}: damaged gzip data near byte {}: {}", input_.name(), input_.position(),
             stream_.msg != nullptr ? stream_.msg : ::zError(status));
      }
    }
    return written;
  }

 private:
  void end_of_file() {
    if (!any_member_ || !between_members_)
      fail("{}: the gzip data end early, at byte {}: the file is truncated", input_.name(),
           input_.position());
    finished_ = true;
  }

  /// Some writers pad the file with zeros after the last member; gzip ignores them too.
  bool skip_padding(std::span<char> in) {
    if (in.front() != 0) return false;
    size_t zeros = 0;
    while (zeros < in.size() && in[zeros] == 0) ++zeros;
    input_.consume(zeros);
    return true;
  }

  Input input_;
  z_stream stream_{};
  bool any_member_ = false;
  bool between_members_ = true;
  bool finished_ = false;
};

class ZstdSource : public ByteSource {
 public:
  explicit ZstdSource(const std::filesystem::path& path) : input_(path), stream_(::ZSTD_createDCtx()) {
    SEER_CHECK(stream_ != nullptr, "ZSTD_createDCtx for {}", input_.name());
    ::ZSTD_DCtx_setParameter(stream_.get(), ZSTD_d_windowLogMax, kWindowLogMax);
  }

  size_t read(std::span<char> out) override {
    ZSTD_outBuffer target{out.data(), out.size(), 0};
    while (target.pos < target.size && !finished_) {
      const std::span<char> in = input_.rest();
      // With no input left the decoder may still hold output: only when it adds nothing has the data ended.
      ZSTD_inBuffer source{in.data(), in.size(), 0};
      const size_t before = target.pos;
      if (in.empty() && hint_ == 0) {
        if (!any_frame_) fail("{}: the zstd data end early, at byte 0: the file is truncated", input_.name());
        finished_ = true;
        break;
      }
      hint_ = ::ZSTD_decompressStream(stream_.get(), &target, &source);
      if (::ZSTD_isError(hint_) != 0) {
        fail("{}: damaged zstd data near byte {}: {}", input_.name(), input_.position(),
             ::ZSTD_getErrorName(hint_));
      }
      input_.consume(source.pos);
      any_frame_ = true;
      if (in.empty() && target.pos == before && hint_ != 0)
        fail("{}: the zstd data end early, at byte {}: the file is truncated", input_.name(),
             input_.position());
    }
    return target.pos;
  }

 private:
  struct Free {
    void operator()(ZSTD_DCtx* context) const { ::ZSTD_freeDCtx(context); }
  };

  Input input_;
  std::unique_ptr<ZSTD_DCtx, Free> stream_;
  size_t hint_ = 0;  ///< 0 at the end of a frame, else bytes the decoder would like to see.
  bool any_frame_ = false;
  bool finished_ = false;
};

}  // namespace

std::unique_ptr<ByteSource> open_bytes(const std::filesystem::path& path, Compression compression) {
  switch (compression) {
    case Compression::kGzip:
      return std::make_unique<GzipSource>(path);
    case Compression::kZstd:
      return std::make_unique<ZstdSource>(path);
    case Compression::kNone:
      break;
  }
  return std::make_unique<PlainSource>(path);
}

}  // namespace seer
