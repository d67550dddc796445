// Gates in files: what is written, and that it reads back.
#include <algorithm>

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <nlohmann/json.hpp>

#include "src/io/safetensors.h"
#include "tests/support/golden_file.h"
#include "tests/support/process.h"
#include "tests/trainer/gates_folder_fixture.h"

namespace seer::test {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

TEST_F(GatesFolder, HoldsConfigCardAndBothFormats) {
  const GateTraining gates = make_gates(entry_of("Qmaxavg_Kmin", false, 24));
  write(folder_ / "gates", gates, DType::kBF16);
  EXPECT_THAT(files_below(folder_ / "gates"), ElementsAre("README.md", "attn_gate_weights.pth",
                                                          "attn_gate_weights.safetensors", "config.json"));
  EXPECT_THAT(files_below(folder_.path()), testing::SizeIs(5)) << "nothing beside the folder";

  auto config = nlohmann::json::parse(read_text_file(folder_ / "gates/config.json"));
  const nlohmann::json expected = {{"base_model", "org/base-model"},
                                   {"architectures", {"SeerAttnLlamaForCausalLM"}},
                                   {"seerattn_gate_type", "Qmaxavg_Kmin"},
                                   {"seerattn_gate_block_size", 32},
                                   {"seerattn_gate_hidden_size", 24},
                                   {"seerattn_gate_force_double", false},
                                   {"seerattn_sparsity_method", "nz_ratio"},
                                   {"seerattn_threshold", 0.004},
                                   {"seerattn_nz_ratio", 0.25},
                                   {"seerattn_last_block_dense", true},
                                   {"use_flash_rope", false},
                                   {"fused_norm", false}};
  for (const auto& [key, value] : expected.items()) {
    EXPECT_EQ(config.value(key, nlohmann::json()), value) << key;
    config.erase(key);
  }
  auto base = nlohmann::json::parse(tiny_config_json(kGatesModel));
  base.erase("architectures");
  EXPECT_EQ(config, base) << "the rest is the base model's own";
  EXPECT_THAT(
      read_text_file(folder_ / "gates/README.md"),
      AllOf(HasSubstr("base_model: org/base-model\n"), HasSubstr("`Qmaxavg_Kmin`"), HasSubstr("A note."),
            HasSubstr("| block size | 32 |"), HasSubstr("| gate hidden size | 24 |")));
}

TEST_F(GatesFolder, CalibratedThresholdsStayWithTheirWeights) {
  const GateTraining gates = make_gates(entry_of("Qmaxavg_Kmin", false, 24));
  const auto config = [&] { return nlohmann::json::parse(read_text_file(folder_ / "gates/config.json")); };
  write(folder_ / "gates", gates);
  nlohmann::json calibrated = config();
  calibrated[kCalibratedThresholds] = {{"thresholds", {{0.1, 0.2}}}, {"gates_checksum", "12345678"}};
  write_file_atomically(folder_ / "gates/config.json", calibrated.dump());
  write(folder_ / "gates", gates);
  EXPECT_EQ(config(), calibrated) << "a run that was done already, resumed";
  write(folder_ / "gates", make_gates(entry_of("Qmaxavg_Kmin", false, 24), /*seed=*/2));
  calibrated.erase(kCalibratedThresholds);
  EXPECT_EQ(config(), calibrated) << "other weights";
}

TEST_F(GatesFolder, TheCardNamesTheModelOnTheHub) {
  const GateTraining gates = make_gates(entry_of("Qmaxavg_Kmin", false, 24));
  const auto card = [&](const std::string& name_or_path) {
    auto json = nlohmann::json::parse(tiny_config_json(kGatesModel));
    json["_name_or_path"] = name_or_path;
    const ModelConfig model = parse_model_config(json.dump(), "tiny");
    write_gates_folder(folder_ / "gates", download_gates(*backend_, *queue_, gates, DType::kBF16),
                       gates.entry(), model, "/models/llama", "A note.");
    return read_text_file(folder_ / "gates/README.md");
  };
  EXPECT_THAT(card("meta-llama/Llama-3.1-8B-Instruct"),
              AllOf(HasSubstr("base_model: meta-llama/Llama-3.1-8B-Instruct\n"),
                    HasSubstr("# AttnGates for meta-llama/Llama-3.1-8B-Instruct\n")));
  EXPECT_THAT(read_text_file(folder_ / "gates/config.json"), HasSubstr("\"base_model\": \"/models/llama\""));
  for (const char* no_id : {"", "/data/llama", "./llama", "llama", "a/b/c", "org/", "C:\\llama/x"}) {
    EXPECT_THAT(card(no_id), HasSubstr("base_model: /models/llama\n")) << no_id;
  }
}

TEST_F(GatesFolder, BothFormatsHoldTheWeights) {
  for (const GateEntryConfig& entry : {entry_of("Qavg_Kmaxminavg"), entry_of("Qmaxavg_Kmin", false, 24),
                                       entry_of("Qavg_Kavg", /*force_double=*/true)}) {
    SCOPED_TRACE(entry.type);
    const GateTraining gates = make_gates(entry);
    const bool has_query = gates.config().has_query_linear();
    for (const DType dtype : {DType::kF32, DType::kBF16}) {
      const fs::path folder = folder_ / "gates";
      write(folder, gates, dtype);
      for (const char* file : {"attn_gate_weights.safetensors", "attn_gate_weights.pth"}) {
        SCOPED_TRACE(file);
        std::vector<OwnedTensor> tensors = read_gates(folder / file);
        EXPECT_EQ(tensors.size(), has_query ? 6U : 3U);
        for (int64_t layer = 0; layer < 3; ++layer) {
          for (const bool query : {true, false}) {
            if (query && !has_query) continue;
            const OwnedTensor& tensor = tensor_named(tensors, gate_weight_name(layer, query));
            EXPECT_EQ(tensor.dtype, dtype);
            const GateTensors views = gates.params().weights(layer);
            const std::vector<float> values = download(*backend_, *queue_, query ? views.query : views.key);
            std::vector<std::byte> bytes(values.size() * size_of(dtype));
            convert_from_f32(values.data(), static_cast<int64_t>(values.size()), dtype, bytes.data());
            EXPECT_TRUE(tensor.bytes == bytes) << tensor.name;
          }
        }
      }
    }
  }
}

TEST_F(GatesFolder, GatesOfOursSayThatOthersCannotLoadThem) {
  GateEntryConfig entry = entry_of("Qavg_Kmaxminavg");
  entry.key_pieces = 4;
  entry.distance_bias = true;
  GateTraining gates = make_gates(entry);
  const Tensor bias = gates.params().weights(2).distance;
  std::vector<float> values(bias.numel());
  for (size_t i = 0; i < values.size(); ++i) values[i] = 0.125F * static_cast<float>(i % 7);
  backend_->copy(*queue_, ConstTensor(values.data(), DType::kF32, bias.shape()), bias);
  write(folder_ / "gates", gates);
  EXPECT_THAT(files_below(folder_ / "gates"),
              ElementsAre("README.md", "attn_gate_weights.safetensors", "config.json"));
  const auto config = nlohmann::json::parse(read_text_file(folder_ / "gates/config.json"));
  EXPECT_EQ(config.at("seer_train_gate").at("key_pieces"), 4);
  EXPECT_EQ(config.at("seer_train_gate").at("distance_bias"), true);
  EXPECT_THAT(config.at("seer_train_gate").at("note").get<std::string>(),
              HasSubstr("published inference code"));
  EXPECT_THAT(read_text_file(folder_ / "gates/README.md"), HasSubstr("which seer-train alone can use"));

  const GateEntryConfig read = read_gate_entry(folder_ / "gates");
  EXPECT_EQ(read.key_pieces, 4);
  EXPECT_TRUE(read.distance_bias);
  std::vector<OwnedTensor> tensors = read_gates(folder_ / "gates");
  EXPECT_EQ(
      tensor_named(tensors, "model.layers.0.self_attn.attn_gate.mask_linear_k_of_4_pieces.weight").shape,
      (std::vector<int64_t>{4, 48, 16}));
  GateTraining other = make_gates(read, 2);
  upload_gates(*backend_, *queue_, tensors, "gates", read, other.params());
  EXPECT_TRUE(weights_of(other) == weights_of(gates));

  GateTraining plain = make_gates(entry_of("Qavg_Kmaxminavg"));
  EXPECT_THAT(refusal(folder_ / "gates", plain), HasSubstr(gate_weight_name(0, false)));
  EXPECT_THROW(check_init_from(folder_ / "gates", plain), Error);
  std::erase_if(tensors, [](const OwnedTensor& t) { return t.name == distance_weight_name(1); });
  std::vector<NamedTensor> views;
  for (const OwnedTensor& tensor : tensors) views.push_back(tensor.view());
  try {
    check_complete(folder_ / "gates", views);
    FAIL() << "no error";
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), HasSubstr(distance_weight_name(1)));
  }
}

