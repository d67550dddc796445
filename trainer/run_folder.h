// The folder of one run: where its files are, and that only one process writes them.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>

namespace seer {

/// Names of the files of a run. Reading a run (export, inspect, reports) needs no more than this.
struct RunPaths {
  std::filesystem::path root;

  std::filesystem::path config() const { return root / "config.json"; }
  /// The base model's config.json, so that gates can be exported without the model.
  std::filesystem::path model_config() const { return root / "model_config.json"; }
  std::filesystem::path metrics() const { return root / "metrics.jsonl"; }
  std::filesystem::path tensorboard() const { return root / "tensorboard"; }
  std::filesystem::path checkpoints() const { return root / "checkpoints"; }
  std::filesystem::path gates() const { return root / "gates"; }
  /// gates/<name>; a usage Error if the name cannot be a folder's.
  std::filesystem::path gate(const std::string& name) const;
  std::filesystem::path lock() const { return root / ".lock"; }

  /// Whether a run was started here: its config.json exists.
  bool holds_run() const;
};

/// A run folder that this process may write, until the object goes. The lock is flock on `.lock`, so it ends
/// with the process however that ends; the file stays. On a file system without locks there is a warning and
/// no protection.
class RunFolder {
 public:
  /// Starts a run: makes the folder (and its parents) if needed, locks it, writes `effective_config` as
  /// config.json. A folder that already holds files of a run is a usage Error and left as it is.
  static RunFolder create(const std::filesystem::path& path, std::string_view effective_config);

  /// Continues a run; a usage Error if the folder holds none, an Error naming the other process if one is
  /// writing it.
  static RunFolder open(const std::filesystem::path& path);

  ~RunFolder();
  RunFolder(RunFolder&& other) noexcept;
  RunFolder& operator=(RunFolder&&) = delete;

  const RunPaths& paths() const { return paths_; }

 private:
  RunFolder(RunPaths paths, int lock_fd) : paths_(std::move(paths)), lock_fd_(lock_fd) {}

  RunPaths paths_;
  int lock_fd_;
};

}  // namespace seer
