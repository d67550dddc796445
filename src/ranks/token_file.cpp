#include "src/ranks/token_file.h"

#include <algorithm>
#include <cerrno>
#include <sstream>

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "src/core/error.h"

namespace seer {
namespace fs = std::filesystem;
namespace {

constexpr std::string_view kFirstLine = "seer-train ranks 1";
constexpr size_t kMaxBytes = 65536;

std::string encode(const HeadAddress& head) {
  std::string text = fmt::format("{}\nport {}\nsecret {}\n", kFirstLine, head.port, head.secret);
  for (const std::string& host : head.hosts) text += fmt::format("host {}\n", host);
  return text + "end\n";
}

std::string read_whole(const fs::path& path) {
  const Fd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  std::string text(kMaxBytes, '\0');
  // Only what this user wrote for itself: anybody could leave a file of this name in a shared folder.
  struct stat status {};
  if (!fd.valid() || ::fstat(fd.get(), &status) != 0 || status.st_uid != ::geteuid() ||
      (status.st_mode & 077) != 0) {
    return {};
  }
  const ssize_t n = ::read(fd.get(), text.data(), text.size());
  text.resize(n > 0 ? static_cast<size_t>(n) : 0);
  return text;
}

}  // namespace

TokenFile::TokenFile(const fs::path& path, const HeadAddress& head)
    : path_(fs::absolute(path)), text_(encode(head)) {
  for (fs::path folder = path_.parent_path(); !fs::exists(folder); folder = folder.parent_path()) {
    made_.insert(made_.begin(), folder);
  }
  const std::string temporary = fmt::format("{}.tmp.{}", path_.string(), ::getpid());
  const auto refuse = [&](const std::string& what, int error) {
    ::unlink(temporary.c_str());
    remove_made_folders();
    fail_errno(what, error);
  };
  for (const fs::path& folder : made_) {
    if (::mkdir(folder.c_str(), 0777) != 0 && errno != EEXIST)
      refuse(fmt::format("cannot make folder {}", folder.string()), errno);
  }
  ::unlink(temporary.c_str());
  const Fd fd(::open(temporary.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600));
  if (!fd.valid() || ::write(fd.get(), text_.data(), text_.size()) != static_cast<ssize_t>(text_.size()) ||
      ::fsync(fd.get()) != 0 || ::rename(temporary.c_str(), path_.c_str()) != 0) {
    refuse(fmt::format("cannot write {}", path_.string()), errno);
  }
}

TokenFile::~TokenFile() {
  // A later start of the same name may have put its own file there.
  if (read_whole(path_) == text_) ::unlink(path_.c_str());
  remove_made_folders();
}

void TokenFile::remove_made_folders() {
  std::for_each(made_.rbegin(), made_.rend(), [](const fs::path& folder) { ::rmdir(folder.c_str()); });
}

fs::path TokenFile::path(const fs::path& run_folder, const std::string& job) {
  return run_folder / (".ranks-" + job);
}

std::optional<HeadAddress> TokenFile::read(const fs::path& path) {
  std::istringstream lines(read_whole(path));
  std::string line;
  if (!std::getline(lines, line) || line != kFirstLine) return std::nullopt;
  HeadAddress head;
  while (std::getline(lines, line)) {
    if (line == "end") return head;
    const size_t space = line.find(' ');
    const std::string key = line.substr(0, space);
    const std::string value = space == std::string::npos ? "" : line.substr(space + 1);
    if (key == "port") head.port = std::atoi(value.c_str());
    if (key == "secret") head.secret = value;
    if (key == "host") head.hosts.push_back(value);
  }
  return std::nullopt;  // cut off
}

}  // namespace seer
