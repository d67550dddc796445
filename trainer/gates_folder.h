// Gate weights in files: the folder that the published inference code and ours load, and reading gates back.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "src/io/pth.h"
#include "trainer/gate_training.h"

namespace seer {

/// The weights of all layers on the host, under their names of SEMANTICS 6, as `dtype` (bf16 or fp32). Waits
/// for the queue. Throws Error if any weight is NaN or infinite.
std::vector<OwnedTensor> download_gates(Backend& backend, Queue& queue, const GateTraining& gates,
                                        DType dtype);

/// Reads gates written by us or published: a gates folder (attn_gate_weights.safetensors, else .pth), or such
/// a file.
std::vector<OwnedTensor> read_gates(const std::filesystem::path& path);

/// Copies `tensors` to the weights of `gates`. Every layer must be there with the right shape, not empty and
/// finite; anything else is an Error naming `where` and the tensor, and nothing has been changed then.
void upload_gates(Backend& backend, Queue& queue, const std::vector<OwnedTensor>& tensors,
                  const std::string& where, GateTraining& gates);

/// Writes config.json (the base model's own and the gate's keys), README.md (a model card),
/// attn_gate_weights.safetensors and attn_gate_weights.pth, all of them or none: into a temporary folder that
/// then takes the place of `folder`. `base_model` is what config.json names as the model the gates belong to.
void write_gates_folder(const std::filesystem::path& folder, const std::vector<OwnedTensor>& tensors,
                        const GateEntryConfig& entry, const ModelConfig& model, const std::string& base_model,
                        const std::string& training_note);

}  // namespace seer
