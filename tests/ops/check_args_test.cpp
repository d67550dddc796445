// Operations refuse wrong arguments at the call, before anything is enqueued.
#include "src/ops/check_args.h"

#include <gtest/gtest.h>

#include "src/core/error.h"
#include "tests/ops/device.h"

namespace seer::test {
namespace {

class CheckArgs : public ::testing::TestWithParam<BackendChoice> {
 protected:
  Tensor tensor(std::initializer_list<int64_t> shape, DType dtype = DType::kF32) {
    const Shape extents(shape);
    if (dtype != DType::kI32) return device_.zeros(extents, dtype);
    return device_.upload_ids(std::vector<int32_t>(extents.numel())).reshape(extents);
  }
  StackedLinear stacked(const Tensor& weight, const Tensor& bias = Tensor()) {
    StackedLinear w;
    w.weight[0] = weight;
    w.bias[0] = bias;
    w.parts = 1;
    return w;
  }
  AttentionArgs attention_args() {
    AttentionArgs args{.q = tensor({70, 4, 8}),
                       .k = tensor({70, 2, 8}),
                       .v = tensor({70, 2, 8}),
                       .layout = &batch_,
                       .head_count = 4,
                       .scale = 1.0F,
                       .output = tensor({70, 4, 8}),
                       .block_log_max = tensor({4, blocks_.elements}),
                       .blocks = &blocks_};
    args.workspace = device_.workspace(device_.backend().attention_workspace(args));
    return args;
  }
  void expect_refused(const AttentionArgs& args) { EXPECT_THROW(backend_.attention(queue_, args), Error); }

