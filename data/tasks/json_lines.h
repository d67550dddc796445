// Benchmarks' .jsonl files.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>

#include <nlohmann/json_fwd.hpp>

namespace seer {

/// Calls `visit` with each line's object and its place among the objects, from 0; blank lines are skipped.
/// The file may be .jsonl.gz or .jsonl.zst. Throws Error naming file and line for what is no JSON object,
/// for what `visit` finds missing or of another type (its nlohmann exceptions), and for Errors of `visit`.
void for_each_json_line(const std::filesystem::path& file,
                        const std::function<void(const nlohmann::json&, int64_t)>& visit);

}  // namespace seer
