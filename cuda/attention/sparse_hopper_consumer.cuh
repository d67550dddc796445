// What a consumer warp group of the Hopper sparse attention kernel does: 64 query rows against the keys of their list.
// sparse_hopper.cu has the overview.
#pragma once

#include "cuda/attention/hopper_softmax.cuh"
#include "cuda/attention/hopper_tile.cuh"
#include "cuda/attention/sparse_hopper_roles.cuh"

namespace seer::cuda::hopper {

template <int kHeadDim>
class SparseConsumer {
  using Shared = SparseShared<kHeadDim>;
  static constexpr int kListScores = kListRows * kListKeys / kGroupThreads;
  static constexpr int kOutputs = kListRows * kHeadDim / kGroupThreads;

 public:
  __device__ SparseConsumer(Shared& shared, const SparseParams& params)
      : shared_(shared),
        p_(params),
        group_(threadIdx.x / kGroupThreads - 1),
        lane_(threadIdx.x % 32),
        row_(threadIdx.x % kGroupThreads / 32 * 16 + lane_ / 4),
        q_address_(shared_address(shared.q[group_])),
        k_address_(shared_address(shared.k)),
        v_address_(shared_address(shared.v)) {}

  __device__ void run() {
    uint32_t q_parity = 0;
    for (Ring<kWorkSlots> slot;; slot.advance()) {
      ptx::mbarrier_wait(shared_.work_full[slot.index], slot.parity);
      if (shared_.work[slot.index].kv_head == kNoWork) break;
      const ListItem& item = shared_.work[slot.index].items[group_];
      uint32_t q[kHeadDim / 4] = {};
      if (item.count > 0) {
        ptx::mbarrier_wait(shared_.q_full[group_], q_parity);
        q_parity ^= 1;
        load_queries<kHeadDim, kListRows>(q, q_address_, 0);
        release(shared_.q_empty[group_]);
      }
      compute(item, q);
      ptx::mbarrier_arrive(shared_.work_empty[slot.index]);
    }
  }

 private:
  /// Once every warp has said so, what the barrier guards may be overwritten.
  __device__ void release(uint64_t& empty) {
    __syncwarp();
    if (lane_ == 0) ptx::mbarrier_arrive(empty);
  }

  /// Waits for the next stage; it is this consumer's until released.
  __device__ Step take(int& stage) {
    stage = stage_.index;
    ptx::mbarrier_wait(shared_.full[stage], stage_.parity);
    stage_.advance();
    return shared_.steps[stage];
  }

  /// The item's rows: s, p and o never leave the registers. Steps that the item keeps come in runs; only inside of a run
  /// is a step's p v left to be computed behind the next step's q k^T, so that nothing is held back while others' steps
  /// go by.
  __device__ void compute(const ListItem& item, const uint32_t (&q)[kHeadDim / 4]) {
    const uint32_t mine = Step::used_by(group_);
    const uint32_t next_mine = Step::next_used_by(group_);
    // A tile is masked where some row does not see it whole.
    const int first_seen = item.key_row + item.position;
    const int ahead = first_seen + row_;
    float s[kListScores];
    float o[kOutputs];
    uint32_t p[kListScores / 2];
    Softmax softmax(p_.scale_log2);
#pragma unroll
    for (float& x : o) x = 0.0F;

    // The scores of the keys at `key_row` become weights. True: o must be multiplied by softmax.alpha.
    const auto weigh = [&](int key_row) {
      if (key_row + kListKeys - 1 > first_seen) mask_causal(s, ahead - key_row);
      const bool raised = softmax.raise(PieceMaxima<1>(s));
      softmax.exponentiate(s);
      return raised;
    };
    const auto round_weights = [&] {
#pragma unroll
      for (int i = 0; i < kListScores / 2; ++i) p[i] = pack_bf16(s[2 * i], s[2 * i + 1]);
    };
    const auto scale_output = [&] {
#pragma unroll
      for (int i = 0; i < kOutputs; ++i) o[i] *= softmax.alpha[i / 2 % 2];
    };

    for (bool last = false; !last;) {
      int stage;
      Step step = take(stage);
      if ((step.flags & mine) != 0) {
        queue_scores<kHeadDim, kListKeys>(s, q, k_matrix(stage));
        ptx::wgmma_wait<0>(s);
        if (weigh(step.key_row)) scale_output();
        round_weights();
        while ((step.flags & next_mine) != 0) {
          const int before = stage;
          step = take(stage);
          queue_scores<kHeadDim, kListKeys>(s, q, k_matrix(stage));
          queue_output<kHeadDim, kListKeys>(o, p, v_matrix(before));
          ptx::wgmma_wait<1>(s);
          if (weigh(step.key_row)) {
            ptx::wgmma_wait<0>(o);
            scale_output();
          }
          ptx::wgmma_wait<0>(o);
          release(shared_.empty[before]);
          round_weights();
        }
        queue_output<kHeadDim, kListKeys>(o, p, v_matrix(stage));
        ptx::wgmma_wait<0>(o);
      }
      release(shared_.empty[stage]);
      last = (step.flags & Step::kLast) != 0;
    }

    softmax.finish();
    float inverse[2];
#pragma unroll
    for (int row = 0; row < 2; ++row)
      inverse[row] = softmax.sum[row] == 0.0F ? 0.0F : 1.0F / softmax.sum[row];
    store_output<kHeadDim>(p_.o + item.query_row * p_.o_stride + static_cast<int64_t>(item.head) * kHeadDim,
                           p_.o_stride, o, inverse, row_, item.rows);
  }

  // The operands in a stage.
  __device__ ptx::MatrixDescriptor k_matrix(int stage) const {
    return {k_address_ + stage * Shared::kTileBytes, 0, kGroupBytes};
  }
  __device__ ptx::MatrixDescriptor v_matrix(int stage) const {
    return {v_address_ + stage * Shared::kTileBytes, kPanelBytes<kListKeys>, kGroupBytes};
  }

  Shared& shared_;
  const SparseParams& p_;
  const int group_, lane_;
  const int row_;  ///< The first of this lane's two rows of the item; the other is 8 further on
  const uint32_t q_address_, k_address_, v_address_;  ///< In shared memory
  Ring<Shared::kStages> stage_;
};

}  // namespace seer::cuda::hopper
