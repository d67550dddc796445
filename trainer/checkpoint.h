// Checkpoints: everything a run needs to continue bit for bit, in one folder, written whole or not at all.
//
//   <run>/checkpoints/step-00000100/
//     state.safetensors    <entry>/weights, <entry>/first_moment, <entry>/second_moment: fp32 [n] each
//     trainer_state.json   step, tokens, seconds, data cursor, identity of the run
//
// A checkpoint does not depend on the layout of the run (threads, ranks): gates, moments and a few integers.
#pragma once

#include <filesystem>
#include <map>
#include <optional>
#include <span>
#include <string>

#include "data/data_cursor.h"
#include "trainer/gate_training.h"
#include "trainer/run_config.h"

namespace seer {

struct TrainerState {
  int64_t step = 0;    ///< Optimiser steps done
  int64_t tokens = 0;  ///< Trained on so far
  double seconds = 0;  ///< Spent training
  DataCursor cursor;
  /// What must be the same for the run to continue, by config key.
  std::map<std::string, std::string> identity;
};

/// The keys of a config that decide a run's results (gates, schedule lengths, data layout, seed, model
/// sizes); places, logging, evaluation and export may change on resume.
std::map<std::string, std::string> run_identity(const RunConfig& config, const ModelConfig& model,
                                                uint32_t weights);

/// Writes checkpoints/step-<n> through a temporary folder, fsynced and renamed, then deletes all but the
/// newest `keep_last`. Throws Error (and leaves older checkpoints alone) if a tensor is not finite or the
/// disk is full.
void save_checkpoint(const std::filesystem::path& checkpoints, const TrainerState& state, Backend& backend,
                     Queue& queue, std::span<const GateTraining> gates, int64_t keep_last);

/// The newest complete checkpoint below `checkpoints`, if there is one; leftovers of interrupted saves are
/// ignored.
std::optional<std::filesystem::path> latest_checkpoint(const std::filesystem::path& checkpoints);

/// As trainer_state.json holds it, and back; throws Error naming `where`, and what is wrong.
std::string to_json(const TrainerState& state);
TrainerState trainer_state_from_json(const std::string& text, const std::string& where);

/// Reads trainer_state.json.
TrainerState read_trainer_state(const std::filesystem::path& checkpoint);

/// Throws Error naming the keys in which the identity of `state`, read from `checkpoint`, differs from
/// `identity`.
void check_identity(const std::filesystem::path& checkpoint, const TrainerState& state,
                    const std::map<std::string, std::string>& identity);

/// Loads weights and moments. Throws Error for a missing or misshapen tensor, or values that are not finite.
void load_checkpoint(const std::filesystem::path& checkpoint, Backend& backend, Queue& queue,
                     std::span<GateTraining> gates);

}  // namespace seer
