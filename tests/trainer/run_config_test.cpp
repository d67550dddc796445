// Reading, refusing, overriding and printing a run's config.
#include "trainer/run_config.h"

#include <string>
#include <utility>
#include <vector>

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "src/core/error.h"
#include "src/io/atomic_file.h"
#include "tests/support/fixtures.h"

namespace seer {
namespace {

using testing::HasSubstr;
using testing::StartsWith;

using Overrides = std::vector<std::string>;

/// The least a config must say, with more keys of the top level.
std::string minimal(const std::string& more = "") {
  return R"({"model":{"path":"m"},"gates":[{}],"data":{"files":["d.jsonl"]},"output":{"dir":"o"})" + more +
         "}";
}

RunConfig parse(const std::string& text, const Overrides& overrides = {}) {
  return parse_run_config(text, "run.json", overrides);
}

/// The message of the usage Error that parsing throws.
std::string refusal(const std::string& text, const Overrides& overrides = {}) {
  try {
    parse(text, overrides);
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kUsage) << error.what();
    return error.what();
  }
  ADD_FAILURE() << "accepted: " << text << " with " << testing::PrintToString(overrides);
  return "";
}

std::string refusal_of_set(const std::string& argument) {
  return refusal(minimal(), {argument});
}

TEST(RunConfig, MinimalConfigHasTheDefaultsOfTheStruct) {
  RunConfig expected;
  expected.model.path = "m";
  expected.gates.resize(1);
  expected.data.files = {"d.jsonl"};
  expected.output.dir = "o";
  EXPECT_EQ(parse(minimal()), expected);
}

TEST(RunConfig, MayNameItsSchemaForAnEditor) {
  EXPECT_EQ(parse(minimal(R"(, "$schema": "configs/schema.json")")), parse(minimal()));
  EXPECT_THAT(refusal(minimal(R"(, "$schema": 1)")), HasSubstr("$schema: unknown key"));
  EXPECT_THAT(refusal(minimal(R"(, "train": {"$schema": "x"})")), HasSubstr("train.$schema: unknown key"));
}

TEST(RunConfig, EveryKeyIsReadIntoItsMember) {
  const RunConfig c = parse(R"({
    "model": {"path": "m", "rope_scaling": {"rope_type": "yarn", "factor": 4.0}},
    "device": "cpu", "precision": "fp32", "memory_gb": 1.5, "threads": 3, "seed": 18446744073709551615,
    "gates": [{
      "name": "g", "type": "Qmax_Kmin", "block_size": 128, "hidden_size": 48, "force_double": true,
      "key_pieces": 4, "distance_bias": true,
      "init_from": "i", "loss_scale": 2.5, "loss_reduction": "rows",
      "optimizer": {"learning_rate": 0.5, "beta1": 0.25, "beta2": 0.75, "eps": 1e-6, "weight_decay": 0.125,
                    "max_grad_norm": 0},
      "schedule": {"type": "cosine_floor", "warmup_steps": 7, "min_learning_rate": 0.25},
      "export": {"dtype": "fp32", "sparsity_method": "nz_ratio", "threshold": 0.5, "nz_ratio": 0.75,
                 "last_block_dense": true}}],
    "data": {"files": ["a", "b"], "layout": "packed", "sequence_length": 512, "tokenizer": "t", "separator": "s",
             "text_field": "f", "chat_template": "chatml", "shuffle": false, "shuffle_buffer": 9,
             "max_bad_lines": 10, "tokenizer_threads": 11, "prefetch": 12},
    "train": {"steps": 13, "batch_size": 14, "save_every": 15, "keep_last": 16, "log_every": 17},
    "eval": {"files": ["h"], "every": 18, "sequences": 19, "sequence_length": 256, "densities": [0.5, 1]},
    "parallel": {"context": 1, "shard_weights": 20, "timeout": 2.5},
    "output": {"dir": "o", "tensorboard": false}
  })");
  EXPECT_EQ(c.model, (ModelConfigSection{"m", R"({"rope_type":"yarn","factor":4.0})", "auto"}));
  EXPECT_EQ(c.precision, "fp32");
  EXPECT_EQ(c.memory_gb, 1.5);
  EXPECT_EQ(c.threads, 3);
  EXPECT_EQ(c.seed, 18446744073709551615U);
  ASSERT_EQ(c.gates.size(), 1U);
  EXPECT_EQ(c.gates[0], (GateEntryConfig{"g", "Qmax_Kmin", 128, 48, true, 4, true, "i", 2.5, "rows",
                                         OptimizerConfig{0.5, 0.25, 0.75, 1e-6, 0.125, 0},
                                         ScheduleConfig{"cosine_floor", 7, 0.25},
                                         GateExportConfig{"fp32", "nz_ratio", 0.5, 0.75, true}}));
  EXPECT_EQ(c.data, (DataConfig{{"a", "b"}, "packed", 512, "t", "s", "f", "chatml", false, 9, 10, 11, 12}));
  EXPECT_EQ(c.train, (TrainConfig{13, 14, 15, 16, 17}));
  EXPECT_EQ(c.eval, (EvalConfig{{"h"}, 18, 19, 256, {0.5, 1.0}}));
  EXPECT_EQ(c.parallel, (ParallelConfig{1, 20, 2.5}));
  EXPECT_EQ(c.output, (OutputConfig{"o", false}));
  EXPECT_EQ(parse(to_json(c)), c);
}

