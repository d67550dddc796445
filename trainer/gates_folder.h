// Gate weights in files: the folder that the published inference code and ours load, and reading gates back.
#pragma once

#include <filesystem>
#include <span>
#include <string>
#include <vector>

#include "src/io/pth.h"
#include "trainer/gate_training.h"

namespace seer {

/// The key of a gates folder's config.json that holds calibrated thresholds by layer and head; ours alone.
inline constexpr const char* kCalibratedThresholds = "seer_train_thresholds";

/// The key of a gates folder's config.json that holds what the published gates do not have: key_pieces, distance_bias.
inline constexpr const char* kOurGate = "seer_train_gate";

/// The weights of all layers on the host, under their names of SEMANTICS 6, as `dtype` (bf16 or fp32). Waits
/// for the queue. Throws Error if any weight is NaN or infinite.
std::vector<OwnedTensor> download_gates(Backend& backend, Queue& queue, const GateTraining& gates,
                                        DType dtype);

/// Reads gates written by us or published: a gates folder (attn_gate_weights.safetensors, else .pth), or such
/// a file.
std::vector<OwnedTensor> read_gates(const std::filesystem::path& path);

/// Copies `tensors` to the weights of `params`, gates of `entry`. Every layer must be there with the right shape, not
/// empty and finite; anything else is an Error naming `where` and the tensor, and nothing has been changed then.
void upload_gates(Backend& backend, Queue& queue, const std::vector<OwnedTensor>& tensors,
                  const std::string& where, const GateEntryConfig& entry, const GateParams& params);

/// The kind of gates, and how to select with them, that the config.json of a gates folder (ours or published) names;
/// throws Error if there is none.
GateEntryConfig read_gate_entry(const std::filesystem::path& folder);

/// Throws Error if `path` (of init_from) is a gates folder whose config.json names another type or size than the entry;
/// warns where that cannot be known, or where the block size differs.
void check_init_from(const std::filesystem::path& path, const GateTraining& gates);

/// Throws Error naming the tensor if prefill gates of `folder` lack a layer or have a shape its config.json does not ask
/// for.
void check_complete(const std::filesystem::path& folder, std::span<const NamedTensor> tensors);

/// The dtype an entry's gates are exported in.
DType export_dtype(const GateEntryConfig& entry);

/// Throws a usage Error if `folder` exists and holds anything but gates, which writing it would delete.
void check_gates_folder(const std::filesystem::path& folder);

/// Writes config.json (the base model's own and the gate's keys), README.md (a model card),
/// attn_gate_weights.safetensors and, of gates that the published code knows, attn_gate_weights.pth, all of them or none: into a temporary folder that
/// then takes the place of `folder`, which may hold nothing else. `base_model` is what config.json
/// names as the model the gates belong to; the card prefers the hub id that the model's own config.json has.
void write_gates_folder(const std::filesystem::path& folder, const std::vector<OwnedTensor>& tensors,
                        const GateEntryConfig& entry, const ModelConfig& model, const std::string& base_model,
                        const std::string& training_note);

}  // namespace seer
