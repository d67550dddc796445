// The operations of sparse attention refuse wrong arguments at the call, before anything is enqueued.
#include <cmath>

#include <gtest/gtest.h>

#include "src/core/error.h"
#include "tests/ops/device.h"

namespace seer::test {
namespace {

constexpr int64_t kTokens = 70;
constexpr int64_t kHeads = 4;

class CheckSparseArgs : public ::testing::TestWithParam<BackendChoice> {
 protected:
  Tensor tensor(std::initializer_list<int64_t> shape, DType dtype = DType::kF32) {
    return device_.zeros(Shape(shape), dtype);
  }
  /// Lists of zeros: nothing is kept.
  BlockLists lists(int64_t heads = kHeads) {
    return {tensor({heads, blocks_.num_query_rows}, DType::kI32),
            tensor({heads, blocks_.elements}, DType::kI32)};
  }
  Tensor matrices(int64_t heads = kHeads, DType dtype = DType::kF32) {
    return tensor({heads, blocks_.elements}, dtype);
  }

  SelectArgs select_args() {
    SelectArgs args{.scores = matrices(),
                    .layout = &blocks_,
                    .head_count = kHeads,
                    .values = tensor({kHeads}),
                    .lists = lists(),
                    .kept = tensor({kHeads}, DType::kF64)};
    args.workspace = device_.workspace(backend_.select_workspace(args));
    return args;
  }
  KeptRecallArgs recall_args() {
    KeptRecallArgs args{.lists = lists(),
                        .target = matrices(),
                        .layout = &blocks_,
                        .heads = kHeads,
                        .head_count = kHeads,
                        .recall = tensor({kHeads}, DType::kF64)};
    args.workspace = device_.workspace(backend_.kept_recall_workspace(args));
    return args;
  }
  SparseAttentionArgs attention_args() {
    SparseAttentionArgs args{.q = tensor({kTokens, kHeads, 8}),
                             .k = tensor({kTokens, 2, 8}),
                             .v = tensor({kTokens, 2, 8}),
                             .layout = &batch_,
                             .blocks = &blocks_,
                             .lists = lists(),
                             .head_count = kHeads,
                             .scale = 1.0F,
                             .output = tensor({kTokens, kHeads, 8})};
    args.workspace = device_.workspace(backend_.sparse_attention_workspace(args));
    return args;
  }
  AntidiagonalArgs antidiagonal_args() {
    AntidiagonalArgs args{.q = tensor({kTokens, kHeads, 8}),
                          .k = tensor({kTokens, 2, 8}),
                          .layout = &batch_,
                          .blocks = &blocks_,
                          .stride = 8,
                          .head_count = kHeads,
                          .scale = 1.0F,
                          .scores = matrices()};
    args.workspace = device_.workspace(backend_.antidiagonal_workspace(args));
    return args;
  }

  void run(const SelectArgs& args) { backend_.select_blocks(queue_, args); }
  void run(const KeptRecallArgs& args) { backend_.kept_recall(queue_, args); }
  void run(const SparseAttentionArgs& args) { backend_.sparse_attention(queue_, args); }
  void run(const AntidiagonalArgs& args) { backend_.antidiagonal_scores(queue_, args); }

  /// `args` are good, and are refused once `spoil` has changed them.
  template <typename Args, typename Spoil>
  void expect_refused(const Args& good, const char* what, const Spoil& spoil) {
    EXPECT_NO_THROW(run(good)) << what;
    Args bad = good;
    spoil(bad);
    EXPECT_THROW(run(bad), Error) << what;
    backend_.synchronize(queue_);
  }

  void SetUp() override {
    device_.prepare(batch_);
    device_.prepare(blocks_);
    device_.prepare(decode_);
    device_.prepare(of_24_);
    device_.prepare(of_256_);
  }

