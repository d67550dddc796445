#include "trainer/run_ranks.h"

#include <chrono>
#include <csignal>
#include <cstdlib>
#include <sstream>
#include <thread>
#include <vector>

#include <fmt/ranges.h>
#include <nlohmann/json.hpp>

#include "src/core/log.h"
#include "src/cpu/gloo_communicator.h"
#ifdef SEER_HAVE_CUDA
#include "cuda/cuda_backend.h"
#include "cuda/nccl_communicator.h"
#endif

namespace seer {
namespace {

using std::chrono::milliseconds;

milliseconds timeout_of(const RunConfig& config) {
  return milliseconds(static_cast<int64_t>(1000 * config.parallel.timeout));
}

/// The GPU of this rank: what our launcher said, else its number among the ranks of its machine.
void choose_gpu(const RankInfo& info) {
  const char* chosen = std::getenv("SEER_GPU");
  const int ordinal = chosen != nullptr ? std::atoi(chosen) : std::max(info.local_rank, 0);
  ::setenv("CUDA_VISIBLE_DEVICES", visible_gpu(std::getenv("CUDA_VISIBLE_DEVICES"), ordinal).c_str(), 1);
}

/// Where this rank computes, in words that no other rank may say: empty for a CPU, which ranks may share.
std::string device_id([[maybe_unused]] const RunConfig& config) {
#ifdef SEER_HAVE_CUDA
  if (config.device == "cuda") return fmt::format("GPU {} of {}", cuda_device_id(), host_name());
#endif
  return {};
}

}  // namespace

RankPlace place_of(const RunConfig& config, int rank, int size) {
  const auto context = static_cast<int>(config.parallel.context);
  const int shard =
      config.parallel.shard_weights == 0 ? size : static_cast<int>(config.parallel.shard_weights);
  const auto check_divides = [&](const char* key, int value) {
    if (size % value == 0) return;
    fail_usage(
        "{} is {}, which does not divide {} ranks: start a multiple of it (--gpus, --ranks, or a launcher)",
        key, value, size);
  };
  check_divides("parallel.context", context);
  check_divides("parallel.shard_weights", shard);
  const RankPlace place{.rank = rank, .size = size, .context = context, .shard = shard};
  if (config.train.batch_size % place.data_size() != 0) {
    fail_usage(
        "train.batch_size is {}, expected a multiple of {}: {} ranks, {} for each sequence; raise it, start "
        "fewer "
        "ranks, or raise parallel.context",
        config.train.batch_size, place.data_size(), size, context);
  }
  return place;
}

std::string visible_gpu(const char* visible, int ordinal) {
  if (visible == nullptr) return std::to_string(ordinal);
  std::vector<std::string> list;
  std::istringstream stream(visible);
  for (std::string item; std::getline(stream, item, ',');) list.push_back(item);
  if (list.size() == 1) return list[0];
  if (static_cast<size_t>(ordinal) >= list.size()) {
    fail_usage(
        "this rank wants GPU {} of those in CUDA_VISIBLE_DEVICES=\"{}\": start at most one rank for each",
        ordinal, visible);
  }
  return list[ordinal];
}

RunRanks::RunRanks(const RunConfig& config) : config_(config), info_(read_launch_env(current_environment())) {
  place_ = place_of(config, info_.rank, info_.size);
  if (info_.alone()) {
    if (config.device == "cuda" && std::getenv("SEER_GPU") != nullptr) choose_gpu(info_);
    return;
  }
  // Gloo writes to connections that a lost rank has closed: that is an error to report, not this rank's end.
  std::signal(SIGPIPE, SIG_IGN);
  if (!is_head()) log::set_level(log::Level::kWarn);
  control_ = rendezvous(info_, current_environment(),
                        {.run_folder = config.output.dir,
                         .join_timeout = timeout_of(config),
                         .timeout = timeout_of(config),
                         .on_failure = end_as_peer_lost});
  if (config.device == "cuda") choose_gpu(info_);
}

RunRanks::~RunRanks() = default;

void RunRanks::connect(Backend& backend) {
  if (alone()) return;
  const RankExchange exchange = [this](std::string_view mine) { return control_->exchange(mine); };
  const std::vector<std::string> devices = exchange(device_id(config_));
  for (int r = 0; r < info_.size; ++r) {
    if (r == info_.rank || devices[r].empty() || devices[r] != devices[info_.rank]) continue;
    fail(
        "ranks {} and {} both compute on {}: give every rank a GPU of its own (srun --gpus-per-task=1, or as "
        "many "
        "ranks on a machine as it has GPUs)",
        std::min(r, info_.rank), std::max(r, info_.rank), devices[r]);
  }
  std::unique_ptr<Communicator> world;
#ifdef SEER_HAVE_CUDA
  if (config_.device == "cuda") {
    const auto on_failure = [this](const std::string& what) {
      // Where a peer died, the control plane knows which one and says it first.
      std::this_thread::sleep_for(std::chrono::seconds(3));
      control_->abort(what);
      end_as_peer_lost(fmt::format("rank {}: {}", info_.rank, what));
    };
    world = make_nccl_communicator({.rank = info_.rank,
                                    .size = info_.size,
                                    .sms = kReduceSms,
                                    .timeout = timeout_of(config_),
                                    .on_failure = on_failure},
                                   exchange);
  }
#endif
  if (world == nullptr) {
    world = make_gloo_communicator({.rank = info_.rank,
                                    .size = info_.size,
                                    .host = control_->local_address(),
                                    .timeout = timeout_of(config_)},
                                   exchange);
  }
  log::info("{} ranks on {} machine{} ({}) over {}: {} data x {} context, weights shared by {}", info_.size,
            info_.nodes, info_.nodes == 1 ? "" : "s", info_.source, world->name(), place_.data_size(),
            place_.context, place_.shard);
  groups_ = RankGroups::split(backend, std::move(world), place_.context, place_.shard);
  ready_ = backend.make_event();
  arrived_ = backend.make_event();
}

void RunRanks::compare(const std::map<std::string, std::string>& facts) {
  if (alone()) return;
  using Facts = std::map<std::string, std::string>;
  // Names of files need not be UTF-8.
  const std::vector<std::string> all = control_->exchange(
      nlohmann::json(facts).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace));
  const auto parse = [](const std::string& text) { return nlohmann::json::parse(text).get<Facts>(); };
  for (int r = 1; r < info_.size; ++r) {
    if (all[r] == all[0]) continue;
    Facts head = parse(all[0]);
    Facts other = parse(all[r]);
    for (const auto& [key, value] : head) other.try_emplace(key, "absent");
    for (const auto& [key, value] : other) {
      const auto here = head.try_emplace(key, "absent").first;
      if (here->second == value) continue;
      fail("the ranks were not started alike: {} is {} on rank 0 and {} on rank {}", key, here->second, value,
           r);
    }
  }
}

