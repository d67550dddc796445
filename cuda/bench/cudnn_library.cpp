#include "cuda/bench/cudnn_library.h"

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <filesystem>
#include <mutex>
#include <optional>
#include <string_view>
#include <system_error>
#include <vector>

#include <dlfcn.h>
#include <poll.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "src/core/error.h"

namespace seer::cuda {
namespace {

namespace fs = std::filesystem;

constexpr const char* kLibraryName = "libcudnn.so.9";

std::string environment(const char* name) {
  const char* value = std::getenv(name);
  return value != nullptr ? value : "";
}

std::vector<fs::path> split_search_path(std::string_view text) {
  std::vector<fs::path> folders;
  while (!text.empty()) {
    const size_t end = std::min(text.find(':'), text.size());
    if (end > 0) folders.emplace_back(text.substr(0, end));
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return folders;
}

/// Where pip puts cuDNN below the prefix of a Python installation or virtual environment.
void add_site_packages(const fs::path& prefix, std::vector<fs::path>& folders) {
  std::error_code ignored;
  for (const auto& entry : fs::directory_iterator(prefix / "lib", ignored)) {
    if (!entry.path().filename().string().starts_with("python3")) continue;
    for (const char* packages : {"site-packages", "dist-packages"}) {
      folders.push_back(entry.path() / packages / "nvidia/cudnn/lib");
    }
  }
}

std::vector<fs::path> search_folders() {
  std::vector<fs::path> folders = split_search_path(environment("LD_LIBRARY_PATH"));
  folders.emplace_back("/usr/lib/x86_64-linux-gnu");
  folders.emplace_back("/usr/lib/aarch64-linux-gnu");
  folders.emplace_back("/usr/local/cuda/lib64");
  folders.emplace_back("/usr/local/cuda/lib");
  for (const fs::path& bin : split_search_path(environment("PATH"))) {
    add_site_packages(bin.parent_path(), folders);
    std::error_code no_link;
    // The link's target may be the Python of a virtual environment.
    const fs::path python = fs::read_symlink(bin / "python3", no_link);
    if (python.is_absolute()) add_site_packages(python.parent_path().parent_path(), folders);
  }
  if (const std::string home = environment("HOME"); !home.empty()) {
    add_site_packages(fs::path(home) / ".local", folders);
  }
  return folders;
}

/// The different libraries there are: many folders are links to one another.
std::vector<fs::path> find_libraries(const std::vector<fs::path>& folders) {
  std::vector<fs::path> found;
  for (const fs::path& folder : folders) {
    std::error_code missing;
    const fs::path library = fs::canonical(folder / kLibraryName, missing);
    if (!missing && std::find(found.begin(), found.end(), library) == found.end()) found.push_back(library);
  }
  return found;
}

/// Opens a sub-library that lies beside `library`, before cuDNN asks for it by name: LD_LIBRARY_PATH comes before
/// cuDNN's own run path ($ORIGIN), and another cuDNN there would be mixed in. A name that stands for an open library
/// is not searched for again.
void open_beside(const fs::path& library, const char* part) {
  const fs::path file = library.parent_path() / fmt::format("libcudnn_{}.so.9", part);
  if (fs::exists(file) && dlopen(file.c_str(), RTLD_LAZY | RTLD_LOCAL) == nullptr) {
    fail("cuDNN: {}", dlerror());
  }
}

void* open_cudnn(const fs::path& library) {
  open_beside(library, "graph");
  void* handle = dlopen(library.c_str(), RTLD_LAZY | RTLD_LOCAL);
  if (handle == nullptr) fail("cuDNN: {}", dlerror());
  return handle;
}

size_t ask_version(void* handle) {
  const auto get_version = reinterpret_cast<size_t (*)()>(dlsym(handle, "cudnnGetVersion"));
  return get_version != nullptr ? get_version() : 0;
}

/// The version of a library, 0 if it does not open. A child process opens it: cudnnGetVersion() maps sub-libraries
/// that dlclose() does not unmap, and those of a second cuDNN would then be resolved to the first one's.
size_t probe_version(const fs::path& library) {
  constexpr int kPatienceMs = 20'000;  // a cold network file system; a child that hangs must not hang us
  int ends[2];
  if (pipe(ends) != 0) fail_errno("cannot make a pipe to ask cuDNN for its version", errno);
  const pid_t child = fork();
  if (child < 0) fail_errno("cannot fork to ask cuDNN for its version", errno);
  if (child == 0) {
    size_t version = 0;
    try {
      version = ask_version(open_cudnn(library));
    } catch (const Error&) {  // a damaged copy, which the parent passes over
    }
    _exit(write(ends[1], &version, sizeof(version)) == sizeof(version) ? 0 : 1);
  }
  close(ends[1]);
  size_t version = 0;
  pollfd answer{.fd = ends[0], .events = POLLIN, .revents = 0};
  if (poll(&answer, 1, kPatienceMs) != 1 || read(ends[0], &version, sizeof(version)) != sizeof(version)) {
    version = 0;
  }
  close(ends[0]);
  kill(child, SIGKILL);
  waitpid(child, nullptr, 0);
  return version;
}

fs::path newest(const std::vector<fs::path>& libraries) {
  if (libraries.size() == 1) return libraries.front();
  const fs::path* best = nullptr;
  size_t best_version = 0;
  for (const fs::path& library : libraries) {
    const size_t version = probe_version(library);
    if (version > best_version) {
      best = &library;
      best_version = version;
    }
  }
  if (best == nullptr) {
    fail("cuDNN: none of {} copies of {} can be opened, e.g. {}", libraries.size(), kLibraryName,
         libraries.front().string());
  }
  return *best;
}

fs::path choose_library(const std::string& path) {
  const std::string wanted = path.empty() ? environment("SEER_CUDNN") : path;
  if (!wanted.empty()) {
    std::error_code missing;
    const fs::path file = fs::is_directory(wanted) ? fs::path(wanted) / kLibraryName : fs::path(wanted);
    fs::path library = fs::canonical(file, missing);
    if (missing) fail("cuDNN: there is no {} ({})", file.string(), missing.message());
    return library;
  }
  const std::vector<fs::path> libraries = find_libraries(search_folders());
  if (libraries.empty()) {
    fail(
        "cuDNN: no {} in LD_LIBRARY_PATH, the folders of the system, CUDA and the Pythons on PATH; set "
        "SEER_CUDNN to its folder, or install it, e.g. `pip install nvidia-cudnn-cu13`",
        kLibraryName);
  }
  return newest(libraries);
}

CudnnLibrary open_library(const fs::path& path) {
  void* handle = open_cudnn(path);
  for (const char* part : {"ops", "heuristic", "engines_precompiled", "engines_runtime_compiled"}) {
    open_beside(path, part);
  }
  CudnnLibrary library{.path = path.string(), .version = ask_version(handle), .handle = handle};
  if (library.version < 90000) fail("cuDNN: {} is not a cuDNN 9 (version {})", library.path, library.version);
  return library;
}

}  // namespace

const CudnnLibrary& load_cudnn(const std::string& path) {
  static std::mutex mutex;
  static std::optional<CudnnLibrary> loaded;
  const std::lock_guard lock(mutex);
  if (!loaded) {
    loaded = open_library(choose_library(path));
  } else if (!path.empty() && choose_library(path) != loaded->path) {
    fail("cuDNN: this process already uses {}, and can hold no second one from {}", loaded->path, path);
  }
  return *loaded;
}

std::string cudnn_version_text(size_t version) {
  return fmt::format("{}.{}.{}", version / 10000, version / 100 % 100, version % 100);
}

}  // namespace seer::cuda
