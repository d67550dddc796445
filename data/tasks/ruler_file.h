// RULER's own .jsonl files, written by its scripts or by us.
#pragma once

#include <filesystem>
#include <span>
#include <string_view>
#include <vector>

#include "data/tasks/sample.h"

namespace seer {

/// Reads a file as RULER's prepare.py writes it: a line {"input", "outputs", "answer_prefix", "length", ...} for
/// each sample of one task. `answer_prefix` may be missing (MInference's fork has it in `input`), other fields
/// are read past; metric and tokens to generate are the task's. `index` is the place in the file: the field of
/// that name repeats itself in files of NVIDIA's (its needle tasks write a position in the text there).
/// Throws Error naming file, line and field; a usage Error for an unknown task.
std::vector<TaskSample> read_ruler_file(const std::filesystem::path& file, std::string_view task);

/// The file of a task under the folder that prepare.py was given: DIR/<task>/validation.jsonl, or else
/// DIR/<task>.jsonl. Throws Error naming both if there is neither.
std::filesystem::path find_ruler_file(const std::filesystem::path& folder, std::string_view task);

/// Writes such a file, atomically: RULER's fields, and `task`, `tokens_to_generate` and `haystack`.
void write_ruler_file(const std::filesystem::path& file, std::span<const TaskSample> samples);

}  // namespace seer
