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
        group_(uniform(threadIdx.x / kGroupThreads - 1)),
        lane_(threadIdx.x % 32),
        row_(threadIdx.x % kGroupThreads / 32 * 16 + lane_ / 4),
        q_address_(shared_address(shared.q[group_])),
        k_address_(shared_address(shared.k)),
        v_address_(shared_address(shared.v)) {}

  __device__ void run() {
    uint32_t q_parity = 0;
    for (Ring<kWorkSlots> slot;; slot.advance()) {
      ptx::mbarrier_wait(shared_.work_full[slot.index], slot.parity);
      if (uniform(shared_.work[slot.index].kv_head) == kNoWork) break;
      const ListItem& item = shared_.work[slot.index].items[group_];
      uint32_t q[kHeadDim / 4] = {};
      if (uniform(item.count) > 0) {
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
    // One lane reads for all, the one that lets go of the stage.
    Step step{kNoStep, 0};
    if (lane_ == 0) step = shared_.steps[stage];
    return {uniform(step.key_row), static_cast<uint32_t>(uniform(static_cast<int>(step.flags)))};
  }

  /// The item's rows: scores, weights and o never leave the registers. Steps that the item keeps come in runs, as far
  /// apart as kReach; only inside of a run is anything queued, or a stage held, beyond its step.
  __device__ void compute(const ListItem& item, const uint32_t (&q)[kHeadDim / 4]) {
    const uint32_t mine = Step::used_by(group_);
    // A tile is masked where some row does not see it whole.
    const int first_seen = uniform(item.key_row + item.position);
    const int ahead = first_seen + row_;
    float even[kListScores], odd[kListScores];  // a run's scores, in turn
    float o[kOutputs];
    uint32_t p[kListScores / 2];
    Softmax softmax(p_.scale_log2);
#pragma unroll
    for (float& x : o) x = 0.0F;

    int stage;
    Step step = take(stage);
    int before;  // the stage of the step whose weights are in p
    const auto run_goes_on = [&] { return step.next_used(group_) != 0; };
    // To the run's next step, past those of others.
    const auto advance = [&] {
      for (int distance = step.next_used(group_);; --distance) {
        step = take(stage);
        if (distance == 1) break;
        release(shared_.empty[stage]);
      }
    };
    // The scores of the keys at `key_row` become weights. True: o must be multiplied by softmax.alpha.
    const auto weigh = [&](float(&s)[kListScores], int key_row) {
      if (key_row + kListKeys - 1 > first_seen) mask_causal(s, ahead - key_row);
      const bool raised = softmax.raise(PieceMaxima<1>(s));
      softmax.exponentiate(s);
      return raised;
    };
    const auto round_weights = [&](const float(&s)[kListScores]) {
#pragma unroll
      for (int i = 0; i < kListScores / 2; ++i) p[i] = pack_bf16(s[2 * i], s[2 * i + 1]);
    };
    const auto scale_output = [&] {
#pragma unroll
      for (int i = 0; i < kOutputs; ++i) o[i] *= softmax.alpha[i / 2 % 2];
    };

    // The parts of a run are written out apart: ptxas serialises products that are queued on a condition, and wants p
    // written while none is on its way.
    const auto begin = [&] {
      queue_scores<kHeadDim, kListKeys>(even, q, k_matrix(stage));
      const int key_row = step.key_row;
      before = stage;
      if (!run_goes_on()) {
        ptx::wgmma_wait<0>(even);
        if (weigh(even, key_row)) scale_output();
        round_weights(even);
        return;
      }
      advance();
      queue_scores<kHeadDim, kListKeys>(odd, q, k_matrix(stage));
      ptx::wgmma_wait<1>(even);
      if (weigh(even, key_row)) scale_output();
      ptx::wgmma_wait<0>(odd);
      round_weights(even);
    };
    // This step's scores are in `s`; the next one's are computed into `next_s`.
    const auto go_on = [&](float(&s)[kListScores], float(&next_s)[kListScores]) {
      const int key_row = step.key_row;
      const int current = stage;
      queue_output<kHeadDim, kListKeys>(o, p, v_matrix(before));
      advance();
      queue_scores<kHeadDim, kListKeys>(next_s, q, k_matrix(stage));
      const bool raised = weigh(s, key_row);
      softmax.before_wait();
      ptx::wgmma_wait<0>(o);
      ptx::wgmma_wait<0>(next_s);
      if (raised) scale_output();
      release(shared_.empty[before]);
      round_weights(s);
      before = current;
    };
    const auto end = [&](float(&s)[kListScores]) {
      queue_output<kHeadDim, kListKeys>(o, p, v_matrix(before));
      const bool raised = weigh(s, step.key_row);
      softmax.before_wait();
      ptx::wgmma_wait<0>(o);
      if (raised) scale_output();
      release(shared_.empty[before]);
      round_weights(s);
    };

    for (;; step = take(stage)) {
      if ((step.flags & mine) != 0) {
        const bool alone = !run_goes_on();
        begin();
        while (!alone) {
          if (!run_goes_on()) {
            end(odd);
            break;
          }
          go_on(odd, even);
          if (!run_goes_on()) {
            end(even);
            break;
          }
          go_on(even, odd);
        }
        queue_output<kHeadDim, kListKeys>(o, p, v_matrix(stage));
        ptx::wgmma_wait<0>(o);
      }
      release(shared_.empty[stage]);
      if ((step.flags & Step::kLast) != 0) break;
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
