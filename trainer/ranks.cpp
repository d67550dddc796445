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