TEST(RunConfig, GatesAreAListOfIndependentEntries) {
  const RunConfig c = parse(R"({"model":{"path":"m"}, "data":{"files":["d"]}, "output":{"dir":"o"}, "gates":[
    {"name": "fine", "block_size": 16}, {"name": "coarse", "block_size": 128, "optimizer": {"learning_rate": 2e-3}},
    {"name": "wide.v2", "hidden_size": 256}]})");
  ASSERT_EQ(c.gates.size(), 3U);
  EXPECT_EQ(c.gates[0].block_size, 16);
  EXPECT_EQ(c.gates[1].optimizer.learning_rate, 2e-3);
  EXPECT_EQ(c.gates[2].optimizer.learning_rate, 1e-3);
  EXPECT_EQ(c.gates[2].name, "wide.v2");
  EXPECT_EQ(parse(to_json(c)), c);
}

TEST(RunConfig, AllFortyNineGateTypesAreAccepted) {
  const std::vector<std::string> pools = {"max", "min", "avg", "maxmin", "maxavg", "minavg", "maxminavg"};
  for (const std::string& query : pools) {
    for (const std::string& key : pools) {
      const std::string type = fmt::format("Q{}_K{}", query, key);
      EXPECT_EQ(parse(minimal(), {"gates[0].type=" + type}).gates[0].type, type);
    }
  }
}

TEST(RunConfig, PrintsKeysInTheOrderOfTheStruct) {
  const auto printed = nlohmann::ordered_json::parse(to_json(RunConfig{}));
  std::vector<std::string> keys;
  for (const auto& [key, value] : printed.items()) keys.push_back(key);
  EXPECT_THAT(keys, testing::ElementsAre("model", "device", "precision", "memory_gb", "threads", "seed",
                                         "gates", "data", "train", "eval", "parallel", "output"));
}

TEST(RunConfig, RefusesToPrintWhatIsNoJson) {
  RunConfig config;
  config.model.rope_scaling = "[1]";
  EXPECT_THROW(to_json(config), Error);
  config.model.rope_scaling = "";
  config.output.dir = "\xff";
  EXPECT_THROW(to_json(config), Error);
}

