#include "trainer/run_folder.h"

#include <array>
#include <cerrno>
#include <climits>
#include <system_error>
#include <utility>
#include <vector>

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include "src/core/error.h"
#include "src/core/log.h"
#include "src/io/atomic_file.h"

namespace seer {
namespace fs = std::filesystem;
namespace {

bool is_there(const fs::path& path) {
  std::error_code error;
  const bool found = fs::exists(path, error);
  if (error) fail("cannot look at {}: {}", path.string(), error.message());
  return found;
}

void refuse_used(const RunPaths& paths) {
  for (const fs::path& used :
       {paths.config(), paths.metrics(), paths.tensorboard(), paths.checkpoints(), paths.gates()}) {
    if (!is_there(used)) continue;
    fail_usage(
        "{} already holds a run ({} is there): continue it with --resume, or choose another output.dir",
        paths.root.string(), used.filename().string());
  }
}

/// Who the lock file says holds it; empty while that process has not written it yet.
std::string holder(int lock_fd) {
  std::array<char, 512> text{};
  const ssize_t n = ::pread(lock_fd, text.data(), text.size(), 0);
  const std::string_view read(text.data(), n > 0 ? static_cast<size_t>(n) : 0);
  return std::string(read.substr(0, read.find('\n')));
}

int lock_folder(const RunPaths& paths) {
  const std::string file = paths.lock().string();
  const int fd = ::open(file.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644);
  if (fd < 0) fail_errno(fmt::format("cannot write {}", file), errno);
  if (::flock(fd, LOCK_EX | LOCK_NB) != 0) {
    const int error = errno;
    if (error == EWOULDBLOCK) {
      const std::string who = holder(fd);
      ::close(fd);
      fail("another process ({}) is writing the run in {}: stop it first, or choose another output.dir",
           who.empty() ? "pid unknown" : who, paths.root.string());
    }
    log::warn("cannot lock {} ({}): make sure that no other process writes this run", file,
              std::generic_category().message(error));
    return fd;
  }
  std::array<char, HOST_NAME_MAX + 1> host{};
  ::gethostname(host.data(), HOST_NAME_MAX);
  const std::string me = fmt::format("pid {} on {}\n", ::getpid(), host.data());
  if (::ftruncate(fd, 0) != 0 || ::pwrite(fd, me.data(), me.size(), 0) != static_cast<ssize_t>(me.size())) {
    const int error = errno;
    ::close(fd);
    fail_errno(fmt::format("cannot write {}", file), error);
  }
  return fd;
}

/// What a killed process was writing under a temporary name. Only for the holder of the lock.
void remove_leftovers(const fs::path& folder) {
  std::error_code error;
  if (!fs::is_directory(folder, error)) return;
  std::vector<fs::path> leftovers;
  for (const auto& entry : fs::directory_iterator(folder)) {
    const std::string name = entry.path().filename().string();
    if (name.find(".tmp.") != std::string::npos || name.find(".old.") != std::string::npos) {
      leftovers.push_back(entry.path());
    }
  }
  for (const fs::path& leftover : leftovers) fs::remove_all(leftover, error);
}

}  // namespace

fs::path RunPaths::gate(const std::string& name) const {
  if (name.empty() || name.starts_with('.') || name.find('/') != std::string::npos) {
    fail_usage(
        "gate entry name \"{}\" cannot name a folder: it must not be empty, start with '.' or hold '/'",
        name);
  }
  return gates() / name;
}

bool RunPaths::holds_run() const {
  return is_there(config());
}

RunFolder RunFolder::create(const fs::path& path, std::string_view effective_config) {
  const RunPaths paths{path};
  refuse_used(paths);
  std::error_code error;
  fs::create_directories(path, error);
  if (error) fail("output.dir: cannot make run folder {}: {}", path.string(), error.message());
  RunFolder folder(paths, lock_folder(paths));
  refuse_used(paths);  // another process may have been here between the first look and the lock
  write_file_atomically(paths.config(), effective_config);
  return folder;
}

RunFolder RunFolder::open(const fs::path& path) {
  const RunPaths paths{path};
  if (!paths.holds_run()) {
    fail_usage("{} holds no run to resume (no config.json): start it without --resume", path.string());
  }
  RunFolder folder(paths, lock_folder(paths));
  remove_leftovers(paths.root);
  remove_leftovers(paths.gates());
  return folder;
}

RunFolder::~RunFolder() {
  if (lock_fd_ >= 0) ::close(lock_fd_);
}

RunFolder::RunFolder(RunFolder&& other) noexcept
    : paths_(std::move(other.paths_)), lock_fd_(std::exchange(other.lock_fd_, -1)) {}

}  // namespace seer
