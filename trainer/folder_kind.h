// What a folder that somebody names is: for commands that take several kinds, and for messages about a wrong one.
#pragma once

#include <filesystem>
#include <string>

namespace seer {

enum class FolderKind { kModel, kGates, kRun, kCheckpoint, kOther };

/// By the files a folder of each kind has; kOther also for what is no folder.
FolderKind folder_kind(const std::filesystem::path& path);

/// The folder itself, by a name that can be added to: "gates/" and "gates/." are "gates", "." has the name of its folder.
std::filesystem::path without_trailing_slash(const std::filesystem::path& path);

/// "a model's folder", "a file", "a folder that holds a.txt, b.txt, ...": to stand behind "it is".
std::string describe_path(const std::filesystem::path& path);

}  // namespace seer