TEST_F(GatesFolder, KeysThatAreMissingAreThePublishedPackagesDefaults) {
  write(folder_ / "gates", make_gates(entry_of("Qavg_Kmaxminavg")));
  const fs::path file = folder_ / "gates/config.json";
  auto config = nlohmann::json::parse(read_text_file(file));
  for (const char* key : {"seerattn_sparsity_method", "seerattn_threshold", "seerattn_nz_ratio",
                          "seerattn_last_block_dense", "seerattn_gate_force_double"})
    ASSERT_EQ(config.erase(key), 1U) << key;
  write_file_atomically(file, config.dump());
  const GateEntryConfig read = read_gate_entry(folder_ / "gates");
  EXPECT_EQ(read.export_.sparsity_method, "threshold");
  EXPECT_EQ(read.export_.threshold, 0);
  EXPECT_EQ(read.export_.nz_ratio, 1);
  EXPECT_TRUE(read.export_.last_block_dense);
  EXPECT_FALSE(read.force_double);
}

TEST_F(GatesFolder, OtherPiecesAndUnknownKeysAreRefused) {
  GateEntryConfig entry = entry_of("Qavg_Kmaxminavg");
  entry.key_pieces = 2;
  write(folder_ / "gates", make_gates(entry));
  std::string text = read_text_file(folder_ / "gates/config.json");
  const std::string key = "\"key_pieces\": 2";
  ASSERT_NE(text.find(key), std::string::npos);
  for (const char* pieces : {"0", "-4", "3", "64", "1.5", "\"two\"", "2, \"heads\": 4"}) {
    std::string damaged = text;
    damaged.replace(damaged.find(key), key.size(), fmt::format("\"key_pieces\": {}", pieces));
    write_file_atomically(folder_ / "gates/config.json", damaged);
    try {
      read_gate_entry(folder_ / "gates");
      ADD_FAILURE() << "no error for " << pieces;
    } catch (const Error& error) {
      EXPECT_THAT(error.what(), AllOf(HasSubstr("config.json"), HasSubstr("seer_train_gate")));
    }
  }
}

