// seer-train as its users meet it: every subcommand, what it refuses, and the exit codes.
#include <cstdlib>
#include <fstream>
#include <functional>

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "src/io/atomic_file.h"
#include "src/io/safetensors.h"
#include "tests/trainer/tiny_run.h"
#include "trainer/run_config.h"

namespace seer::test {
namespace {

namespace fs = std::filesystem;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::MatchesRegex;
using ::testing::Not;
using ::testing::StartsWith;

const fs::path kNano = source_dir() / "configs" / "quickstart" / "seer-nano";

TEST(CommandLine, SaysItsVersion) {
  for (const char* argument : {"version", "--version"}) {
    const ProcessResult result = seer_train({argument});
    expect_success(result);
    EXPECT_THAT(result.out, AllOf(StartsWith("seer-train "), HasSubstr("cpu")));
    EXPECT_THAT(result.err, IsEmpty());
  }
}

TEST(CommandLine, HelpsAndRefusesWhatItDoesNotKnow) {
  const ProcessResult help = seer_train({"--help"});
  expect_success(help);
  for (const char* command : {"train", "export", "inspect", "tokenize", "plan", "bench", "version"}) {
    EXPECT_THAT(help.out, HasSubstr(command));
    const ProcessResult of_command = seer_train({command, "--help"});
    expect_success(of_command);
    EXPECT_THAT(of_command.out, HasSubstr("Usage"));
  }
  EXPECT_EQ(seer_train({}).exit_code, kUsage);
  expect_refusal(seer_train({"trian"}), kUsage, {"trian", "did you mean train?"});
  expect_refusal(seer_train({"train", "--nope"}), kUsage,
                 {"train has no option --nope", "seer-train train --help"});
  expect_refusal(seer_train({"eval", "ppl", "--modle", "M"}), kUsage,
                 {"eval ppl has no option --modle: did you mean --model?"});
  expect_refusal(seer_train({"--versoin"}), kUsage,
                 {"seer-train has no option --versoin: did you mean --version?"});
  expect_refusal(seer_train({"eval", "ppl", "--model", kNano.string(), "--data", "x", "--seq", "1k"}), kUsage,
                 {"eval ppl: --seq: found 1k, expected a number above 0", "seer-train eval ppl --help"});
  expect_refusal(seer_train({"eval", "ppl", "--model", kNano.string(), "--data", "x", "--threads", "99999"}),
                 kUsage, {"--threads", "1024"});
  expect_refusal(seer_train({"train", "a.json", "b.json"}), kUsage, {"b.json"});
  expect_refusal(seer_train({"bench", "walltime"}), kUsage,
                 {"bench has no subcommand walltime", "attention"});
  expect_refusal(seer_train({"-v", "eval", "rulre"}), kUsage,
                 {"eval has no subcommand rulre", "did you mean ruler?"});
  expect_refusal(seer_train({"eval", "--model", "M", "ppl"}), kUsage,
                 {"eval --model ..", "a subcommand comes first", "ppl, ruler, longbench"});
  expect_refusal(seer_train({"eval"}), kUsage, {"subcommand is required"});
  expect_refusal(seer_train({"export", "run"}), kUsage, {"--to"});
  expect_refusal(seer_train({"inspect"}), kUsage, {"path"});
  expect_refusal(seer_train({"tokenize", "text"}), kUsage, {"--tokenizer"});
  expect_refusal(seer_train({"plan", "--gflops", "-1", "config.json"}), kUsage, {"--gflops"});
  expect_refusal(seer_train({"plan", "--gflops", "fast", "config.json"}), kUsage, {"--gflops"});
}

TEST(CommandLine, VerbosityMayStandAnywhere) {
  for (const std::vector<std::string>& arguments : std::vector<std::vector<std::string>>{
           {"-v", "train", "--print-schema"}, {"train", "--print-schema", "-v"}})
    expect_success(seer_train(arguments));
}

TEST(CommandLine, HelpSaysWhatIsSetByItself) {
  const ProcessResult ppl = seer_train({"eval", "ppl", "--help"});
  for (const char* part : {"(default: 8192, or the most", "(default: gate, window, oracle)",
                           "(default: 0.1,0.2,0.3,0.5)", "=cpu", "(default: all)"}) {
    EXPECT_THAT(ppl.out, HasSubstr(part));
  }
  EXPECT_THAT(seer_train({"report", "--help"}).out, HasSubstr("=4096"));
}

class Train : public testing::Test {
 protected:
  /// `train` with these settings is refused, and leaves no run behind.
  void expect_refused(int code, const std::vector<std::string>& sets,
                      const std::vector<std::string>& parts) const {
    std::vector<std::string> arguments;
    for (const std::string& set : sets) arguments.insert(arguments.end(), {"--set", set});
    expect_refusal(run_.train("refused", arguments), code, parts);
    EXPECT_THAT(files_below(run_.path("refused")), IsEmpty());
  }
  std::string file(const std::string& name, const std::string& text) const {
    write_file_atomically(run_.path(name), text);
    return run_.path(name).string();
  }
  /// A copy of the model folder to damage.
  fs::path model_copy() const {
    const fs::path copy = run_.path("model copy");
    fs::remove_all(copy);
    fs::copy(run_.model(), copy);
    return copy;
  }