TEST(RunConfig, AllowsCommentsAndWholeNumbersHoweverWritten) {
  const RunConfig c = parse(minimal(R"(, // to the end of the line
    "train": {"steps": 1e3, "batch_size": 8.0 /* both whole */})"));
  EXPECT_EQ(c.train.steps, 1000);
  EXPECT_EQ(c.train.batch_size, 8);
}

TEST(RunConfig, UnknownKeysNameTheNearestKnownOne) {
  EXPECT_EQ(refusal(minimal(",\n\"trian\": {}")), "run.json:2: trian: unknown key; did you mean train?");
  EXPECT_EQ(refusal(minimal(R"(,"train": {"batchsize": 4})")),
            "run.json:1: train.batchsize: unknown key; did you mean train.batch_size?");
  EXPECT_EQ(
      refusal_of_set(R"(gates=[{"optimizer":{"Learning-Rate":1}}])"),
      R"(--set gates=[{"optimizer":{"Learning-Rate":1}}]: gates[0].optimizer.Learning-Rate: unknown key; )"
      "did you mean gates[0].optimizer.learning_rate?");
}

TEST(RunConfig, UnknownKeysThatLiveElsewhereNameThatPlace) {
  EXPECT_EQ(refusal(minimal(R"(,"learning_rate": 1)")),
            "run.json:1: learning_rate: unknown key; did you mean gates[].optimizer.learning_rate?");
  EXPECT_EQ(
      refusal(minimal(R"(,"sequence_length": 1)")),
      "run.json:1: sequence_length: unknown key; did you mean data.sequence_length or eval.sequence_length?");
}

TEST(RunConfig, UnknownKeysLikeNoOtherListTheKeys) {
  EXPECT_EQ(refusal(minimal(R"(,"output2": 1, "zzz": 1)")),
            "run.json:1: output2: unknown key; did you mean output?");
  EXPECT_EQ(refusal(minimal(R"(,"qqqq": 1)")),
            "run.json:1: qqqq: unknown key; the keys of a config are model, device, precision, memory_gb, "
            "threads, seed, gates, data, "
            "train, eval, parallel, output");
  EXPECT_EQ(refusal_of_set("output.qqqq=1"),
            "--set output.qqqq=1: output.qqqq: unknown key; the keys of output are dir, tensorboard");
}

TEST(RunConfig, RefusesBadSyntaxWithLineAndColumn) {
  EXPECT_THAT(refusal("{\n  \"seed\": 1,,\n}"), StartsWith("run.json:2:13: not valid JSON: syntax error"));
  EXPECT_THAT(refusal("{\"seed\": tru}"), StartsWith("run.json:1:13: not valid JSON: "));
  EXPECT_THAT(refusal(""), StartsWith("run.json:1:"));
  EXPECT_THAT(refusal(minimal() + "x"), HasSubstr("not valid JSON"));
  EXPECT_THAT(refusal("{\"seed\": \"\xff\"}"), HasSubstr("not valid JSON"));
  EXPECT_THAT(refusal("{\"seed\": 1e999}"), HasSubstr("number overflow"));
  EXPECT_EQ(refusal("{}\n" + std::string(1, '\0') + "}"), "run.json:2: not valid JSON: a NUL byte");
}

TEST(RunConfig, RefusesWhatCommonParsersSwallow) {
  EXPECT_EQ(refusal("{\"train\": {\n\"steps\": 1,\n\"steps\": 2}}"),
            "run.json:3: train.steps: the key is given twice in one object; keep one of them");
  EXPECT_EQ(refusal("{\"gates\": [{}, {\"name\": \"a\",\n \"name\": \"b\"}]}"),
            "run.json:2: gates[1].name: the key is given twice in one object; keep one of them");
  EXPECT_EQ(refusal(std::string(100, '[')), "run.json:1: nested deeper than 32 objects and lists");
  EXPECT_THAT(refusal_of_set(R"(gates=[{"name":"a","name":"b"}])"), HasSubstr("given twice"));
}

TEST(RunConfig, RefusalsSayWhatWasFoundAndWhatIsAllowed) {
  const std::vector<std::pair<std::string, std::string>> cases = {
      {"seed=-1", "seed: found -1, expected an integer from 0 to 18446744073709551615"},
      {"seed=1.5", "seed: found 1.5, expected an integer from 0 to 18446744073709551615"},
      {"seed=18446744073709551616", "seed: found 1.8446744073709552e+19, expected an integer from 0 to"},
      {"threads=many", "threads: found \"many\", expected an integer from 0 to 1024"},
      {"threads=1025", "threads: found 1025, expected an integer from 0 to 1024"},
      {"threads=null",
       "threads: found null, expected an integer from 0 to 1024; leave the key out for its default"},
      {"train.steps=0", "train.steps: found 0, expected an integer from 1 to 1000000000"},
      {"train.batch_size=true", "train.batch_size: found true, expected an integer from 1 to 65536"},
      {"data.shuffle=1", "data.shuffle: found 1, expected true or false"},
      {"data.layout=joinde",
       R"(data.layout: found "joinde", expected one of "joined", "packed"; did you mean "joined"?)"},
      {"data.layout=rows", R"(data.layout: found "rows", expected one of "joined", "packed")"},
      {"data.files={}", "data.files: found {}, expected a list, each entry"},
      {"data.files=[\"a\",3]", "data.files[1]: found 3, expected a text"},
      {"data.files=[\"\"]", "data.files[0]: found \"\", expected a text that is not empty"},
      {"data.files=[\"a\"", "the list is not valid JSON; write '[\"a\",\"b\"]'"},
      {"data.text_field=", "data.text_field: missing or empty, expected a text that is not empty"},
      {"gates=[]", "gates: missing or empty, expected a list, each entry an object, at least one"},
      {"gates={}", "gates: found {}, expected a list, each entry an object, at least one"},
      {"gates=[1]", "gates[0]: found 1, expected an object with keys among name, type, "},
      {"gates[0].block_size=48", "gates[0].block_size: found 48, expected one of 16, 32, 64, 128"},
      {"gates[0].key_pieces=3", "gates[0].key_pieces: found 3, expected one of 1, 2, 4, 8"},
      {"gates[0].distance_bias=yes", "gates[0].distance_bias: found \"yes\", expected true or false"},
      {"gates[0].hidden_size=33",
       "gates[0].hidden_size: found 33, expected an integer from 0 to 4096, a multiple of 2"},
      {"gates[0].type=Qavg_Kavgmax",
       "gates[0].type: found \"Qavg_Kavgmax\", expected Q<pools>_K<pools>, pools one or more of max, min, "
       "avg in "
       "that order; did you mean \"Qavg_Kmaxavg\"?"},
      {"gates[0].type=qavg-kmax", "did you mean \"Qavg_Kmax\"?"},
      {"gates[0].type=Qavg_Kmaxx", "did you mean \"Qavg_Kmax\"?"},
      {"gates[0].name=../x", "gates[0].name: found \"../x\", expected a folder name: letters, digits"},
      {"gates[0].name=.", "gates[0].name: found \".\", expected a folder name"},
      {"gates[0].name=", "gates[0].name: found \"\", expected a folder name"},
      {"gates[0].name=" + std::string(65, 'a'), " of at most 64 bytes"},
      {"gates[0].loss_reduction=mean", "expected one of \"elements\", \"rows\""},
      {"gates[0].optimizer=3",
       "gates[0].optimizer: found 3, expected an object with keys among learning_rate, "},
      {"gates[0].optimizer.learning_rate=0",
       "gates[0].optimizer.learning_rate: found 0, expected a number > 0 and <= 10"},
      {"gates[0].optimizer.beta2=1", "gates[0].optimizer.beta2: found 1, expected a number >= 0 and < 1"},
      {"gates[0].optimizer.eps=\"x\"", "gates[0].optimizer.eps: found \"x\", expected a number > 0 and <= 1"},
      {"gates[0].schedule.type=cosin", "did you mean \"cosine\"?"},
      {"gates[0].export.dtype=fp16", "expected one of \"bf16\", \"fp32\""},
      {"eval.densities=[0]", "eval.densities[0]: found 0, expected a number > 0 and <= 1"},
      {"eval.densities=[]",
       "eval.densities: missing or empty, expected a list, each entry a number > 0 and <= 1, at"},
      {"model.rope_scaling=4", "model.rope_scaling: found 4, expected an object with a rope_type"},
  };
  for (const auto& [argument, message] : cases) {
    EXPECT_THAT(refusal_of_set(argument),
                testing::AllOf(StartsWith("--set " + argument + ": "), HasSubstr(message)));
  }
}

TEST(RunConfig, RefusalsNameTheLineOfTheFile) {
  EXPECT_EQ(refusal(minimal(",\n\"train\": {\n\"steps\": -5}")),
            "run.json:3: train.steps: found -5, expected an integer from 1 to 1000000000");
  EXPECT_EQ(refusal(minimal(",\n\"eval\": {\"densities\": [0.1,\n2]}")),
            "run.json:2: eval.densities[1]: found 2, expected a number > 0 and <= 1");
  EXPECT_THAT(refusal("[1]"), StartsWith("run.json: found [1], expected an object with keys among model, "));
  EXPECT_THAT(refusal(minimal(R"(,"device": "cp\u0000u")")), HasSubstr("device: found \"cp\\u0000u\""));
  EXPECT_THAT(refusal(R"({"model": {"path": "a\u0000b"}})"), HasSubstr("without NUL characters"));
}

TEST(RunConfig, RequiredKeysAreNamedWithTheirMeaning) {
  EXPECT_EQ(
      refusal("{}"),
      "run.json: model.path: missing or empty, expected a text that is not empty (Hugging Face model folder: "
      "config.json, safetensors, tokenizer.)");
  EXPECT_THAT(refusal(R"({"model":{"path":"m"}})"), StartsWith("run.json: gates: missing or empty"));
  EXPECT_THAT(refusal("{\"model\":{\"path\":\"m\"},\"gates\":[{}],\n\"data\":{}}"),
              StartsWith("run.json:2: data.files: missing or empty"));
  EXPECT_THAT(refusal_of_set("output.dir="), StartsWith("--set output.dir=: output.dir: missing or empty"));
}

TEST(RunConfig, RulesBetweenKeys) {
  EXPECT_EQ(
      refusal(minimal(), {"gates=[{\"block_size\":16},{\"name\":\"b\",\"block_size\":128}]",
                          "data.sequence_length=255"}),
      "--set data.sequence_length=255: data.sequence_length: found 255, expected at least 256: two blocks of "
      "gates[1], whose block_size is 128");
  EXPECT_EQ(parse(minimal(), {"data.sequence_length=128"}).data.sequence_length, 128);
  EXPECT_THAT(refusal_of_set("eval.sequence_length=127"), HasSubstr("expected at least 128"));
  EXPECT_EQ(
      refusal_of_set("gates=[{\"name\":\"a\"},{\"name\":\"a\"}]"),
      "--set gates=[{\"name\":\"a\"},{\"name\":\"a\"}]: gates[1].name: found \"a\", the name of gates[0] "
      "already; every entry needs its own");
  EXPECT_EQ(refusal(minimal(",\n\"train\": {\"steps\": 19}")),
            "run.json:1: gates[0].schedule.warmup_steps: found 20, expected at most train.steps, which is "
            "19; set one of the "
            "two");
  EXPECT_EQ(parse(minimal(), {"train.steps=20"}).train.steps, 20);
  EXPECT_THAT(
      refusal_of_set("gates[0].schedule={\"type\":\"cosine_floor\",\"min_learning_rate\":0.01}"),
      HasSubstr("min_learning_rate: found 0.01, expected at most optimizer.learning_rate, which is 0.001"));
  EXPECT_THAT(refusal_of_set("gates[0].schedule.min_learning_rate=1e-5"),
              HasSubstr("schedule.type is \"cosine\"; only \"cosine_floor\" has a minimum"));
  EXPECT_THAT(refusal_of_set("eval.every=5"), HasSubstr("eval.files names no held-out text"));
  EXPECT_THAT(refusal_of_set("eval.densities=[0.1,0.2,0.1]"),
              HasSubstr("eval.densities: 0.1 is given twice"));
  EXPECT_THAT(refusal_of_set("model.rope_scaling={\"factor\":4}"),
              HasSubstr("found {\"factor\":4}, expected an"));
}

TEST(RunConfig, OneSweepTrainsSoManyGates) {
  std::string list = R"({"name": "g0"})";
  for (int i = 1; i < 17; ++i) list += fmt::format(R"(, {{"name": "g{}"}})", i);
  EXPECT_THAT(refusal_of_set("gates=[" + list + "]"),
              HasSubstr("gates: found 17 entries, expected at most 16"));
}

TEST(RunConfig, PlacesAreThoseOfTheDevice) {
  EXPECT_THAT(refusal_of_set("model.weights=stream"),
              HasSubstr("reads weights where their files are mapped"));
  EXPECT_THAT(refusal_of_set("train.residuals=host"), HasSubstr("has one memory alone"));
  EXPECT_THAT(refusal_of_set("memory_gb=-1"), HasSubstr("memory_gb"));
  EXPECT_THAT(refusal_of_set("parallel.context=3"), HasSubstr("a multiple of 384"));
  EXPECT_THAT(refusal_of_set("parallel.timeout=0"), HasSubstr("parallel.timeout"));
  EXPECT_THAT(refusal_of_set("model.weights=disk"), HasSubstr(R"("resident", "stream")"));
  EXPECT_THAT(refusal_of_set("train.residuals=disk"), HasSubstr(R"("device", "host")"));
  const RunConfig c = parse(minimal(), {"device=cuda", "model.weights=stream", "train.residuals=host"});
  EXPECT_EQ(c.model.weights, "stream");
  EXPECT_EQ(c.train.residuals, "host");
}

TEST(RunConfig, PrecisionIsOneOfTheDevice) {
  EXPECT_THAT(refusal_of_set("device=gpu"), HasSubstr(R"(expected one of "cpu", "cuda")"));
  EXPECT_EQ(
      refusal_of_set("precision=bf16"),
      "--set precision=bf16: precision: found \"bf16\", but device \"cpu\" computes in fp32; use \"auto\" or "
      "\"fp32\"");
  EXPECT_EQ(parse(minimal(), {"device=cuda", "precision=bf16"}).precision, "bf16");
}

TEST(RunConfig, OverridesReachEveryKindOfKey) {
  const RunConfig c = parse(
      minimal(),
      {"gates[0].block_size=32", "gates.0.name=b32", "data.files=[\"a\",\"b\"]", "eval.files=h.jsonl",
       "output.dir=2024", "model.path=\"quoted\"", "data.shuffle=false", "gates[0].optimizer={\"beta1\":0.5}",
       "gates[0].optimizer.beta2=0.75", "data.separator=a=b", "threads=1", "threads=2",
       "gates[0]={\"hidden_size\":64}", "model.rope_scaling={\"type\":\"linear\",\"factor\":2}"});
  EXPECT_EQ(c.gates[0].block_size, 32) << "an object sets only the keys it names";
  EXPECT_EQ(c.gates[0].hidden_size, 64);
  EXPECT_EQ(c.gates[0].name, "b32");
  EXPECT_EQ(c.gates[0].optimizer.beta1, 0.5);
  EXPECT_EQ(c.gates[0].optimizer.beta2, 0.75);
  EXPECT_EQ(c.data.files, (std::vector<std::string>{"a", "b"}));
  EXPECT_EQ(c.eval.files, (std::vector<std::string>{"h.jsonl"}));
  EXPECT_EQ(c.output.dir, "2024");
  EXPECT_EQ(c.model.path, "quoted");
  EXPECT_EQ(c.model.rope_scaling, R"({"type":"linear","factor":2})");
  EXPECT_EQ(c.data.separator, "a=b");
  EXPECT_FALSE(c.data.shuffle);
  EXPECT_EQ(c.threads, 2) << "the later one wins";
}

TEST(RunConfig, OverridesReplaceWholeLists) {
  const RunConfig c = parse(minimal(), {"gates[0].block_size=16", "gates=[{\"name\":\"a\"},{\"name\":\"b\"}]",
                                        "gates[1].block_size=32"});
  ASSERT_EQ(c.gates.size(), 2U);
  EXPECT_EQ(c.gates[0].block_size, 64);
  EXPECT_EQ(c.gates[1].block_size, 32);
}

TEST(RunConfig, OverridesSupplyWhatTheFileLacks) {
  EXPECT_EQ(parse("{}", {"model.path=m", "gates=[{}]", "data.files=d.jsonl", "output.dir=o"}),
            parse(minimal()));
}

TEST(RunConfig, MalformedOverridesAreRefused) {
  EXPECT_EQ(refusal_of_set("threads"), "--set threads: no '='; write --set key.path=value");
  for (const std::string path : {"", ".seed", "seed.", "gates[0", "gates[x].name", "gates[0]name",
                                 "gates..name", "gates[].name", "[0]"}) {
    EXPECT_EQ(refusal_of_set(path + "=1"),
              "--set " + path + "=1: not a key path; write it like gates[0].optimizer.learning_rate");
  }
  EXPECT_EQ(refusal_of_set("gates[1].block_size=32"),
            "--set gates[1].block_size=32: gates[1]: there is no such entry; the list has 1, counted from 0");
  EXPECT_THAT(refusal_of_set("gates.name=x"), HasSubstr("gates[name]: there is no such entry"));
  EXPECT_THAT(refusal_of_set("gates[99999999999999999999].name=x"), HasSubstr("there is no such entry"));
  EXPECT_EQ(refusal_of_set("seed.low=1"),
            "--set seed.low=1: seed is an integer from 0 to 18446744073709551615: set it as a whole");
  EXPECT_EQ(
      refusal_of_set("gates[0].optimiser.beta1=0"),
      "--set gates[0].optimiser.beta1=0: gates[0].optimiser: unknown key; did you mean gates[0].optimizer?");
  EXPECT_EQ(refusal_of_set("output.dir=\xff"), "--set \"output.dir=\\ufffd\": not valid UTF-8");
}

TEST(RunConfig, ReadsFiles) {
  const test::TempDir folder;
  write_file_atomically(folder / "run.json", minimal());
  EXPECT_EQ(load_run_config(folder / "run.json", {"threads=2"}).threads, 2);
  write_file_atomically(folder / "bad.json", "{\n\"a\": 1}");
  const auto message = [](const std::filesystem::path& path) -> std::string {
    try {
      load_run_config(path);
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::kUsage);
      return error.what();
    }
    return "";
  };
  EXPECT_THAT(message(folder / "bad.json"),
              StartsWith((folder / "bad.json").string() + ":2: a: unknown key"));
  EXPECT_THAT(message(folder / "none.json"), HasSubstr("none.json: no such file"));
  EXPECT_THAT(message(folder.path()), HasSubstr("not a regular file"));
}

}  // namespace
}  // namespace seer