TEST_F(GatesFolder, TrainingContinuesFromAnyOfThem) {
  for (const GateEntryConfig& entry :
       {entry_of("Qavg_Kmaxminavg"), entry_of("Qmaxavg_Kmin", false, 24), entry_of("Qavg_Kavg", true)}) {
    const GateTraining gates = make_gates(entry, 1);
    write(folder_ / "gates", gates);
    for (const char* path : {"gates", "gates/attn_gate_weights.safetensors", "gates/attn_gate_weights.pth"}) {
      SCOPED_TRACE(path);
      GateTraining other = make_gates(entry, 2);
      EXPECT_NE(weights_of(other), weights_of(gates));
      upload_gates(*backend_, *queue_, read_gates(folder_ / path), path, other.entry(), other.params());
      EXPECT_TRUE(weights_of(other) == weights_of(gates));
    }
  }
}

TEST_F(GatesFolder, ReadsAFolderThatHoldsThePthAlone) {
  const GateTraining gates = make_gates(entry_of("Qavg_Kmaxminavg"));
  write(folder_ / "gates", gates);
  fs::remove(folder_ / "gates/attn_gate_weights.safetensors");
  GateTraining other = make_gates(gates.entry(), 2);
  upload_gates(*backend_, *queue_, read_gates(folder_ / "gates"), "gates", other.entry(), other.params());
  EXPECT_TRUE(weights_of(other) == weights_of(gates));
}

