#include "trainer/report/perplexity_file.h"

#include <cmath>
#include <functional>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "src/core/error.h"
#include "src/io/atomic_file.h"
#include "tests/support/fixtures.h"
#include "tests/trainer/report/sample_report.h"

namespace seer::report {
namespace {

using Json = nlohmann::json;
using ::testing::AllOf;
using ::testing::HasSubstr;

class PerplexityFile : public testing::Test {
 protected:
  Perplexity read(const std::string& text) {
    write_file_atomically(path_, text);
    return read_perplexity(path_);
  }
  /// The message for the sample with one thing changed.
  std::string refusal(const std::function<void(Json&)>& change) {
    Json json = test::sample_perplexity_json(2, 2);
    change(json);
    try {
      read(json.dump());
    } catch (const Error& error) {
      return error.what();
    }
    return "read";
  }

  test::TempDir folder_;
  std::filesystem::path path_ = folder_ / "eval-ppl.json";
};

TEST_F(PerplexityFile, ReadsEveryKey) {
  const Perplexity read_back = read(test::sample_perplexity_json(3, 5).dump());
  EXPECT_EQ(read_back.source, path_.string());
  EXPECT_EQ(read_back.model, "models/seer-small");
  EXPECT_EQ(read_back.gates, "runs/small/gates/gate");
  EXPECT_EQ(read_back.data, "corpus/heldout.jsonl");
  EXPECT_EQ(read_back.device, "cuda");
  EXPECT_EQ(read_back.gate_type, "Qavg_Kmaxminavg");
  EXPECT_EQ(read_back.gate_form, "key_pieces 4, distance_bias");
  EXPECT_EQ(read_back.block_size, 64);
  ASSERT_EQ(read_back.lengths.size(), 2U);
  const PerplexityLength& length = read_back.lengths[0];
  EXPECT_EQ(length.length, 8192);
  EXPECT_EQ(length.windows, 16);
  EXPECT_EQ(length.dense_perplexity, 19.24);
  EXPECT_EQ(length.dense_prefill_seconds, 1.2);
  ASSERT_EQ(length.rows.size(), 32U);
  const PerplexityRow& gate = length.rows[0];
  EXPECT_EQ(gate.method, "gate");
  EXPECT_EQ(gate.rule, "nz_ratio");
  EXPECT_EQ(gate.value, 0.1);
  EXPECT_DOUBLE_EQ(gate.density, 0.1003);
  EXPECT_EQ(gate.perplexity, 20.94);
  EXPECT_EQ(gate.recall, 0.785);
  EXPECT_DOUBLE_EQ(gate.change, 20.94 / 19.24 - 1);
  EXPECT_GT(gate.speedup, 1);
  ASSERT_EQ(gate.density_by_head.size(), 3U);
  EXPECT_EQ(gate.recall_by_head[2].size(), 5U);
  EXPECT_TRUE(std::isnan(length.rows[4].speedup));  // the oracle's
  EXPECT_TRUE(std::isnan(length.rows[4].prefill_seconds));
}

TEST_F(PerplexityFile, NullIsNotMeasured) {
  Json json = test::sample_perplexity_json(2, 2);
  json["gates"] = nullptr;
  for (const char* key :
       {"density", "perplexity", "change", "recall", "density_by_head", "recall_by_head", "value"}) {
    json["lengths"][0]["rows"][0][key] = nullptr;
  }
  json["lengths"][0]["dense"]["prefill_seconds"] = nullptr;
  json["lengths"][0]["later"] = "keys this version does not know";
  const Perplexity read_back = read(json.dump());
  const PerplexityRow& row = read_back.lengths[0].rows[0];
  EXPECT_EQ(read_back.gates, "");
  EXPECT_TRUE(std::isnan(row.value)) << "thresholds by head";
  EXPECT_TRUE(std::isnan(row.density) && std::isnan(row.perplexity) && std::isnan(row.recall));
  EXPECT_TRUE(row.density_by_head.empty() && row.recall_by_head.empty());
  EXPECT_TRUE(std::isnan(read_back.lengths[0].dense_prefill_seconds));
}

TEST_F(PerplexityFile, RefusesByFileAndKey) {
  struct Case {
    std::function<void(Json&)> change;
    std::string named;
  };
  const std::vector<Case> cases = {
      {[](Json& j) { j["kind"] = "ruler"; }, "\"kind\" is not \"perplexity\""},
      {[](Json& j) { j["version"] = 2; }, "\"version\" is not 1"},
      {[](Json& j) { j.erase("model"); }, "no \"model\""},
      {[](Json& j) { j["model"] = nullptr; }, "\"model\" is not a text"},
      {[](Json& j) { j["block_size"] = 0; }, "\"block_size\" is not a positive integer"},
      {[](Json& j) { j["lengths"] = Json::array(); }, "\"lengths\" is not a list with at least one entry"},
      {[](Json& j) { j["lengths"] = 3; }, "\"lengths\" is not a list"},
      {[](Json& j) { j["lengths"][1] = 3; }, "lengths[1] is not an object"},
      {[](Json& j) { j["lengths"][1]["length"] = 1.5; }, "\"lengths[1].length\" is not a positive integer"},
      {[](Json& j) { j["lengths"][0].erase("dense"); }, "no \"lengths[0].dense\""},
      {[](Json& j) { j["lengths"][0]["dense"]["perplexity"] = "19"; },
       "\"lengths[0].dense.perplexity\" is not a number"},
      {[](Json& j) { j["lengths"][0]["rows"][2].erase("recall"); }, "no \"lengths[0].rows[2].recall\""},
      {[](Json& j) { j["lengths"][0]["rows"][2]["recall"] = 1.5; },
       "\"lengths[0].rows[2].recall\" is not null or a number from 0 to 1"},
      {[](Json& j) { j["lengths"][0]["rows"][2]["speedup"] = -1; }, "\"lengths[0].rows[2].speedup\" is not"},
      {[](Json& j) { j["lengths"][0]["rows"][2]["method"] = ""; },
       "\"lengths[0].rows[2].method\" is not a name"},
      {[](Json& j) { j["lengths"][0]["rows"][2]["rule"] = "best"; },
       "\"lengths[0].rows[2].rule\" is not one of nz_ratio"},
      {[](Json& j) { j["lengths"][0]["rows"][2]["density_by_head"] = Json::array(); },
       "\"lengths[0].rows[2].density_by_head\" is not null or a list"},
      {[](Json& j) { j["lengths"][0]["rows"][2]["density_by_head"][1] = {0.5}; },
       "\"lengths[0].rows[2].density_by_head\" is not of one length"},
      {[](Json& j) { j["lengths"][0]["rows"][2]["recall_by_head"][1][0] = nullptr; },
       "\"lengths[0].rows[2].recall_by_head\" is not null or a list"},
  };
  for (const Case& c : cases)
    EXPECT_THAT(refusal(c.change), AllOf(HasSubstr(path_.string()), HasSubstr(c.named)));
  EXPECT_THAT(refusal([](Json& j) { j = Json::array(); }), HasSubstr("the whole is not an object"));
  EXPECT_THROW(read("{\"kind\":"), Error);
  EXPECT_THROW(read(""), Error);
}

}  // namespace
}  // namespace seer::report
