// The plan and the truth: what a session says it needs is what it takes, for every batch that may come.
#include <numeric>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "src/core/rng.h"
#include "tests/trainer/session_runs.h"
#include "trainer/plan_backend.h"

namespace seer::test {
namespace {

GateEntryConfig gate_of(const std::string& name, const std::string& type, int64_t block, int64_t hidden = 0) {
  GateEntryConfig gate;
  gate.name = name;
  gate.type = type;
  gate.block_size = block;
  gate.hidden_size = hidden;
  return gate;
}

size_t total(const std::vector<MemoryItem>& items) {
  return std::accumulate(items.begin(), items.end(), size_t{0},
                         [](size_t sum, const MemoryItem& item) { return sum + item.bytes; });
}

/// A session that computes nothing: every size up to those of the largest models in no time.
class PlannedSession {
 public:
  PlannedSession(const TinyModel& model, const SessionOptions& options, int threads = 2)
      : cpu_(make_cpu_backend({.threads = threads})),
        plan_(*cpu_),
        model_(parse_model_config(tiny_config_json(model), "tiny")),
        weights_(FrozenWeights::shapes(model_, plan_, nullptr, {.head = false})),
        session_(plan_, model_, weights_, options) {}

  Session* operator->() { return &session_; }
  const PlanBackend& plan() const { return plan_; }
  const FrozenWeights& weights() const { return weights_; }

