// Models small enough to train in a test: config.json of a real family, random bf16 weights, random tokens.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "src/io/pth.h"

namespace seer::test {

struct TinyModel {
  std::string family = "llama";  ///< llama | qwen2 | qwen3
  int64_t layers = 2;
  int64_t heads = 4;
  int64_t kv_heads = 2;
  int64_t head_dim = 16;
  int64_t hidden = 64;
  int64_t intermediate = 96;
  int64_t vocabulary = 256;
  int64_t max_positions = 1024;
  std::string rope_scaling = "null";  ///< JSON
  uint64_t seed = 1;
};

/// config.json as the family's own repositories spell it.
std::string tiny_config_json(const TinyModel& model);

/// Every tensor the family has, scaled so that attention is neither flat nor a single peak.
std::vector<OwnedTensor> tiny_tensors(const TinyModel& model);

/// A model folder without a tokenizer: config.json and model.safetensors.
void write_model(const std::filesystem::path& folder, const std::string& config_json,
                 const std::vector<OwnedTensor>& tensors);
void write_tiny_model(const std::filesystem::path& folder, const TinyModel& model);

/// The tensor of that name; fails the test run with an Error if there is none.
OwnedTensor& tensor_named(std::vector<OwnedTensor>& tensors, const std::string& name);

/// Writes `value` as element `index`, in the tensor's floating dtype.
void set_element(OwnedTensor& tensor, int64_t index, float value);

std::vector<int32_t> random_ids(uint64_t seed, int64_t count, int64_t vocabulary);

/// A .npy file of one document.
void write_npy(const std::filesystem::path& path, const std::vector<int32_t>& ids);

/// A .safetensors file of several documents (input_ids, cu_seqlens).
void write_documents(const std::filesystem::path& path, const std::vector<std::vector<int32_t>>& documents);

}  // namespace seer::test
