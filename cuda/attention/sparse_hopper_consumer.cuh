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
  /// Columns of q in registers, as many as fit, so that shared memory has fewer bytes to read for q k^T.
  static constexpr int kHeldColumns = kHeadDim == 128 ? 48 : 64;
  /// The farthest step on that is waited for while one is held: the next one would lie in its stage.
  static constexpr int kMostHeld = Shared::kStages - 1;
  static_assert(kMostHeld <= Step::kMostAhead);

 public:
  __device__ SparseConsumer(Shared& shared, const SparseParams& params)
      : shared_(shared),
        p_(params),
        group_(uniform(threadIdx.x / kGroupThreads - 1)),
        lane_(threadIdx.x % 32),
        row_(threadIdx.x % kGroupThreads / 32 * 16 + lane_ / 4),
        q_address_(shared_address(shared.q[group_])),
        k_address_(shared_address(shared.k)),
        v_address_(shared_address(shared.v)) {}

  __device__ void run() {
    for (Ring<kWorkSlots> slot;; slot.advance()) {
      ptx::mbarrier_wait(shared_.work_full[slot.index], slot.parity);
      if (uniform(shared_.work[slot.index].kv_head) == kNoWork) break;
      compute(shared_.work[slot.index].items[group_]);
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
  __device__ int next_stage() {
    const int stage = stage_.index;
    ptx::mbarrier_wait(shared_.full[stage], stage_.parity);
    stage_.advance();
    return stage;
  }

  /// From what a stage in hand says: one lane reads for all, the one that lets go of it.
  __device__ int32_t read(const int32_t& shared_value) const {
    int32_t value = 0;  // none is below
    if (lane_ == 0) value = shared_value;
    return uniform(value);
  }

  /// Lets go of the next steps, which others keep.
  __device__ void pass(int steps) {
    for (; steps > 0; --steps) release(shared_.empty[next_stage()]);
  }

  /// From a step that is let go of to the next that the item keeps, past those of others. False: there is none, the
  /// triple's last is let go of.
  __device__ bool seek(int32_t& flags, int& stage) {
    while ((flags & Step::kLast) == 0) {
      pass(Step::ahead_of(group_, flags) - 1);
      stage = next_stage();
      flags = read(shared_.steps[stage].flags);
      if ((flags & Step::used_by(group_)) != 0) return true;
      release(shared_.empty[stage]);
    }
    return false;
  }

  /// The item's rows: scores, weights and o never leave the registers. Where the next step that the item keeps is near,
  /// its q k^T is queued behind this one's p v.
  __device__ void compute(const ListItem& item) {
    float o[kOutputs];
#pragma unroll
    for (float& x : o) x = 0.0F;
    Softmax softmax(p_.scale_log2);

    int stage;
    int32_t flags = 0;  // of the step in hand
    uint32_t q[kHeldColumns / 4] = {};
    const bool queries = uniform(item.count) > 0;  // even if no row sees any key of the list
    if (queries) {
      ptx::mbarrier_wait(shared_.q_full[group_], q_parity_);
      q_parity_ ^= 1;
      load_queries<kHeldColumns, kListRows>(q, q_address_, 0);
    }
    const bool any = seek(flags, stage);
    if (queries && !any) release(shared_.q_empty[group_]);
    if (any) {
      const int ahead = item.key_row + item.position + row_;
      float s[kListScores];
      uint32_t p[kListScores / 2];
      bool ends;
      bool begun = false;
      do {
        queue_scores<kHeadDim, kHeldColumns>(s, q, q_matrix(), k_matrix(stage));
        ptx::wgmma_wait<0>(s);
        bool follows;
        do {
          ends = (flags & Step::ends(group_)) != 0;
          if (ends) release(shared_.q_empty[group_]);
          if ((flags & Step::masked(group_)) != 0) mask_causal(s, ahead - read(shared_.steps[stage].key_row));
          const bool raised = softmax.raise(LaneMaxima(s));
          softmax.exponentiate(s);
#pragma unroll
          for (int i = 0; i < kListScores / 2; ++i) p[i] = pack_bf16(s[2 * i], s[2 * i + 1]);
          if (raised && begun) {
#pragma unroll
            for (int i = 0; i < kOutputs; ++i) o[i] *= softmax.alpha[i / 2 % 2];
          }
          begun = true;
          // p v is written out twice: ptxas serialises products that are waited for in one branch of two.
          const int steps = Step::ahead_of(group_, flags);
          follows = steps > 0 && steps <= kMostHeld;
          if (follows) {
            queue_output<kHeadDim, kListKeys>(o, p, v_matrix(stage));
            const int before = stage;
            pass(steps - 1);
            stage = next_stage();
            queue_scores<kHeadDim, kHeldColumns>(s, q, q_matrix(), k_matrix(stage));
            ptx::wgmma_wait<1>(o);
            release(shared_.empty[before]);
            flags = read(shared_.steps[stage].flags);  // earlier, ptxas has it wait between the products
            ptx::wgmma_wait<0>(s);
          }
        } while (follows);
        queue_output<kHeadDim, kListKeys>(o, p, v_matrix(stage));
        ptx::wgmma_wait<0>(o);
        release(shared_.empty[stage]);
        if (!ends) seek(flags, stage);
      } while (!ends);
    }

    softmax.finish();
    float inverse[2];
#pragma unroll
    for (int row = 0; row < 2; ++row)
      inverse[row] = softmax.sum[row] == 0.0F ? 0.0F : __fdividef(1.0F, softmax.sum[row]);
    store_output<kHeadDim>(p_.o + item.query_row * p_.o_stride + static_cast<int64_t>(item.head) * kHeadDim,
                           p_.o_stride, o, inverse, row_, item.rows);

    while ((flags & Step::kLast) == 0) {  // steps of others
      stage = next_stage();
      flags = read(shared_.steps[stage].flags);
      release(shared_.empty[stage]);
    }
  }

  // The operands in shared memory.
  __device__ ptx::MatrixDescriptor q_matrix() const {
    return {q_address_, 0, kGroupBytes};
  }
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
  uint32_t q_parity_ = 0;
  Ring<Shared::kStages> stage_;
};

}  // namespace seer::cuda::hopper