  Device device_{GetParam().make()};
  Backend& backend_ = device_.backend();
  Queue& queue_ = device_.queue();
  BatchLayout batch_ = BatchLayout::packed(std::vector<int64_t>{0, kTokens});
  ScoreLayout blocks_ = ScoreLayout::prefill(batch_, 16);
  ScoreLayout decode_ = ScoreLayout::decode(batch_, 16, 0.5);
  ScoreLayout of_24_ = ScoreLayout::prefill(batch_, 24);
  ScoreLayout of_256_ = ScoreLayout::prefill(batch_, 256);
  ScoreLayout of_two_ = ScoreLayout::prefill(BatchLayout::packed(std::vector<int64_t>{0, 30, kTokens}), 16);
};

TEST_P(CheckSparseArgs, Selection) {
  const SelectArgs good = select_args();
  const auto refuse = [&](const char* what, const auto& spoil) { expect_refused(good, what, spoil); };
  refuse("no layout", [](SelectArgs& a) { a.layout = nullptr; });
  refuse("decode layout", [&](SelectArgs& a) { a.layout = &decode_; });
  refuse("no heads", [](SelectArgs& a) { a.head_count = 0; });
  refuse("scores of fewer heads", [&](SelectArgs& a) { a.scores = matrices(kHeads - 1); });
  refuse("F64 scores", [&](SelectArgs& a) { a.scores = matrices(kHeads, DType::kF64); });
  refuse("lists of fewer heads", [&](SelectArgs& a) { a.lists.blocks = lists(kHeads - 1).blocks; });
  refuse("counts of fewer heads", [&](SelectArgs& a) { a.lists.counts = lists(kHeads - 1).counts; });
  refuse("lists of floats", [&](SelectArgs& a) { a.lists.blocks = matrices(); });
  refuse("values of fewer heads", [&](SelectArgs& a) { a.values = tensor({kHeads - 1}); });
  refuse("F64 values", [&](SelectArgs& a) { a.values = tensor({kHeads}, DType::kF64); });
  refuse("F32 slots", [&](SelectArgs& a) { a.kept = tensor({kHeads}); });
  refuse("slots of fewer heads", [&](SelectArgs& a) { a.kept = tensor({kHeads - 1}, DType::kF64); });
  refuse("no workspace", [&](SelectArgs& a) { a.workspace = Tensor(); });
}

TEST_P(CheckSparseArgs, Rules) {
  const SelectArgs good = select_args();
  const auto refuse = [&](const SelectionRule& rule) {
    expect_refused(good, "rule", [&](SelectArgs& a) { a.rule = rule; });
  };
  for (const double value : {-0.1, 1.1, std::nan("")}) refuse({.by = SelectBy::kNzRatio, .value = value});
  for (const double value : {-1.0, 1e30, std::nan("")})
    refuse({.by = SelectBy::kTokenBudget, .value = value});
  for (const double value : {-0.1, HUGE_VAL, std::nan("")}) refuse({.by = SelectBy::kTopP, .value = value});
  for (const double value : {HUGE_VAL, std::nan("")}) refuse({.by = SelectBy::kThreshold, .value = value});
  refuse({.sink_blocks = -1});
  refuse({.local_blocks = -1});
  refuse({.dense_last_rows = -1});
  refuse({.min_blocks = -1});
}

TEST_P(CheckSparseArgs, Recall) {
  const KeptRecallArgs good = recall_args();
  const auto refuse = [&](const char* what, const auto& spoil) { expect_refused(good, what, spoil); };
  refuse("no layout", [](KeptRecallArgs& a) { a.layout = nullptr; });
  refuse("decode layout", [&](KeptRecallArgs& a) { a.layout = &decode_; });
  refuse("no heads", [](KeptRecallArgs& a) { a.heads = 0; });
  refuse("target of fewer heads", [&](KeptRecallArgs& a) { a.target = matrices(kHeads - 1); });
  refuse("F64 target", [&](KeptRecallArgs& a) { a.target = matrices(kHeads, DType::kF64); });
  refuse("lists of fewer heads", [&](KeptRecallArgs& a) { a.lists = lists(kHeads - 1); });
  refuse("F32 slots", [&](KeptRecallArgs& a) { a.recall = tensor({kHeads}); });
  refuse("no workspace", [&](KeptRecallArgs& a) { a.workspace = Tensor(); });
}

TEST_P(CheckSparseArgs, Attention) {
  const SparseAttentionArgs good = attention_args();
  const auto refuse = [&](const char* what, const auto& spoil) { expect_refused(good, what, spoil); };
  refuse("no batch", [](SparseAttentionArgs& a) { a.layout = nullptr; });
  refuse("no blocks", [](SparseAttentionArgs& a) { a.blocks = nullptr; });
  refuse("decode layout", [&](SparseAttentionArgs& a) { a.blocks = &decode_; });
  refuse("blocks of another batch", [&](SparseAttentionArgs& a) { a.blocks = &of_two_; });
  refuse("blocks of 24", [&](SparseAttentionArgs& a) { a.blocks = &of_24_; });
  refuse("blocks of 256", [&](SparseAttentionArgs& a) { a.blocks = &of_256_; });
  refuse("heads past the end", [](SparseAttentionArgs& a) { a.head_begin = 1; });
  refuse("negative head", [](SparseAttentionArgs& a) { a.head_begin = -1; });
  refuse("no heads", [](SparseAttentionArgs& a) { a.head_count = 0; });
  refuse("3 kv heads", [&](SparseAttentionArgs& a) { a.k = a.v = tensor({kTokens, 3, 8}); });
  refuse("k of other head_dim", [&](SparseAttentionArgs& a) { a.k = a.v = tensor({kTokens, 2, 16}); });
  refuse("q of fewer rows", [&](SparseAttentionArgs& a) {
    a.q = a.output = tensor({kTokens - 1, kHeads, 8});
  });
  refuse("v unlike k", [&](SparseAttentionArgs& a) { a.v = tensor({kTokens - 1, 2, 8}); });
  refuse("output unlike q", [&](SparseAttentionArgs& a) { a.output = tensor({kTokens, kHeads, 4}); });
  refuse("lists of fewer heads", [&](SparseAttentionArgs& a) { a.lists = lists(kHeads - 1); });
  if (backend_.sparse_attention_workspace(good) > 0) {
    refuse("no workspace", [&](SparseAttentionArgs& a) { a.workspace = Tensor(); });
  }
}

TEST_P(CheckSparseArgs, BlockScores) {
  const AntidiagonalArgs good = antidiagonal_args();
  const auto refuse = [&](const char* what, const auto& spoil) { expect_refused(good, what, spoil); };
  refuse("stride 0", [](AntidiagonalArgs& a) { a.stride = 0; });
  refuse("stride 3", [](AntidiagonalArgs& a) { a.stride = 3; });
  refuse("heads past the end", [](AntidiagonalArgs& a) { a.head_begin = 1; });
  refuse("blocks of another batch", [&](AntidiagonalArgs& a) { a.blocks = &of_two_; });
  refuse("scores of fewer heads", [&](AntidiagonalArgs& a) { a.scores = matrices(kHeads - 1); });
  refuse("F64 scores", [&](AntidiagonalArgs& a) { a.scores = matrices(kHeads, DType::kF64); });
  refuse("no workspace", [&](AntidiagonalArgs& a) { a.workspace = Tensor(); });

  const auto position = [&](const ScoreLayout& layout, int64_t begin, int64_t count, const Tensor& scores) {
    backend_.position_scores(queue_, PositionScores::kWindow, 0, layout, begin, count, scores);
    backend_.synchronize(queue_);
  };
  const Tensor scores = matrices();
  EXPECT_NO_THROW(position(blocks_, 7, kHeads, scores));
  EXPECT_THROW(position(decode_, 0, kHeads, scores), Error);
  EXPECT_THROW(position(blocks_, -1, kHeads, scores), Error);
  EXPECT_THROW(position(blocks_, 0, kHeads + 1, scores), Error);
  EXPECT_THROW(position(blocks_, 0, kHeads, matrices(kHeads, DType::kF64)), Error);

  EXPECT_NO_THROW(backend_.split_signs(queue_, tensor({3, 2, 8}), tensor({3, 2, 16})));
  EXPECT_THROW(backend_.split_signs(queue_, tensor({3, 2, 8}), tensor({3, 2, 8})), Error);
  EXPECT_THROW(backend_.split_signs(queue_, tensor({3, 2, 8}), tensor({2, 3, 16})), Error);
  EXPECT_THROW(backend_.split_signs(queue_, tensor({3, 2, 8}, DType::kF64), tensor({3, 2, 16})), Error);
  backend_.synchronize(queue_);
}

TEST_P(CheckSparseArgs, TokenNll) {
  const Tensor ids = tensor({3}, DType::kI32);
  EXPECT_NO_THROW(backend_.token_nll(queue_, tensor({3, 9}), ids, tensor({3})));
  EXPECT_THROW(backend_.token_nll(queue_, tensor({4, 9}), ids, tensor({3})), Error);
  EXPECT_THROW(backend_.token_nll(queue_, tensor({3, 9}), tensor({3}), tensor({3})), Error);
  EXPECT_THROW(backend_.token_nll(queue_, tensor({3, 9}), ids, tensor({4})), Error);
  EXPECT_THROW(backend_.token_nll(queue_, tensor({3, 9}), ids, tensor({3}, DType::kF64)), Error);
  EXPECT_THROW(backend_.token_nll(queue_, tensor({3, 3, 3}), ids, tensor({3})), Error);
  backend_.synchronize(queue_);
}

INSTANTIATE_TEST_SUITE_P(All, CheckSparseArgs, ::testing::ValuesIn(backends()),
                         [](const auto& test) { return test.param.name; });

}  // namespace
}  // namespace seer::test
