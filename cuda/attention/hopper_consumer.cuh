// What a consumer warp group of the Hopper attention kernel does: 64 query rows against all their keys.
// hopper.cu has the overview.
#pragma once

#include "cuda/attention/hopper_roles.cuh"
#include "cuda/attention/hopper_softmax.cuh"
#include "cuda/attention/hopper_tile.cuh"

namespace seer::cuda::hopper {

enum NamedBarrier {
  kScratch = 1,    ///< One for each consumer: its scratch rows are written, or read
  kScratchAll = 3  ///< The same for both
};

template <int kHeadDim, int kBlockSize, bool kOutput>
class Consumer {
  using Shared = Shared<kHeadDim>;
  static constexpr int kPieces = kBlockSize == 0 ? 1 : kKeyTile / kBlockSize;
  static constexpr int kQueries = kHeadDim / 4;  ///< Registers of q: bf16 pairs of 64 rows over 128 threads
  static constexpr int kOutputs = kConsumerRows * kHeadDim / kGroupThreads;
  using Maxima = PieceMaxima<kPieces>;

 public:
  __device__ Consumer(Shared& shared, const AttentionParams& params)
      : shared_(shared),
        p_(params),
        group_(threadIdx.x / kGroupThreads - 1),
        warp_(threadIdx.x % kGroupThreads / 32),
        lane_(threadIdx.x % 32),
        row_(group_ * kConsumerRows + warp_ * 16 + lane_ / 4),
        q_address_(shared_address(shared.q)),
        k_address_(shared_address(shared.k)),
        v_address_(shared_address(shared.v)) {
    if constexpr (kBlockSize > 0) {
      scratch_ = p_.scratch + blockIdx.x * p_.scratch_blocks * kQueryTile;
      lane_scratch_ = scratch_ + Maxima::lane_first_piece() * kQueryTile + row_ + 8 * Maxima::lane_row();
      asm volatile("" : "+l"(lane_scratch_));  // or the compiler recomputes it for every tile
    }
  }

  __device__ void run() {
    uint32_t q_parity = 0;
    for (Ring<kWorkSlots> slot;; slot.advance()) {
      ptx::mbarrier_wait(shared_.work_full[slot.index], slot.parity);
      const Work& work = shared_.work[slot.index];
      if (work.head == kNoWork) break;
      uint32_t q[kQueries];
      ptx::mbarrier_wait(shared_.q_full, q_parity);
      q_parity ^= 1;
      load_queries<kHeadDim, kQueryTile>(q, q_address_, group_ * kConsumerRows);
      release(shared_.q_empty);
      compute(work, q);
      ptx::mbarrier_arrive(shared_.work_empty[slot.index]);
    }
  }

 private:
  __device__ void release(uint64_t& empty) {
    __syncwarp();
    if (lane_ == 0) ptx::mbarrier_arrive(empty);
  }

  /// The tile's rows: s, p and o never leave the registers.
  __device__ void compute(const Work& work, const uint32_t (&q)[kQueries]) {
    const int key_tiles = work.key_tiles;
    const int visible_blocks = kBlockSize == 0 ? 0 : (work.position + work.rows - 1) / max(kBlockSize, 1) + 1;
    // How far this lane's first row is ahead of the tile's first key; tiles that some row of the group does
    // not see whole are masked.
    const int ahead = work.position + row_;
    const int first_masked = (work.position + group_ * kConsumerRows + 1) / kKeyTile;
    float s[kScores];
    float o[kOutputs];
    uint32_t p[kScores / 2];
    Softmax softmax(p_.scale_log2);
#pragma unroll
    for (float& x : o) x = 0.0F;

    bool k_ready = false;  // asked for early: the answer takes 50 cycles
    // The tile whose scores are in s: mask, maxima, p in place. True: o must be multiplied by softmax.alpha.
    const auto weigh = [&](int tile) {
      release(shared_.k_empty[k_stage_.index]);
      k_stage_.advance();
      if (tile >= first_masked) mask_causal(s, ahead - tile * kKeyTile);
      const Maxima maxima(s);
      if constexpr (kBlockSize > 0) store_maxima(maxima, tile, visible_blocks - Maxima::lane_first_piece());
      const bool raised = softmax.raise(maxima);
      k_ready = ptx::mbarrier_test(shared_.k_full[k_stage_.index], k_stage_.parity);  // the next tile's
      softmax.exponentiate(s);
      return raised;
    };
    const auto round_weights = [&] {
#pragma unroll
      for (int i = 0; i < kScores / 2; ++i) p[i] = pack_bf16(s[2 * i], s[2 * i + 1]);
    };

    ptx::mbarrier_wait(shared_.k_full[k_stage_.index], k_stage_.parity);
    queue_scores<kHeadDim, kKeyTile>(s, q, k_matrix());
    ptx::wgmma_wait<0>(s);
    weigh(0);
    if constexpr (kOutput) round_weights();

    for (int tile = 1; tile < key_tiles; ++tile) {
      if (!k_ready) ptx::mbarrier_wait(shared_.k_full[k_stage_.index], k_stage_.parity);
      queue_scores<kHeadDim, kKeyTile>(s, q, k_matrix());
      if constexpr (kOutput) {
        ptx::mbarrier_wait(shared_.v_full[v_stage_.index], v_stage_.parity);
        queue_output<kHeadDim, kKeyTile>(o, p, v_matrix());
      }
      ptx::wgmma_wait<kOutput ? 1 : 0>(s);
      const bool raised = weigh(tile);
      if constexpr (kOutput) {
        softmax.before_wait();
        ptx::wgmma_wait<0>(o);
        if (raised) {
#pragma unroll
          for (int i = 0; i < kOutputs; ++i) o[i] *= softmax.alpha[i / 2 % 2];
        }
        release(shared_.v_empty[v_stage_.index]);
        v_stage_.advance();
        round_weights();
      }
    }
    if constexpr (kOutput) {
      ptx::mbarrier_wait(shared_.v_full[v_stage_.index], v_stage_.parity);
      queue_output<kHeadDim, kKeyTile>(o, p, v_matrix());
      ptx::wgmma_wait<0>(o);
      release(shared_.v_empty[v_stage_.index]);
      v_stage_.advance();
    }
    softmax.finish();
    if constexpr (kOutput) {
      const float inverse[2] = {1.0F / softmax.sum[0], 1.0F / softmax.sum[1]};
      store_output<kHeadDim>(
          p_.o + work.query_row * p_.o_stride + static_cast<int64_t>(p_.head_begin + work.head) * kHeadDim,
          p_.o_stride, o, inverse, row_, work.rows);
    }
    finish_rows(work, softmax);
  }