  const TinyRun run_;
};

TEST_F(Train, WritesARunFolder) {
  const ProcessResult result = run_.train("run");
  expect_success(result);
  const fs::path run = run_.path("run");
  for (const char* name :
       {"config.json", "model_config.json", "metrics.jsonl", "gates/fine/config.json",
        "gates/coarse/attn_gate_weights.pth", "checkpoints/step-00000008/state.safetensors"}) {
    EXPECT_TRUE(fs::exists(run / name)) << name;
  }
  EXPECT_THAT(result.out,
              AllOf(HasSubstr("gate \"fine\""), HasSubstr("gate \"coarse\""), HasSubstr("recall@0.1"),
                    HasSubstr("gates written to " + (run / "gates" / "fine").string())));
  EXPECT_THAT(result.err, AllOf(HasSubstr("2 layers"), HasSubstr("step 8/8"), HasSubstr("memory")));
  // The stored config runs the same again.
  expect_success(seer_train(
      {"train", (run / "config.json").string(), "--set", "output.dir=" + run_.path("again").string()}));
  expect_same_run(run, run_.path("again"));
}

TEST_F(Train, PrintsConfigAndSchemaAndStops) {
  const ProcessResult config = run_.train("run", {"--set", "seed=99", "--print-config"});
  expect_success(config);
  const RunConfig printed = parse_run_config(config.out, "printed");
  EXPECT_EQ(printed.seed, 99U);
  EXPECT_EQ(printed, load_run_config(run_.config(), {"seed=99", "output.dir=" + run_.path("run").string()}));
  const ProcessResult schema = seer_train({"train", "--print-schema"});
  expect_success(schema);
  EXPECT_EQ(schema.out, read_text_file(source_dir() / "configs" / "schema.json"));
  EXPECT_FALSE(fs::exists(run_.path("run")));
}

TEST_F(Train, RefusesAConfigByKeyAndPlace) {
  expect_refusal(seer_train({"train"}), kUsage, {"config file"});
  expect_refusal(seer_train({"train", run_.path("none.json").string()}), kUsage,
                 {"none.json", "no such file"});
  expect_refusal(seer_train({"train", run_.model().string()}), kUsage, {run_.model().string()});
  expect_refusal(seer_train({"train", file("broken.json", "{\"seed\": 1,\n  \"gates\": [}\n")}), kUsage,
                 {"broken.json:2"});
  expect_refusal(seer_train({"train", file("typo.json", "{\n\"seeed\": 1}\n")}), kUsage,
                 {"typo.json:2", "seeed", "seed"});
  expect_refusal(seer_train({"train", file("empty.json", "{}")}), kUsage, {"empty.json", "model.path"});
  expect_refused(kUsage, {"train.stesp=3"}, {"train.stesp", "train.steps"});
  expect_refused(kUsage, {"train.steps=three"}, {"train.steps", "three", "integer"});
  expect_refused(kUsage, {"train.steps=0"}, {"train.steps", "0"});
  expect_refused(kUsage, {"train.steps"}, {"train.steps"});
  expect_refused(kUsage, {"gates[0].block_size=48"}, {"gates[0].block_size", "48", "16, 32, 64, 128"});
  expect_refused(kUsage, {"gates[7].block_size=16"}, {"gates[7]"});
  expect_refused(kUsage, {"gates[1].name=fine"}, {"gates[1].name", "fine"});
  expect_refused(kUsage, {"gates[0].type=Qavg_Kavgmax"}, {"gates[0].type", "Qavg_Kmaxavg"});
  expect_refused(kUsage, {"data.sequence_length=63"}, {"data.sequence_length", "63", "64", "two blocks"});
  expect_refused(kUsage, {"eval.sequence_length=40"}, {"eval.sequence_length", "40"});
  expect_refused(kUsage, {"precision=bf16"}, {"precision", "bf16", "fp32"});
  if (!fs::exists("/dev/nvidiactl")) {
    expect_refused(kFailure, {"device=cuda"}, {"device \"cuda\"", "device \"cpu\""});
  }
}

TEST_F(Train, RefusesMoreGatesThanASweepTakes) {
  std::string gates;
  for (int i = 0; i < 17; ++i) {
    gates += fmt::format(R"({}{{"name":"g{}","block_size":16,"schedule":{{"warmup_steps":2}}}})",
                         i == 0 ? "" : ",", i);
  }
  expect_refused(kUsage, {"gates=[" + gates + "]"}, {"gates", "17", "16"});
}

TEST_F(Train, WarnsOfSequencesLongerThanTheModelKnows) {
  const ProcessResult result =
      run_.train("long", {"--set", "data.sequence_length=1280", "--set", "train.steps=2", "--set",
                          "eval.files=[]", "--set", "eval.every=0"});
  expect_success(result);
  EXPECT_THAT(result.err,
              AllOf(HasSubstr("warning"), HasSubstr("1280"), HasSubstr("max_position_embeddings 1024")));
}

TEST_F(Train, SaysWhenTheDataBeginsAgain) {
  const ProcessResult result = run_.train("run");  // 16 sequences of 11
  expect_success(result);
  const size_t line = result.err.find("epoch 2 of the data begins at step ");
  ASSERT_NE(line, std::string::npos) << result.err;
  EXPECT_EQ(result.err.find("epoch ", line + 1), std::string::npos) << "one line for each epoch";
}

TEST_F(Train, WarnsOfRecallThatHasNoChoice) {
  const ProcessResult tiny = run_.train("tiny");  // 256 tokens: 16 and 8 blocks
  expect_success(tiny);
  EXPECT_THAT(tiny.err, AllOf(HasSubstr("eval.densities 0.1: of 256 tokens' 16 blocks"),
                              HasSubstr("from 624 tokens on")));
  const ProcessResult half = run_.train("half", {"--set", "eval.densities=[0.9]"});
  expect_success(half);
  EXPECT_THAT(half.err, Not(HasSubstr("eval.densities")));
}

TEST_F(Train, SaysWhatToDoWithoutAGpu) {
  ::setenv("CUDA_VISIBLE_DEVICES", "", 1);
  expect_refused(kFailure, {"device=cuda"}, {"device \"cuda\": ", "device \"cpu\""});
  ::unsetenv("CUDA_VISIBLE_DEVICES");
}

TEST_F(Train, RefusesDataItCannotUse) {
  expect_refused(kUsage, {"data.files=" + run_.path("none.npy").string()}, {"data.files", "none.npy"});
  expect_refused(kUsage, {"data.files=" + run_.path("none*.npy").string()}, {"data.files", "none*.npy"});
  expect_refused(kUsage, {"data.files=" + file("corpus.parquet", "PAR1")},
                 {"corpus.parquet", "Parquet", "jsonl"});
  expect_refused(kUsage, {"eval.files=" + file("eval.parquet", "PAR1")}, {"eval.files", "eval.parquet"});
  expect_refused(kFailure, {"data.files=" + file("text.txt", "Some text.")}, {"text.txt", "tokenizer"});
  write_npy(run_.path("short.npy"), random_ids(1, 255, 256));
  expect_refused(kFailure, {"data.files=" + run_.path("short.npy").string()},
                 {"no sequence of 256 tokens", "255 token(s)"});
  write_npy(run_.path("nothing.npy"), {});
  expect_refused(kFailure, {"data.files=" + run_.path("nothing.npy").string()}, {"0 document(s)"});
  write_npy(run_.path("unknown.npy"), std::vector<int32_t>(4096, 256));
  expect_refused(kFailure, {"data.files=" + run_.path("unknown.npy").string()}, {"unknown.npy", "256"});
  expect_refused(kFailure, {"eval.files=" + run_.path("short.npy").string()},
                 {"eval.files", "no sequence of 256 tokens"});
  expect_refused(kFailure, {"data.files=" + file("damaged.npy", "\x93NUMPY")}, {"damaged.npy"});
}

TEST_F(Train, RefusesModelsThatAreNotWhole) {
  expect_refused(kUsage, {"model.path=" + run_.path("no model").string()}, {"model.path", "no model"});
  fs::create_directories(run_.path("empty model"));
  expect_refused(kFailure, {"model.path=" + run_.path("empty model").string()},
                 {"empty model", "config.json"});

  const std::string tensor = "model.layers.1.mlp.up_proj.weight";
  const auto refused = [&](const std::function<void(const fs::path&)>& damage,
                           const std::vector<std::string>& parts) {
    const fs::path model = model_copy();
    damage(model);
    expect_refused(kFailure, {"model.path=" + model.string()}, parts);
  };
  const auto rewrite = [&](const fs::path& model,
                           const std::function<void(std::vector<OwnedTensor>&)>& change) {
    std::vector<OwnedTensor> tensors = tiny_tensors({});
    change(tensors);
    write_model(model, tiny_config_json({}), tensors);
  };
  refused([](const fs::path& model) { fs::remove(model / "model.safetensors"); },
          {"model copy", "safetensors"});
  refused([](const fs::path& model) { fs::resize_file(model / "model.safetensors", 1000); },
          {"model copy/model.safetensors"});
  refused(
      [&](const fs::path& model) {
        rewrite(model,
                [&](auto& tensors) { std::erase_if(tensors, [&](auto& t) { return t.name == tensor; }); });
      },
      {"model copy", tensor});
  refused(
      [&](const fs::path& model) {
        rewrite(model, [&](auto& tensors) {
          std::swap(tensor_named(tensors, tensor).shape[0], tensor_named(tensors, tensor).shape[1]);
        });
      },
      {"model copy", tensor, "[64, 96]", "[96, 64]"});
  refused(
      [&](const fs::path& model) {
        rewrite(model, [&](auto& tensors) { tensor_named(tensors, tensor).dtype = DType::kI16; });
      },
      {tensor, "I16"});
  refused(
      [&](const fs::path& model) {
        fs::rename(model / "model.safetensors", model / "model-00001-of-00002.safetensors");
        nlohmann::json index;
        for (const OwnedTensor& t : tiny_tensors({})) {
          index["weight_map"][t.name] = fmt::format("model-0000{}-of-00002.safetensors",
                                                    t.name.find("layers.1") == std::string::npos ? 1 : 2);
        }
        write_file_atomically(model / "model.safetensors.index.json", index.dump());
      },
      {"model-00002-of-00002.safetensors"});
  const auto config_with = [](const char* key, const nlohmann::json& value) {
    return [=](const fs::path& model) {
      auto config = nlohmann::json::parse(tiny_config_json({}));
      config[key] = value;
      write_file_atomically(model / "config.json", config.dump());
    };
  };
  refused(config_with("num_hidden_layers", 3), {"model.layers.2."});
  refused(config_with("model_type", "mixtral"), {"config.json", "mixtral"});
  refused(config_with("num_experts", 8), {"config.json", "num_experts"});
  refused(config_with("rope_scaling", {{"rope_type", "dynamic"}, {"factor", 2.0}}),
          {"config.json", "dynamic"});
  refused(config_with("hidden_size", "wide"), {"config.json", "hidden_size"});
}

TEST_F(Train, RefusesATokenizerOfAnotherModel) {
  expect_refused(kFailure, {"data.tokenizer=" + kNano.string()}, {"seer-nano", "256"});
  expect_refused(kUsage, {"data.tokenizer=" + run_.path("none").string()}, {"data.tokenizer", "none"});
  expect_refused(kUsage, {"data.tokenizer=" + run_.model().string()}, {"data.tokenizer", "tokenizer.json"});
}

TEST_F(Train, RefusesFoldersItCannotWrite) {
  const std::string occupied = file("occupied", "");
  expect_refusal(run_.train("occupied/run"), kFailure, {occupied});
  expect_refusal(run_.train("occupied"), kFailure, {occupied});
  EXPECT_EQ(fs::file_size(occupied), 0U);
  expect_refusal(seer_train({"train", run_.config().string(), "--set", "output.dir=/proc/seer-train/run"}),
                 kFailure, {"/proc/seer-train"});
}

TEST_F(Train, AFullDiskEndsTheRunAndKeepsWhatWasWhole) {
  // Room for 8 kilobytes: logs fit, a checkpoint does not.
  const std::vector<std::string> no_evaluation = {"--set", "eval.files=[]", "--set", "eval.every=0"};
  std::vector<std::string> argv = {"/bin/sh", "-c", "ulimit -f 16; exec \"$@\"", "sh", seer_train_binary()};
  for (const std::string& argument : run_.arguments("run", no_evaluation)) argv.push_back(argument);
  const ProcessResult result = run_process(argv);
  expect_refusal(result, kFailure, {run_.path("run").string(), "File too large"});
  for (const std::string& name : files_below(run_.path("run"))) {
    EXPECT_THAT(name, AllOf(Not(HasSubstr("step-")), Not(HasSubstr(".saving")), Not(HasSubstr(".tmp"))))
        << name;
  }
  std::vector<std::string> again = no_evaluation;
  again.emplace_back("--resume");
  const ProcessResult resumed = run_.train("run", again);
  expect_success(resumed);
}

TEST_F(Train, InitFromContinuesGatesAndRefusesOthers) {
  expect_success(run_.train("run"));
  const std::string gates = (run_.path("run") / "gates" / "fine").string();
  const ProcessResult more = run_.train("more", {"--set", "gates[0].init_from=" + gates});
  expect_success(more);
  EXPECT_THAT(more.err, HasSubstr("continues from " + gates));
  expect_refused(kUsage, {"gates[0].init_from=" + run_.path("none").string()},
                 {"gates[0].init_from", "none"});
  expect_refused(kFailure, {"gates[1].init_from=" + gates}, {gates, "coarse"});
  expect_refused(kFailure, {"gates[0].init_from=" + run_.model().string()},
                 {run_.model().string(), "is a model's folder", "attn_gate_weights.safetensors"});
  expect_refused(kFailure, {"gates[0].init_from=" + run_.path("run").string()},
                 {"is a run's folder", "gates/NAME"});
}

class Tokenize : public testing::Test {
 protected:
  static std::vector<std::string> with(const std::vector<std::string>& more) {
    std::vector<std::string> arguments = {"tokenize", "--tokenizer", kNano.string()};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return arguments;
  }
};

TEST_F(Tokenize, GoesThereAndBack) {
  const std::string text = "The ship’s log, 1851:\n  “Thar she blows!” naïve Ω 漢字\n";
  const ProcessResult by_argument = seer_train(with({text}));
  const ProcessResult by_stdin = seer_train(with({}), {.input = text});
  expect_success(by_argument);
  expect_success(by_stdin);
  EXPECT_EQ(by_argument.out, by_stdin.out);
  EXPECT_THAT(by_argument.out, MatchesRegex("[0-9]+( [0-9]+)*\n"));
  const std::string ids = by_argument.out;
  EXPECT_THAT(ids, StartsWith("4090 ")) << "seer-nano puts its BOS in front";

  const ProcessResult plain = seer_train(with({"--no-special", text}));
  expect_success(plain);
  EXPECT_EQ("4090 " + plain.out, ids);
  const ProcessResult back = seer_train(with({"--decode", plain.out}));
  expect_success(back);
  EXPECT_EQ(back.out, text);
  EXPECT_EQ(seer_train(with({"--decode"}), {.input = plain.out}).out, text);
  const ProcessResult count = seer_train(with({"--count"}), {.input = text});
  expect_success(count);
  EXPECT_EQ(std::stol(count.out), 1 + std::count(ids.begin(), ids.end(), ' '));
}

TEST_F(Tokenize, EmptyTextIsAText) {
  // Not a reason to wait for standard input, where this text waits.
  EXPECT_EQ(seer_train(with({"--count", "--no-special", ""}), {.input = "not read"}).out, "0\n");
  EXPECT_EQ(seer_train(with({"--count", "--no-special"}), {.input = ""}).out, "0\n");
}

TEST_F(Tokenize, RefusesWhatIsNoIdAndNoTokenizer) {
  expect_refusal(seer_train(with({"--decode", "12 x3"})), kUsage, {"x3"});
  expect_refusal(seer_train(with({"--decode", "-1"})), kUsage, {"-1"});
  expect_refusal(seer_train(with({"--decode", "99999999999999999999"})), kUsage, {"99999999999999999999"});
  const ProcessResult beyond = seer_train(with({"--decode", "5000"}));
  EXPECT_NE(beyond.exit_code, 0);
  EXPECT_THAT(beyond.err, HasSubstr("5000"));
  const TempDir folder;
  expect_refusal(seer_train({"tokenize", "--tokenizer", (folder / "none").string(), "text"}), kFailure,
                 {"none"});
  expect_refusal(seer_train({"tokenize", "--tokenizer", folder.path().string(), "text"}), kFailure,
                 {folder.path().string()});
}

}  // namespace
}  // namespace seer::test
