#include "src/cpu/gloo_communicator.h"

#include <algorithm>
#include <map>
#include <utility>

#include <gloo/allgather.h>
#include <gloo/alltoall.h>
#include <gloo/broadcast.h>
#include <gloo/rendezvous/context.h>
#include <gloo/transport/tcp/device.h>

#include "src/core/error.h"
#include "src/cpu/cpu_queue.h"

namespace seer {
namespace {

using cpu::CpuQueue;

/// Gloo asks for a key-value store: every rank sets one key, then reads those of all others. That is one exchange.
class ExchangeStore final : public gloo::rendezvous::Store {
 public:
  ExchangeStore(const RankExchange& exchange, std::string group)
      : exchange_(exchange), group_(std::move(group)) {}

  void set(const std::string& key, const std::vector<char>& data) override {
    // Ranks of other groups are part of the exchange: the group's name keeps their keys apart.
    const std::string name = group_ + "/" + key;
    const std::string mine = name + '\0' + std::string(data.begin(), data.end());
    for (const std::string& said : exchange_(mine)) {
      const size_t end = said.find('\0');
      values_[said.substr(0, end)] =
          std::vector<char>(said.begin() + static_cast<int64_t>(end) + 1, said.end());
    }
  }
  std::vector<char> get(const std::string& key) override {
    const auto found = values_.find(group_ + "/" + key);
    if (found == values_.end()) fail("rank {} of group {} has not said where it is", key, group_);
    return found->second;
  }
  void wait(const std::vector<std::string>& keys) override {
    for (const std::string& key : keys) get(key);
  }
  void wait(const std::vector<std::string>& keys, const std::chrono::milliseconds&) override { wait(keys); }

 private:
  const RankExchange& exchange_;
  std::string group_;
  std::map<std::string, std::vector<char>> values_;
};

class GlooCommunicator final : public Communicator {
 public:
  GlooCommunicator(const GlooOptions& options, RankExchange exchange,
                   std::shared_ptr<gloo::transport::Device> device, const std::string& group)
      : options_(options), exchange_(std::move(exchange)), device_(std::move(device)) {
    auto context = std::make_shared<gloo::rendezvous::Context>(options_.rank, options_.size);
    context->setTimeout(options_.timeout);
    ExchangeStore store(exchange_, group);
    connect([&] { context->connectFullMesh(store, device_); });
    context_ = context;
  }

  int rank() const override { return options_.rank; }
  int size() const override { return options_.size; }
  std::string name() const override { return "Gloo (TCP)"; }

  void all_gather(Queue& queue, ConstTensor mine, Tensor all) override {
    check_all_gather(*this, mine, all);
    on(queue, "all_gather", [=, this] {
      const size_t bytes = bytes_of(mine);
      auto* to = static_cast<char*>(all.raw());
      gloo::AllgatherOptions collective(context_);
      // Without an input it takes this rank's part of the output.
      if (mine.raw() != to + rank() * bytes)
        collective.setInput(const_cast<char*>(static_cast<const char*>(mine.raw())), bytes);
      collective.setOutput(to, bytes_of(all));
      gloo::allgather(collective);
    });
  }

  void all_to_all(Queue& queue, ConstTensor from, Tensor to) override {
    check_all_to_all(*this, from, to);
    on(queue, "all_to_all", [=, this] {
      gloo::AlltoallOptions collective(context_);
      collective.setInput(const_cast<char*>(static_cast<const char*>(from.raw())), bytes_of(from));
      collective.setOutput(static_cast<char*>(to.raw()), bytes_of(to));
      gloo::alltoall(collective);
    });
  }

  void broadcast(Queue& queue, Tensor x, int root) override {
    SEER_CHECK(x.contiguous(), "broadcast of a strided tensor");
    on(queue, "broadcast", [=, this] {
      gloo::BroadcastOptions collective(context_);
      collective.setOutput(static_cast<char*>(x.raw()), bytes_of(x));
      collective.setRoot(root);
      gloo::broadcast(collective);
    });
  }

  /// A rank that is lost closes its connections, and what waits for it fails.
  void abort() noexcept override {}

  std::unique_ptr<Communicator> split(int colour, int key, int /*sms*/) override {
    struct Member {
      int colour, key, rank;
    };
    std::vector<Member> group;
    int at = 0;
    for (const std::string& said : exchange_(fmt::format("{} {} {}", colour, key, rank()))) {
      Member member{};
      const int read = std::sscanf(said.c_str(), "%d %d %d", &member.colour, &member.key, &member.rank);
      SEER_CHECK(read == 3, "a split with \"{}\"", said);
      if (member.colour == colour) group.push_back(member);
    }
    std::sort(group.begin(), group.end(), [](const Member& a, const Member& b) {
      return std::pair(a.key, a.rank) < std::pair(b.key, b.rank);
    });
    while (group[at].rank != rank()) ++at;
    GlooOptions options = options_;
    options.rank = at;
    options.size = static_cast<int>(group.size());
    return std::make_unique<GlooCommunicator>(options, exchange_, device_, fmt::format("group {}", colour));
  }

 private:
  static size_t bytes_of(ConstTensor x) { return x.numel() * size_of(x.dtype()); }

  template <typename Body>
  static void connect(const Body& body) {
    try {
      body();
    } catch (const gloo::Exception& e) {
      throw Error(fmt::format("the ranks cannot reach each other: {}", e.what()), ErrorKind::kPeer);
    }
  }

  template <typename Body>
  void on(Queue& queue, const char* what, const Body& body) {
    static_cast<CpuQueue&>(queue).push([=] {
      try {
        body();
      } catch (const gloo::Exception& e) {
        throw Error(fmt::format("{} between the ranks failed: {}", what, e.what()), ErrorKind::kPeer);
      }
    });
  }

  const GlooOptions options_;
  const RankExchange exchange_;
  std::shared_ptr<gloo::transport::Device> device_;
  std::shared_ptr<gloo::Context> context_;
};

}  // namespace

std::unique_ptr<Communicator> make_gloo_communicator(const GlooOptions& options, RankExchange exchange) {
  gloo::transport::tcp::attr attributes;
  attributes.hostname = options.host;
  std::shared_ptr<gloo::transport::Device> device;
  try {
    device = gloo::transport::tcp::CreateDevice(attributes);
  } catch (const std::exception& e) {
    fail("Gloo cannot listen on {}: {}", options.host, e.what());
  }
  return std::make_unique<GlooCommunicator>(options, std::move(exchange), std::move(device), "all");
}

}  // namespace seer