  // The operands in the current stages.
  __device__ ptx::MatrixDescriptor k_matrix() const {
    return {k_address_ + k_stage_.index * Shared::kTileBytes, 0, kGroupBytes};
  }
  __device__ ptx::MatrixDescriptor v_matrix() const {
    return {v_address_ + v_stage_.index * Shared::kTileBytes, kPanelBytes<kKeyTile>, kGroupBytes};
  }

  /// The quad's lanes share the stores: 16 rows, 64 contiguous bytes, for each warp and piece. Blocks that no
  /// row sees have no place in the scratch: only pieces up to `end`, counted from the lane's first, are
  /// stored.
  __device__ void store_maxima(const Maxima& maxima, int tile, int end) {
    float* to = lane_scratch_ + static_cast<int64_t>(tile) * (kPieces * kQueryTile);
#pragma unroll
    for (int i = 0; i < Maxima::kKept; ++i) {
      const bool mine = kPieces > 1 || lane_ % 2 == 0;  // of a single piece both lanes have it
      if (mine && tile * kPieces + i < end) __stcg(to + i * kQueryTile, maxima.values[i]);
    }
  }

  /// Logsumexp, and the block maxima that waited for it.
  __device__ void finish_rows(const Work& work, const Softmax& softmax) {
    if (lane_ % 4 < 2) {
      const int row = row_ + 8 * (lane_ % 4);
      const float logsumexp = lane_ % 4 == 0 ? softmax.logsumexp(0) : softmax.logsumexp(1);
      if constexpr (kBlockSize > 0) shared_.logsumexp[row] = logsumexp;
      if (p_.logsumexp != nullptr && row < work.rows) {
        constexpr float kLn2 = 0.693147180559945F;
        p_.logsumexp[work.head * p_.logsumexp_stride + work.query_row + row] = logsumexp * kLn2;
      }
    }
    if constexpr (kBlockSize > 0) {
      constexpr bool kBoth = kBlockSize > kConsumerRows;  // a query block's rows lie with both consumers
      const auto sync = [this] {
        if constexpr (kBoth) {
          ptx::named_barrier_sync(kScratchAll, kConsumers * kGroupThreads);
        } else {
          ptx::named_barrier_sync(kScratch + group_, kGroupThreads);
        }
      };
      sync();
      if constexpr (kBoth) {
        write_block_maxima<kBlockSize, kConsumerWarps>(scratch_, shared_.logsumexp, work, p_.scale_log2, 0,
                                                       group_ * 4 + warp_);
      } else {
        write_block_maxima<kBlockSize, 4>(scratch_, shared_.logsumexp, work, p_.scale_log2,
                                          group_ * kConsumerRows, warp_);
      }
      sync();  // the next piece writes over scratch and logsumexp
    }
  }

  Shared& shared_;
  const AttentionParams& p_;
  const int group_, warp_, lane_;
  const int row_;  ///< The first of this lane's two rows of the query tile; the other is 8 further on
  const uint32_t q_address_, k_address_, v_address_;  ///< In shared memory
  float* scratch_ = nullptr;                          ///< This thread block's
  float* lane_scratch_ = nullptr;                     ///< Where this lane stores its maxima of the first tile
  Ring<Shared::kStages> k_stage_, v_stage_;
};

}  // namespace seer::cuda::hopper