std::vector<std::string> RunRanks::exchange(const std::string& mine) const {
  if (alone()) return {mine};
  return control_->exchange(mine);
}

bool RunRanks::any(bool mine) {
  return sum({mine ? 1 : 0})[0] > 0;
}

std::vector<int64_t> RunRanks::sum(const std::vector<int64_t>& mine) {
  if (alone()) return mine;
  std::vector<int64_t> total(mine.size());
  for (const std::string& said : exchange(fmt::format("{}", fmt::join(mine, " ")))) {
    std::istringstream numbers(said);
    for (int64_t& sum : total) {
      int64_t number = 0;
      numbers >> number;
      sum += number;
    }
  }
  return total;
}

std::string RunRanks::from(int rank, const std::string& mine) {
  return exchange(info_.rank == rank ? mine : std::string())[rank];
}

size_t RunRanks::least(size_t mine) const {
  size_t least = mine;
  for (const std::string& said : exchange(std::to_string(mine)))
    least = std::min<size_t>(least, std::stoull(said));
  return least;
}

void RunRanks::broadcast(Backend& backend, Queue& queue, Tensor x) {
  if (alone()) return;
  backend.record(queue, *ready_);
  backend.wait(*groups_.exchange, *ready_);
  groups_.world->broadcast(*groups_.exchange, x, 0);
  backend.record(*groups_.exchange, *arrived_);
  backend.wait(queue, *arrived_);
}

void RunRanks::leave() {
  if (!alone()) control_->leave();
}

void RunRanks::abort(const std::exception& error) noexcept {
  if (alone() || aborted_) return;
  aborted_ = true;
  // A failed exchange is most often another rank's end: the control plane is about to say whose.
  const auto* ours = dynamic_cast<const Error*>(&error);
  if (ours != nullptr && ours->kind() == ErrorKind::kPeer)
    std::this_thread::sleep_for(std::chrono::seconds(3));
  control_->abort(error.what());
  groups_.abort();
}

}  // namespace seer
