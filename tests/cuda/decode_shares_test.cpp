// How a call of the decode kernel is shared out, and which calls are its: on the host, for devices of any size.
#include <gtest/gtest.h>

#include "cuda/attention/decode.h"
#include "cuda/attention/dispatch.h"
#include "tests/ops/packs.h"

namespace seer::cuda {
namespace {

TEST(DecodeShares, CoverAllKeysAndFitTheScratch) {
  for (const int sm_count : {1, 14, 82, 108, 132, 160}) {
    for (const int kv_heads : {1, 2, 8, 40, 200}) {
      for (const int group : {1, 4, 5, 8, 9, 20, 64}) {
        for (const int64_t rows : {1, 3, 16}) {
          for (const int64_t keys : {1, 127, 128, 129, 5000, 131072, 2'000'000}) {
            AttentionParams p;
            p.heads = kv_heads * group;
            p.kv_heads = kv_heads;
            p.head_count = p.heads;
            const DecodeShares shares = share_out_decode(p, rows, keys, sm_count);
            SCOPED_TRACE(testing::Message() << sm_count << " multiprocessors, " << kv_heads << " x " << group
                                            << " heads, " << rows << " rows, " << keys << " keys");
            ASSERT_GE(int64_t{shares.splits} * shares.keys_per_split, keys);
            ASSERT_LT(int64_t{shares.splits - 1} * shares.keys_per_split, keys) << "none is empty";
            const size_t partial = 128 * sizeof(float) + 2 * sizeof(float);
            ASSERT_LE(static_cast<size_t>(rows * p.head_count * shares.splits) * partial,
                      decode_scratch_bytes(rows, p.head_count, 128, sm_count));
          }
        }
      }
    }
  }
}

/// A call of `pack` that wants o; no memory stands behind it.
class DecodeCall {
 public:
  explicit DecodeCall(const test::Pack& pack, int64_t head_dim = 128) : layout_(test::layout_of(pack)) {
    const Shape keys{layout_.num_key_rows, 2, head_dim};
    const Shape queries{layout_.num_query_rows, 8, head_dim};
    args.q = ConstTensor(memory_, DType::kBF16, queries);
    args.k = args.v = ConstTensor(memory_, DType::kBF16, keys);
    args.output = Tensor(memory_, DType::kBF16, queries);
    args.head_count = 8;
    args.layout = &layout_;
  }
  DecodeCall(const DecodeCall&) = delete;
  DecodeCall& operator=(const DecodeCall&) = delete;

  AttentionArgs args;

 private:
  alignas(16) char memory_[16] = {};  // is not touched
  BatchLayout layout_;
};

test::Pack rows_of(int count) {
  return test::Pack(count, {1000, {{999, 1}}});
}

TEST(DecodeCall, IsOneOfAFewSingleRows) {
  EXPECT_TRUE(is_decode(DecodeCall(rows_of(1)).args));
  EXPECT_TRUE(is_decode(DecodeCall(rows_of(16)).args));
  EXPECT_TRUE(is_decode(DecodeCall({{300, {{99, 1}, {200, 1}}}}, 64).args));
  EXPECT_FALSE(is_decode(DecodeCall(rows_of(17)).args));
  EXPECT_FALSE(is_decode(DecodeCall({{300, {{298, 2}}}}).args)) << "two rows together";
  EXPECT_FALSE(is_decode(DecodeCall(rows_of(1), 32).args)) << "no kernel for the head_dim";
  DecodeCall maxima(rows_of(1));
  const ScoreLayout blocks;
  maxima.args.blocks = &blocks;
  EXPECT_FALSE(is_decode(maxima.args)) << "block maxima are wanted";
}

TEST(DecodeCall, FitsTheWorkspaceThatIsPlannedWithTotals) {
  for (const int sm_count : {14, 108, 132}) {
    const AttentionChoice choice{.sm_count = sm_count};
    const DecodeCall planned({{1000, {{0, 1000}}}});
    for (const int rows : {1, 16}) {
      const DecodeCall call(rows_of(rows));
      EXPECT_LE(attention_workspace(choice, call.args), attention_workspace(choice, planned.args))
          << rows << " rows, " << sm_count << " multiprocessors";
    }
  }
}

}  // namespace
}  // namespace seer::cuda
