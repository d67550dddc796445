// Gates in files: what is written, that it reads back, and that nothing but a complete set of gates is read.
#include "trainer/gates_folder.h"

#include <algorithm>
#include <csignal>
#include <limits>

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>
#include <sys/resource.h>

#include "src/core/error.h"
#include "src/cpu/cpu_backend.h"
#include "src/io/atomic_file.h"
#include "src/io/safetensors.h"
#include "tests/support/golden_file.h"
#include "tests/support/process.h"
#include "tests/support/tiny_model.h"
#include "tests/trainer/tiny_run.h"

namespace seer::test {
namespace {

namespace fs = std::filesystem;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

const TinyModel kModel{.layers = 3};

GateEntryConfig entry_of(const std::string& type, bool force_double = false, int64_t hidden = 0) {
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
  const ModelConfig model_ = parse_model_config(tiny_config_json(kModel), "tiny");
};

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
  auto base = nlohmann::json::parse(tiny_config_json(kModel));
  base.erase("architectures");
  EXPECT_EQ(config, base) << "the rest is the base model's own";
  EXPECT_THAT(
      read_text_file(folder_ / "gates/README.md"),
      AllOf(HasSubstr("base_model: org/base-model\n"), HasSubstr("`Qmaxavg_Kmin`"), HasSubstr("A note."),
            HasSubstr("| block size | 32 |"), HasSubstr("| gate hidden size | 24 |")));
}

TEST_F(GatesFolder, TheCardNamesTheModelOnTheHub) {
  const GateTraining gates = make_gates(entry_of("Qmaxavg_Kmin", false, 24));
  const auto card = [&](const std::string& name_or_path) {
    auto json = nlohmann::json::parse(tiny_config_json(kModel));
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

TEST_F(GatesFolder, RefusesWhatIsNotACompleteSetByName) {
  const GateEntryConfig entry = entry_of("Qmaxavg_Kmin", false, 24);
  GateTraining gates = make_gates(entry);
  const std::vector<OwnedTensor> good = tensors_of(make_gates(entry, 2));
  const std::string name = gate_weight_name(1, false);
  struct Case {
    std::string what;
    std::function<void(std::vector<OwnedTensor>&)> damage;
    std::vector<std::string> said;
  };
  const auto resize = [&](std::vector<OwnedTensor>& tensors, const std::vector<int64_t>& shape) {
    OwnedTensor& tensor = tensor_named(tensors, name);
    tensor.shape = shape;
    tensor.bytes.resize(tensor.view().numel() * size_of(tensor.dtype));
  };
  const auto put = [&](std::vector<OwnedTensor>& tensors, float value) {
    set_element(tensor_named(tensors, name), 11, value);
  };
  const std::vector<Case> cases = {
      {"missing layer", [&](auto& t) { std::erase_if(t, [&](auto& x) { return x.name == name; }); }, {name}},
      {"missing query linear",
       [&](auto& t) { std::erase_if(t, [&](auto& x) { return x.name == gate_weight_name(2, true); }); },
       {gate_weight_name(2, true)}},
      {"empty tensor, as a ZeRO-3 save leaves it", [&](auto& t) { resize(t, {0}); }, {name, "empty"}},
      {"wrong shape",
       [&](auto& t) {
         resize(t, {2, 16, 25});
       },
       {name, "[2, 16, 25]", "[2, 16, 24]"}},
      {"transposed",
       [&](auto& t) {
         resize(t, {2, 24, 16});
       },
       {name, "[2, 24, 16]"}},
      {"NaN", [&](auto& t) { put(t, std::numeric_limits<float>::quiet_NaN()); }, {name, "not finite"}},
      {"infinity", [&](auto& t) { put(t, -std::numeric_limits<float>::infinity()); }, {name, "not finite"}},
      {"integers", [&](auto& t) { tensor_named(t, name).dtype = DType::kI32; }, {name, "I32"}},
      {"a layer too many",
       [&](auto& t) {
         t.push_back(tensor_named(t, name));
         t.back().name = gate_weight_name(3, false);
       },
       {gate_weight_name(3, false), "does not belong"}},
      {"a gate of another kind",
       [&](auto& t) {
         t.push_back(tensor_named(t, name));
         t.back().name = "model.layers.0.self_attn.attn_gate.attngate_linear_k.weight";
       },
       {"attngate_linear_k", "does not belong"}},
  };
  for (const Case& tested : cases) {
    SCOPED_TRACE(tested.what);
    std::vector<OwnedTensor> tensors = good;
    tested.damage(tensors);
    std::vector<NamedTensor> views;
    for (const OwnedTensor& tensor : tensors) views.push_back(tensor.view());
    const fs::path file = folder_ / "damaged.safetensors";
    write_safetensors(file, views, {});
    const std::string message = refusal(file, gates);
    EXPECT_THAT(message, HasSubstr(file.string()));
    for (const std::string& part : tested.said) EXPECT_THAT(message, HasSubstr(part));
  }
  EXPECT_THAT(refusal(folder_.path(), gates), HasSubstr("no gates folder"));
  EXPECT_THAT(refusal(folder_ / "nowhere", gates), HasSubstr((folder_ / "nowhere").string()));
}

TEST_F(GatesFolder, DoesNotWriteWhatIsNotFinite) {
  GateTraining gates = make_gates(entry_of("Qavg_Kmaxminavg"));
  std::vector<float> values = weights_of(gates);
  values[values.size() / 2] = std::numeric_limits<float>::quiet_NaN();
  backend_->copy(*queue_, ConstTensor(values.data(), DType::kF32, Shape{gates.params().size()}),
                 gates.params().flat_weights());
  backend_->synchronize(*queue_);
  try {
    tensors_of(gates);
    FAIL() << "no error";
  } catch (const Error& error) {
    EXPECT_THAT(error.what(),
                AllOf(HasSubstr("\"entry\""), HasSubstr(gate_weight_name(1, false)), HasSubstr("NaN")));
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

/// While it lives, no file of this process may grow beyond `bytes`: a write past it fails as on a full disk.
class FileSizeLimit {
 public:
  explicit FileSizeLimit(rlim_t bytes) : handler_(std::signal(SIGXFSZ, SIG_IGN)) {
    ::getrlimit(RLIMIT_FSIZE, &old_);
    const rlimit limit{bytes, old_.rlim_max};
    ::setrlimit(RLIMIT_FSIZE, &limit);
  }
  ~FileSizeLimit() {
    ::setrlimit(RLIMIT_FSIZE, &old_);
    std::signal(SIGXFSZ, handler_);
  }
  FileSizeLimit(const FileSizeLimit&) = delete;
  FileSizeLimit& operator=(const FileSizeLimit&) = delete;

 private:
  rlimit old_{};
  void (*handler_)(int);
};

TEST_F(GatesFolder, AFullDiskLeavesNothingOrWhatWasThere) {
  const GateTraining old = make_gates(entry_of("Qavg_Kmaxminavg"), 1);
  const GateTraining gates = make_gates(entry_of("Qavg_Kmaxminavg"), 2);
  write(folder_ / "old", old);
  std::map<std::string, std::string> before;
  for (const std::string& name : files_below(folder_ / "old"))
    before[name] = read_text_file(folder_ / "old" / name);
  const size_t size = before.at("attn_gate_weights.safetensors").size();
  for (const size_t limit : {size_t{0}, size_t{100}, size / 2, size - 1, size}) {
    SCOPED_TRACE(limit);
    for (const char* target : {"old", "new"}) {
      std::string message;
      try {
        const FileSizeLimit full(limit);
        write(folder_ / target, gates);
      } catch (const Error& error) {
        message = error.what();
      }
      EXPECT_THAT(message, HasSubstr((folder_ / target).string()));
    }
    EXPECT_FALSE(fs::exists(folder_ / "new"));
    std::map<std::string, std::string> after;
    for (const std::string& name : files_below(folder_ / "old"))
      after[name] = read_text_file(folder_ / "old" / name);
    EXPECT_TRUE(after == before);
    EXPECT_THAT(files_below(folder_.path()), testing::SizeIs(5)) << "temporary files were left behind";
  }
  write(folder_ / "old", gates);
  GateTraining read = make_gates(gates.entry(), 3);
  upload_gates(*backend_, *queue_, read_gates(folder_ / "old"), "old", read.entry(), read.params());
  EXPECT_TRUE(weights_of(read) == weights_of(gates));
}

TEST_F(GatesFolder, NeverReplacesAFolderOfOtherThings) {
  const GateTraining gates = make_gates(entry_of("Qavg_Kmaxminavg"));
  for (const bool with_gates : {false, true}) {
    const fs::path folder = folder_ / (with_gates ? "mixed" : "notes");
    if (with_gates) write(folder, gates);
    fs::create_directories(folder);
    write_file_atomically(folder / "thesis.txt", "precious");
    try {
      write(folder, gates);
      ADD_FAILURE() << "no error";
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::kUsage);
      EXPECT_THAT(error.what(), AllOf(HasSubstr(folder.string()), HasSubstr("thesis.txt")));
    }
    EXPECT_EQ(read_text_file(folder / "thesis.txt"), "precious");
  }
  write_file_atomically(folder_ / "file", "precious");
  EXPECT_THROW(write(folder_ / "file", gates), Error);
  EXPECT_EQ(read_text_file(folder_ / "file"), "precious");
}

TEST_F(GatesFolder, WritesToAPathThatEndsInASlash) {
  const GateTraining gates = make_gates(entry_of("Qavg_Kmaxminavg"));
  for (int i = 0; i < 2; ++i) write(folder_ / "gates/", gates);
  EXPECT_THAT(files_below(folder_.path()), testing::SizeIs(5));
}

}  // namespace
}  // namespace seer::test
