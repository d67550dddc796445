#include "src/ops/sequence_gather.h"

namespace seer {

SequenceGather::SequenceGather(Backend& backend, Communicator& ranks, Communicator& reversed, Queue& exchange)
    : ranks_(ranks),
      reversed_(reversed),
      exchange_(exchange),
      ready_(backend.make_event()),
      arrived_(backend.make_event()) {
  SEER_CHECK(reversed.size() == ranks.size() && reversed.rank() == ranks.size() - 1 - ranks.rank(),
             "rank {} of {} and rank {} of {} in reverse", ranks.rank(), ranks.size(), reversed.rank(),
             reversed.size());
}

void SequenceGather::begin(Backend& backend, Queue& queue, ConstTensor own, Tensor whole) {
  const int64_t chunk = own.rows() / 2;
  const int64_t half = ranks_.size() * chunk;
  SEER_CHECK(own.rows() % 2 == 0 && whole.contiguous() && whole.rows() == 2 * half,
             "{} rows of {} from {} ranks", own.rows(), whole.rows(), ranks_.size());
  const Tensor first = whole.slice_rows(0, half);
  const Tensor second = whole.slice_rows(half, half);
  const Tensor own_first = first.slice_rows(ranks_.rank() * chunk, chunk);
  const Tensor own_second = second.slice_rows(reversed_.rank() * chunk, chunk);
  backend.copy(queue, own.slice_rows(0, chunk), own_first);
  backend.copy(queue, own.slice_rows(chunk, chunk), own_second);
  backend.record(queue, *ready_);
  backend.wait(exchange_, *ready_);
  ranks_.all_gather(exchange_, own_first, first);
  reversed_.all_gather(exchange_, own_second, second);
  backend.record(exchange_, *arrived_);
}

void SequenceGather::finish(Backend& backend, Queue& queue) {
  backend.wait(queue, *arrived_);
}

}  // namespace seer