TEST_F(GatesFolder, ReadsThePublishedLayout) {
  // Written by PyTorch, on a GPU: three layers of [4, 48, 16], and tensors that are no gates.
  const std::vector<OwnedTensor> published = read_gates(goldens_dir() / "pth/attn_gate_weights.pth");
  GateTraining gates = make_gates(entry_of("Qavg_Kmaxminavg"));
  EXPECT_THAT(refusal(goldens_dir() / "pth/attn_gate_weights.pth", gates),
              AllOf(HasSubstr("attn_gate_weights.pth"),
                    HasSubstr("does not belong to gates of type Qavg_Kmaxminavg")));
  std::vector<OwnedTensor> keys;
  for (const OwnedTensor& tensor : published) {
    if (tensor.name.ends_with("mask_linear_k.weight")) keys.push_back(tensor);
  }
  upload_gates(*backend_, *queue_, keys, "published", gates.entry(), gates.params());
  const GoldenFile expected(goldens_dir() / "pth/expected.safetensors");
  for (int64_t layer = 0; layer < 3; ++layer) {
    EXPECT_TRUE(download(*backend_, *queue_, gates.params().weights(layer).key) ==
                expected.floats(gate_weight_name(layer, false)));
  }
}

TEST_F(GatesFolder, PyTorchReadsTheSameTensors) {
  const GateTraining gates = make_gates(entry_of("Qmaxavg_Kmin", false, 24));
  write(folder_ / "gates", gates, DType::kBF16);
  const fs::path script = source_dir() / "tests/io/torch_bridge.py";
  const std::string python = environment("SEER_PYTHON").value_or("/usr/bin/python3");
  const ProcessResult result =
      fs::exists(python)
          ? run_process({python, script.string(), "load", (folder_ / "gates/attn_gate_weights.pth").string()})
          : ProcessResult{.exit_code = 77};
  if (result.exit_code == 77) {
    if (environment("SEER_REQUIRE_TORCH")) FAIL() << "SEER_REQUIRE_TORCH is set: no torch here";
    GTEST_SKIP() << "no Python with torch (Debian: python3-torch); SEER_REQUIRE_TORCH=1 insists";
  }
  ASSERT_EQ(result.exit_code, 0) << result.err;
  std::string expected;
  std::vector<OwnedTensor> tensors = read_gates(folder_ / "gates/attn_gate_weights.safetensors");
  for (int64_t layer = 0; layer < 3; ++layer) {
    for (const bool query : {true, false}) {
      const OwnedTensor& tensor = tensor_named(tensors, gate_weight_name(layer, query));
      expected += fmt::format("{} BF16 {} ", tensor.name, shape_text(tensor.shape));
      for (const std::byte b : tensor.bytes) expected += fmt::format("{:02x}", static_cast<unsigned>(b));
      expected += "\n";
    }
  }
  EXPECT_TRUE(result.out == expected) << result.out.substr(0, 200) << "\nexpected\n"
                                      << expected.substr(0, 200);
}

}  // namespace
}  // namespace seer::test