 private:
  std::unique_ptr<Backend> cpu_;
  PlanBackend plan_;
  ModelConfig model_;
  FrozenWeights weights_;
  Session session_;
};

size_t arena_of(const Session& session) {
  for (const MemoryItem& item : session.memory()) {
    if (item.what == "layer arena") return item.bytes;
  }
  return 0;
}

TEST(Plan, ListsEveryByteOfDeviceMemory) {
  for (const bool packed : {false, true}) {
    PlannedSession session({},
                           {.gates = {gate_of("a", "Qavg_Kmaxminavg", 16), gate_of("b", "Qmax_Kavg", 64, 24)},
                            .total_steps = 1,
                            .batch_size = 3,
                            .max_tokens = 1000,
                            .packed = packed,
                            .densities = {0.1, 0.2}});
    EXPECT_EQ(total(session->memory()),
              session.plan().device_bytes() + static_cast<size_t>(session.weights().bytes()));
  }
}

TEST(Plan, IsWhatARealSessionTakes) {
  const TempDir folder;
  write_tiny_model(folder / "model", {});
  const SessionOptions options{
      .gates = {gate_of("a", "Qavg_Kmaxminavg", 16), gate_of("b", "Qmax_Kavg", 64, 24)},
      .total_steps = 2,
      .batch_size = 2,
      .max_tokens = 500,
      .densities = {0.1}};
  LoadedSession real(folder / "model", options);
  PlannedSession planned({}, options);
  ASSERT_EQ(planned->memory().size(), real->memory().size());
  for (size_t i = 0; i < planned->memory().size(); ++i) {
    SCOPED_TRACE(planned->memory()[i].what);
    EXPECT_EQ(planned->memory()[i].what, real->memory()[i].what);
    // The plan holds norms as the backend does, all else as stored. Real buffers end on multiples of 256.
    EXPECT_NEAR(static_cast<double>(planned->memory()[i].bytes), static_cast<double>(real->memory()[i].bytes),
                8 * 256);
  }
  EXPECT_EQ(arena_of(*real), arena_of(*planned.operator->()));
  EXPECT_EQ(real->arena_peak(), 0U);
  const auto batches = random_batches(1, 2, 2, 500);
  train_gates(real, batches);
  EXPECT_EQ(real->arena_peak(), arena_of(*real)) << "planned to the byte: the largest batch uses all of it";
}

TEST(Plan, TheArenaDoesNotGrowWithDepthOrBatch) {
  const auto arena = [](int64_t layers, int64_t batch) {
    PlannedSession session({.layers = layers}, {.gates = {gate_of("a", "Qavg_Kmaxminavg", 16)},
                                                .total_steps = 1,
                                                .batch_size = batch,
                                                .max_tokens = 512});
    return arena_of(*session.operator->());
  };
  EXPECT_EQ(arena(2, 1), arena(64, 16));
}

/// Random packs of at most `tokens` tokens whose documents have at least `shortest`: many short ones, few
/// long ones, lengths just past a block.
std::vector<int64_t> random_lengths(Rng& rng, int64_t tokens, int64_t shortest, int64_t block) {
  const int64_t kind = static_cast<int64_t>(rng.below(5));
  const int64_t whole = kind == 4 ? 1 + static_cast<int64_t>(rng.below(tokens)) : tokens;
  std::vector<int64_t> lengths;
  int64_t left = std::max(whole, shortest);
  while (left >= shortest) {
    int64_t length = shortest;
    if (kind == 1) length = shortest + 1;
    if (kind == 2) length = shortest + static_cast<int64_t>(rng.below(8)) * block + 1;
    if (kind >= 3) length = shortest + static_cast<int64_t>(rng.below(left));
    length = std::min(length, left);
    lengths.push_back(length);
    left -= length;
  }
  return lengths;
}

struct PlanCase {
  TinyModel model;
  int64_t tokens;
  std::vector<int64_t> blocks;
};

/// Shapes of real models, and shapes whose memory is all score matrices: of all heads at a time, or of one kv
/// group.
const std::vector<PlanCase> kPlanCases = {
    {{.heads = 4, .kv_heads = 2, .head_dim = 16, .hidden = 64}, 512, {16}},
    {{.heads = 2, .kv_heads = 1, .head_dim = 2, .hidden = 2, .intermediate = 2}, 1000, {16, 64}},
    {{.heads = 32, .kv_heads = 32, .head_dim = 2, .hidden = 8, .intermediate = 8}, 32768, {16}},
    {{.heads = 28, .kv_heads = 4, .head_dim = 128, .hidden = 3584, .intermediate = 18944}, 32768, {64}},
    {{.heads = 32, .kv_heads = 8, .head_dim = 128, .hidden = 4096, .intermediate = 14336},
     65536,
     {32, 64, 128}},
    {{.heads = 64, .kv_heads = 8, .head_dim = 128, .hidden = 8192, .intermediate = 28672}, 131072, {16}},
};

TEST(Plan, CoversEveryPackThatMayCome) {
  for (const PlanCase& shape : kPlanCases) {
    SCOPED_TRACE(testing::Message() << shape.model.heads << " heads, " << shape.tokens << " tokens");
    SessionOptions options{.total_steps = 1, .max_tokens = shape.tokens, .packed = true, .densities = {0.1}};
    for (const int64_t block : shape.blocks) {
      options.gates.push_back(gate_of("block" + std::to_string(block), "Qmax_Kmaxminavg", block));
    }
    PlannedSession session(shape.model, options);
    const int64_t shortest = 2 * shape.blocks.back();
    Rng rng = Rng(7).fork(static_cast<uint64_t>(shape.tokens));
    for (int i = 0; i < 40; ++i) {
      const std::vector<int64_t> lengths = random_lengths(rng, shape.tokens, shortest, shape.blocks.front());
      SCOPED_TRACE(testing::Message() << lengths.size() << " documents, the first of " << lengths.front());
      const TokenSequence pack = random_pack(1, lengths);
      ASSERT_NO_THROW(session->train_step(0, std::span(&pack, 1)));
      ASSERT_NO_THROW(session->evaluate(std::span(&pack, 1), 0));
    }
    EXPECT_LE(session->arena_peak(), arena_of(*session.operator->()));
  }
}

TEST(Plan, CoversShorterSequencesOfAnEvaluation) {
  for (const PlanCase& shape : kPlanCases) {
    SCOPED_TRACE(testing::Message() << shape.model.heads << " heads, " << shape.tokens << " tokens");
    SessionOptions options{.total_steps = 1, .max_tokens = shape.tokens, .densities = {0.1}};
    for (const int64_t block : shape.blocks) {
      options.gates.push_back(gate_of("block" + std::to_string(block), "Qavg_Kmaxminavg", block));
    }
    PlannedSession session(shape.model, options);
    for (int64_t length = shape.tokens; length >= 2 * shape.blocks.back(); length = length * 15 / 16 - 1) {
      const TokenSequence sequence = random_pack(1, {length});
      ASSERT_NO_THROW(session->evaluate(std::span(&sequence, 1), 0)) << length;
    }
    EXPECT_EQ(session->arena_peak() <= arena_of(*session.operator->()), true);
  }
}

TEST(Plan, CountsTheWorkOfAStep) {
  const int64_t tokens = 512;
  const SessionOptions options{.gates = {gate_of("a", "Qavg_Kmaxminavg", 16)},
                               .total_steps = 1,
                               .batch_size = 3,
                               .max_tokens = tokens};
  const TinyModel model{.layers = 5};
  PlannedSession session(model, options);
  PlanBackend counted(session->backend());
  session->count_step(counted, tokens);
  const auto& work = counted.work();
  const int64_t q = model.heads * model.head_dim;
  const int64_t kv = model.kv_heads * model.head_dim;
  // Of the last layer only q and k.
  const int64_t layer =
      model.hidden * (q + 2 * kv) + q * model.hidden + 3 * model.hidden * model.intermediate;
  const int64_t last = model.hidden * (q + kv);
  EXPECT_EQ(work.at("linear").flops, static_cast<double>(2 * 3 * tokens * (4 * layer + last)));
  const int64_t pairs = tokens * (tokens + 1) / 2;
  EXPECT_EQ(work.at("attention").flops, static_cast<double>(2 * 3 * pairs * q * (4 * 2 + 1)));
  EXPECT_EQ(work.at("adamw").calls, 1);
  EXPECT_EQ(work.at("embed").calls, 3);
}

}  // namespace
}  // namespace seer::test
