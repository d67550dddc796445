// Gates of a tiny model, to write into folders and to read from them.
#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "src/core/error.h"
#include "src/cpu/cpu_backend.h"
#include "src/io/atomic_file.h"
#include "tests/support/golden_file.h"
#include "tests/support/tiny_model.h"
#include "tests/trainer/tiny_run.h"
#include "trainer/gates_folder.h"

namespace seer::test {

namespace fs = std::filesystem;

inline const TinyModel kGatesModel{.layers = 3};

inline GateEntryConfig entry_of(const std::string& type, bool force_double = false, int64_t hidden = 0) {
  GateEntryConfig entry;
  entry.name = "entry";
  entry.type = type;
  entry.block_size = 32;
  entry.hidden_size = hidden;
  entry.force_double = force_double;
  entry.export_.sparsity_method = "nz_ratio";
  entry.export_.threshold = 0.004;
  entry.export_.nz_ratio = 0.25;
  entry.export_.last_block_dense = true;
  return entry;
}

class GatesFolder : public testing::Test {
 protected:
  GateTraining make_gates(const GateEntryConfig& entry, uint64_t seed = 1) {
    GateTraining gates(*backend_, *queue_, entry, model_, 256);
    gates.params().init_normal(*backend_, *queue_, seed, 0.02);
    return gates;
  }
  std::vector<float> weights_of(const GateTraining& gates) {
    return download(*backend_, *queue_, gates.params().flat_weights());
  }
  std::vector<OwnedTensor> tensors_of(const GateTraining& gates, DType dtype = DType::kF32) {
    return download_gates(*backend_, *queue_, gates, dtype);
  }
  void write(const fs::path& folder, const GateTraining& gates, DType dtype = DType::kF32) {
    write_gates_folder(folder, tensors_of(gates, dtype), gates.entry(), model_, "org/base-model", "A note.");
  }
  /// The message with which `path` is refused; `gates` must be as before then.
  std::string refusal(const fs::path& path, GateTraining& gates) {
    const std::vector<float> before = weights_of(gates);
    std::string message = "no error";
    try {
      upload_gates(*backend_, *queue_, read_gates(path), path.string(), gates.entry(), gates.params());
    } catch (const Error& error) {
      message = error.what();
    }
    EXPECT_TRUE(weights_of(gates) == before) << "a refused file changed the weights";
    return message;
  }

  const TempDir folder_;
  const std::unique_ptr<Backend> backend_ = make_cpu_backend({.threads = 1});
  const std::unique_ptr<Queue> queue_ = backend_->make_queue("test");
  const ModelConfig model_ = parse_model_config(tiny_config_json(kGatesModel), "tiny");
};

}  // namespace seer::test
