#include "trainer/ranks.h"

namespace seer {
namespace {

class PlannedCommunicator final : public Communicator {
 public:
  PlannedCommunicator(int rank, int size) : rank_(rank), size_(size) {}

  int rank() const override { return rank_; }
  int size() const override { return size_; }
  std::string name() const override { return "planned"; }
  void all_gather(Queue&, ConstTensor mine, Tensor all) override { check_all_gather(*this, mine, all); }
  void all_to_all(Queue&, ConstTensor from, Tensor to) override { check_all_to_all(*this, from, to); }
  void broadcast(Queue&, Tensor, int) override {}
  void abort() noexcept override {}
  std::unique_ptr<Communicator> split(int, int, int) override { fail("a planned group is not split"); }

 private:
  int rank_;
  int size_;
};

}  // namespace

void RankGroups::abort() const noexcept {
  for (Communicator* group : {shard.get(), context_reversed.get(), context.get(), world.get()}) {
    if (group != nullptr) group->abort();
  }
}

/// The first exchange of a kind connects the ranks and takes memory: now, not in the first step.
void RankGroups::warm_up(Backend& backend) const {
  constexpr int64_t kBytes = 256;
  const Buffer from = backend.allocate(place.size * kBytes, Memory::kDevice);
  const Buffer to = backend.allocate(place.size * kBytes, Memory::kDevice);
  for (Communicator* group : {world.get(), context.get(), context_reversed.get(), shard.get()}) {
    if (group == nullptr) continue;
    const Shape rows{group->size(), kBytes};
    const Tensor source = from.tensor(DType::kU8, rows);
    group->all_gather(*exchange, source.slice_rows(0, 1), to.tensor(DType::kU8, rows));
    if (group != world.get()) continue;
    group->all_to_all(*exchange, source, to.tensor(DType::kU8, rows));
    group->broadcast(*exchange, source, 0);
  }
  backend.synchronize(*exchange);
}

RankGroups RankGroups::split(Backend& backend, std::shared_ptr<Communicator> world, int context, int shard) {
  RankGroups groups;
  groups.place = {.rank = world->rank(), .size = world->size(), .context = context, .shard = shard};
  const RankPlace& place = groups.place;
  SEER_CHECK(context > 0 && place.size % context == 0 && shard > 0 && place.size % shard == 0,
             "{} ranks by context {} and shard {}", place.size, context, shard);
  groups.exchange = backend.make_queue("exchange");
  if (context > 1) {
    groups.context = world->split(place.data_rank(), place.rank, 0);
    groups.context_reversed = world->split(place.data_rank(), -place.rank, 0);
  }
  if (shard > 1) groups.shard = world->split(place.rank / shard, place.rank, kShardSms);
  groups.world = std::move(world);
  groups.warm_up(backend);
  return groups;
}

RankGroups RankGroups::planned(Backend& plan, const RankPlace& place) {
  const auto group = [](int rank, int size) -> std::unique_ptr<Communicator> {
    if (size == 1) return nullptr;
    return std::make_unique<PlannedCommunicator>(rank, size);
  };
  RankGroups groups;
  groups.place = place;
  groups.exchange = plan.make_queue("exchange");
  groups.world = group(place.rank, place.size);
  groups.context = group(place.context_rank(), place.context);
  groups.context_reversed = group(place.context - 1 - place.context_rank(), place.context);
  groups.shard = group(place.shard_rank(), place.shard);
  return groups;
}

}  // namespace seer
