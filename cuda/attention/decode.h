// Attention of a few single rows, each against all keys of its sequence: what decoding one token with a KV cache asks for.
#pragma once

#include <cstddef>

#include "cuda/attention/attention.h"

namespace seer::cuda {

/// Most rows of a call. A prefill kernel computes kQueryTile rows of each: it reads as little, but by one thread block a head.
constexpr int64_t kMostDecodeRows = 16;

/// bf16, D of 64 and 128, from compute capability 8.0 on.
bool decode_supports(int64_t head_dim);

/// How a call is shared out. Depends on its sizes and the device alone, and so do the bits of its results.
struct DecodeShares {
  int32_t splits = 1;          ///< Thread blocks that share the keys of one segment and kv head
  int32_t keys_per_split = 0;  ///< The last may have fewer
};
/// Of `rows` segments of one row whose longest sees `keys` keys.
DecodeShares share_out_decode(const AttentionParams& params, int64_t rows, int64_t keys, int sm_count);

/// Bytes of AttentionParams::scratch for calls of at most `rows` rows of `heads` heads.
size_t decode_scratch_bytes(int64_t rows, int64_t heads, int64_t head_dim, int sm_count);

/// o and logsumexp of params.segments, all of one row. Throws Error on launch failure.
void attention_decode(const AttentionParams& params, int64_t rows, const DecodeShares& shares,
                      int64_t head_dim, cudaStream_t stream);

}  // namespace seer::cuda