  Device device_{GetParam().make()};
  Backend& backend_ = device_.backend();
  Queue& queue_ = device_.queue();
  BatchLayout batch_ = BatchLayout::packed(std::vector<int64_t>{0, 70});
  ScoreLayout blocks_ = ScoreLayout::prefill(batch_, 16);
};

TEST_P(CheckArgs, ElementwiseAndNorms) {
  EXPECT_THROW(backend_.copy(queue_, tensor({3}), tensor({4})), Error);
  EXPECT_THROW(backend_.copy(queue_, tensor({3}), tensor({3}, DType::kF64)), Error);
  EXPECT_THROW(backend_.embed(queue_, tensor({3}), tensor({9, 4}), tensor({3, 4})), Error);
  EXPECT_THROW(backend_.embed(queue_, tensor({3}, DType::kI32), tensor({9, 4}), tensor({3, 5})), Error);
  EXPECT_THROW(backend_.swiglu(queue_, tensor({3, 8}), tensor({3, 5})), Error);
  EXPECT_THROW(backend_.rms_norm(queue_, tensor({3, 8}), tensor({7}), 1e-6, tensor({3, 8})), Error);
  EXPECT_THROW(backend_.rms_norm(queue_, tensor({3, 8}), tensor({8}), 1e-6, tensor({3, 8}, DType::kF64)),
               Error);
}

TEST_P(CheckArgs, Linear) {
  const Tensor x = tensor({3, 8});
  const auto refuse = [&](const StackedLinear& w, const Tensor& out) {
    EXPECT_THROW(backend_.linear(queue_, x, w, LinearOutput::kStore, out,
                                 device_.workspace(backend_.linear_workspace(w))),
                 Error);
  };
  refuse(stacked(tensor({5, 7})), tensor({3, 5}));
  refuse(stacked(tensor({5, 8})), tensor({3, 6}));
  refuse(stacked(tensor({5, 8})), tensor({2, 5}));
  refuse(stacked(tensor({5, 8}), tensor({4})), tensor({3, 5}));
  refuse(stacked(tensor({5, 8}, DType::kI32)), tensor({3, 5}));
  StackedLinear none = stacked(tensor({5, 8}));
  none.parts = 0;
  EXPECT_THROW(backend_.linear(queue_, x, none, LinearOutput::kStore, tensor({3, 5}), device_.workspace(0)),
               Error);
}

TEST_P(CheckArgs, Rope) {
  const RopeTable table{tensor({10, 4}), tensor({10, 4})};
  const Tensor x = tensor({6, 2, 8});
  const auto refuse = [&](const RowSpan& span, const Tensor& out, const RopeTable& with) {
    Table<RowSpan> rows{{span}, {}};
    EXPECT_THROW(backend_.rope(queue_, x, with, rows, RopeDirection::kForward, out), Error);
  };
  refuse({0, 6, 5}, x, table);  // past the table
  refuse({1, 6, 0}, x, table);  // past the rows
  refuse({0, 6, 0}, tensor({6, 2, 6}), table);
  refuse({0, 6, 0}, x, {tensor({10, 3}), tensor({10, 3})});
  refuse({0, 6, 0}, x, {tensor({10, 4}), tensor({9, 4})});
}

TEST_P(CheckArgs, Attention) {
  EXPECT_NO_THROW(backend_.attention(queue_, attention_args()));
  AttentionArgs args = attention_args();
  args.head_begin = 1;
  expect_refused(args);
  args = attention_args();
  args.head_count = 0;
  expect_refused(args);
  args = attention_args();
  args.k = tensor({70, 3, 8});
  expect_refused(args);
  args = attention_args();
  args.q = tensor({69, 4, 8});
  expect_refused(args);
  args = attention_args();
  args.v = Tensor();
  expect_refused(args);
  args = attention_args();
  args.workspace = device_.workspace(backend_.attention_workspace(args) - 1);
  expect_refused(args);
  args = attention_args();
  args.block_log_max = tensor({4, blocks_.elements - 1});
  expect_refused(args);
  args = attention_args();
  const ScoreLayout decode = ScoreLayout::decode(batch_, 16, 0.5);
  args.blocks = &decode;
  expect_refused(args);
  // Blocks that would straddle the tiles of a backend.
  for (const int64_t size : {24, 256}) {
    const ScoreLayout other = ScoreLayout::prefill(batch_, size);
    args = attention_args();
    args.blocks = &other;
    expect_refused(args);
  }
  backend_.synchronize(queue_);
}

TEST_P(CheckArgs, TargetAndPools) {
  const ScoreLayout coarse = ScoreLayout::prefill(batch_, 24);
  EXPECT_THROW(backend_.normalise_target(queue_, tensor({1, 100}), blocks_, coarse, 1, tensor({1, 100})),
               Error);
  EXPECT_THROW(
      backend_.normalise_target(queue_, tensor({1, blocks_.elements}), blocks_, blocks_, 2, tensor({2, 100})),
      Error);
  const Table<RowSpan> rows{{{0, 70, 0}}, {}};
  const Tensor x = tensor({70, 2, 8});
  EXPECT_THROW(backend_.pool_blocks(queue_, x, rows, 16, 1, {}, tensor({5, 2, 8})), Error);
  EXPECT_THROW(backend_.pool_blocks(queue_, x, rows, 16, 1, {true, true, false}, tensor({5, 2, 8})), Error);
  EXPECT_THROW(backend_.pool_blocks(queue_, x, rows, 16, 1, {true, false, false}, tensor({4, 2, 8})), Error);
  EXPECT_THROW(backend_.pool_blocks(queue_, x, rows, 16, 3, {true, false, false}, tensor({15, 2, 8})), Error);
  EXPECT_THROW(backend_.group_mean(queue_, tensor({3, 4, 8}), tensor({3, 3, 8})), Error);
}

TEST_P(CheckArgs, Gate) {
  EXPECT_THROW(backend_.head_linear(queue_, tensor({3, 2, 8}), tensor({3, 8, 4}), tensor({3, 3, 4})), Error);
  EXPECT_THROW(backend_.head_linear(queue_, tensor({3, 2, 8}), tensor({4, 7, 4}), tensor({3, 4, 4})), Error);
  EXPECT_THROW(
      backend_.head_linear(queue_, tensor({3, 2, 8}), tensor({4, 8, 4}, DType::kF64), tensor({3, 4, 4})),
      Error);
  EXPECT_THROW(backend_.head_linear_backward(queue_, tensor({3, 2, 8}), tensor({3, 4, 5}), tensor({4, 8, 4})),
               Error);
  // Half a group of heads would add to a key head that another range adds to as well.
  ScoreArgs scores{.queries = tensor({5, 4, 8}),
                   .keys = tensor({5, 2, 8}),
                   .layout = &blocks_,
                   .head_begin = 1,
                   .head_count = 2,
                   .scale = 1.0};
  EXPECT_THROW(backend_.gate_scores(queue_, scores, tensor({2, blocks_.elements})), Error);
  scores.head_begin = 2;
  EXPECT_NO_THROW(backend_.gate_scores(queue_, scores, tensor({2, blocks_.elements})));
  EXPECT_THROW(backend_.gate_scores(queue_, scores, tensor({1, blocks_.elements})), Error);

  KlArgs kl{.scores = tensor({2, blocks_.elements}),
            .target = tensor({2, blocks_.elements}, DType::kF64),
            .layout = &blocks_,
            .heads = 4,
            .head_count = 2,
            .losses = tensor({2}, DType::kF64),
            .workspace = device_.workspace(4096)};
  EXPECT_THROW(backend_.kl_loss(queue_, kl), Error);
  kl.target = tensor({2, blocks_.elements});
  EXPECT_NO_THROW(backend_.kl_loss(queue_, kl));
  kl.losses = tensor({2});
  EXPECT_THROW(backend_.kl_loss(queue_, kl), Error);
  backend_.synchronize(queue_);
}

TEST_P(CheckArgs, Optimizer) {
  AdamWArgs args{.weights = tensor({8}),
                 .gradients = tensor({8}),
                 .first_moment = tensor({8}),
                 .second_moment = tensor({7}),
                 .norm_squared = tensor({1}, DType::kF64),
                 .not_finite = tensor({1}, DType::kF64)};
  EXPECT_THROW(backend_.adamw(queue_, args), Error);
  args.second_moment = tensor({8});
  args.norm_squared = tensor({1});
  EXPECT_THROW(backend_.adamw(queue_, args), Error);
  EXPECT_THROW(
      backend_.add_squared_norm(queue_, tensor({100}), tensor({1}, DType::kF64), device_.workspace(7)),
      Error);
}

INSTANTIATE_TEST_SUITE_P(All, CheckArgs, ::testing::ValuesIn(backends()),
                         [](const auto& test) { return test.param.name; });

}  // namespace
}  // namespace seer::test
