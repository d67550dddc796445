// What evaluations are given: the quickstart's nano model, held-out books, and gates that nobody trained.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "src/core/error.h"
#include "trainer/eval/eval_model.h"

namespace seer::test {

/// configs/quickstart/seer-nano: 4 layers, 4,096 tokens, a tokenizer with Llama-3's special ones.
std::filesystem::path nano_model();
/// Books that it was not trained on, .jsonl.zst.
std::filesystem::path nano_held_out();

/// Writes a folder of gates with random weights large enough that their choices differ from row to row. Both formats of
/// weights are there; nz_ratio 0.5 is what its config.json asks for.
void write_random_gates(const std::filesystem::path& folder, const std::filesystem::path& model,
                        int64_t block_size = 16, uint64_t seed = 1);

EvalModelOptions on_one_thread(const std::filesystem::path& model, const std::filesystem::path& gates = {});

/// `count` windows of random ids.
std::vector<std::vector<int32_t>> random_windows(uint64_t seed, int64_t count, int64_t length,
                                                 int64_t vocabulary);

/// The Error that `body` throws; fails the test if it throws none.
template <typename Body>
Error error_of(const Body& body) {
  try {
    body();
  } catch (const Error& error) {
    return error;
  }
  return Error("no error was thrown");
}

}  // namespace seer::test
