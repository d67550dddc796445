// Gates in files: nothing but a complete set is read, nothing is half written, and what is not gates stays.
#include <limits>

#include <gmock/gmock.h>

#include "src/io/safetensors.h"
#include "tests/support/file_size_limit.h"
#include "tests/trainer/gates_folder_fixture.h"

namespace seer::test {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

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
