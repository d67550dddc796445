#include "trainer/rank_log.h"

#include <cerrno>
#include <system_error>

#include <fcntl.h>
#include <unistd.h>

#include "src/core/log.h"

namespace seer {
namespace fs = std::filesystem;
namespace {

/// Of lines that wait for their file.
constexpr size_t kMostKept = size_t{1} << 20;

std::string text_of(int error) {
  return std::generic_category().message(error);
}

}  // namespace

RankLog::~RankLog() {
  if (!partial_.empty()) add_line(partial_);
}

void RankLog::add(std::string_view text) {
  partial_ += text;
  size_t begin = 0;
  for (size_t end = partial_.find('\n'); end != std::string::npos; end = partial_.find('\n', begin)) {
    add_line(std::string_view(partial_).substr(begin, end - begin));
    begin = end + 1;
  }
  partial_.erase(0, begin);
}

void RankLog::add_line(std::string_view line) {
  // main() ends with the first form, log::error() writes the second.
  if (line.starts_with("seer-train: ") || line.find(" error] ") != std::string_view::npos) last_error_ = line;
  const std::string whole = std::string(line) + "\n";
  if (echo_) {
    const std::string echoed = "[rank " + std::to_string(rank_) + "] " + whole;
    [[maybe_unused]] const ssize_t written = ::write(STDERR_FILENO, echoed.data(), echoed.size());
  }
  if (opened()) return write(whole);
  kept_ += whole;
  if (kept_.size() > kMostKept) kept_.erase(0, kept_.find('\n', kept_.size() - kMostKept) + 1);
}

void RankLog::open(const fs::path& run_folder) {
  if (opened() || warned_) return;
  path_ = run_folder / "logs" / ("rank-" + std::to_string(rank_) + ".log");
  std::error_code error;
  fs::create_directory(path_.parent_path(), error);
  file_ = Fd(::open(path_.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644));
  if (!opened()) {
    log::warn("cannot write {}: {}", path_.string(), text_of(errno));
    warned_ = true;
    return;
  }
  write(kept_);
  kept_.clear();
}

void RankLog::write(std::string_view text) {
  while (!text.empty()) {
    const ssize_t n = ::write(file_.get(), text.data(), text.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) {
      if (!warned_) log::warn("cannot write {}: {}", path_.string(), text_of(errno));
      warned_ = true;
      return;
    }
    text.remove_prefix(static_cast<size_t>(n));
  }
}

}  // namespace seer
