// Checksums of models and gates: of their content, wherever they lie.
#include "trainer/eval/provenance.h"

#include <gtest/gtest.h>

#include "src/io/atomic_file.h"
#include "tests/support/fixtures.h"
#include "tests/support/tiny_model.h"
#include "tests/trainer/eval/eval_files.h"

namespace seer::test {
namespace {

namespace fs = std::filesystem;

TEST(Provenance, OfAModelIsConfigAndWeights) {
  const TempDir folder;
  write_tiny_model(folder / "model", {});
  const std::string first = model_checksum(folder / "model");
  fs::copy(folder / "model", folder / "copy");
  EXPECT_EQ(model_checksum(folder / "copy"), first);

  std::vector<OwnedTensor> tensors = tiny_tensors({});
  set_element(tensor_named(tensors, "model.layers.1.mlp.up_proj.weight"), 0, 0.125F);
  write_model(folder / "other", tiny_config_json({}), tensors);
  EXPECT_NE(model_checksum(folder / "other"), first);

  write_file_atomically(folder / "copy/config.json", read_text_file(folder / "copy/config.json") + " ");
  EXPECT_NE(model_checksum(folder / "copy"), first);
}

TEST(Provenance, OfGatesIsKindAndWeightsButNotHowToSelect) {
  const TempDir folder;
  write_tiny_model(folder / "model", {});
  write_random_gates(folder / "gates", folder / "model");
  const std::string first = gates_checksum(folder / "gates");
  write_random_gates(folder / "again", folder / "model");
  EXPECT_EQ(gates_checksum(folder / "again"), first);
  fs::remove(folder / "again/attn_gate_weights.safetensors");
  EXPECT_EQ(gates_checksum(folder / "again"), first) << "the .pth holds the same";
  write_random_gates(folder / "seed", folder / "model", 16, 2);
  EXPECT_NE(gates_checksum(folder / "seed"), first);
  write_random_gates(folder / "block", folder / "model", 32);
  EXPECT_NE(gates_checksum(folder / "block"), first);

  std::string config = read_text_file(folder / "gates/config.json");
  const size_t at = config.find("\"seerattn_nz_ratio\": 0.5");
  ASSERT_NE(at, std::string::npos);
  write_file_atomically(folder / "gates/config.json", config.replace(at, 24, "\"seerattn_nz_ratio\": 0.2"));
  EXPECT_EQ(gates_checksum(folder / "gates"), first);
}

}  // namespace
}  // namespace seer::test
