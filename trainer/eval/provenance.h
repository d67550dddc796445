// What a result is of, by content: files may be replaced under the same name.
#pragma once

#include <filesystem>
#include <string>

namespace seer {

/// Checksum, in hex, of a model folder's config.json and of samples of all its tensors.
std::string model_checksum(const std::filesystem::path& folder);
/// Of the kind and weights of a gates folder; not of how its config.json says to select.
std::string gates_checksum(const std::filesystem::path& folder);

}  // namespace seer
