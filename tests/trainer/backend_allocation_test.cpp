// A session takes from its backend what was planned, all of it at its start: steps and evaluations take nothing.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include "src/ops/forwarding_backend.h"
#include "tests/support/backends.h"
#include "tests/trainer/session_runs.h"
#include "trainer/plan_backend.h"

namespace seer::test {
namespace {

struct Taken {
  size_t device = 0;  ///< Bytes
  size_t pinned = 0;
  int objects = 0;  ///< Buffers, queues and events

  bool operator==(const Taken&) const = default;
};

void PrintTo(const Taken& taken, std::ostream* out) {  // NOLINT(readability-identifier-naming)
  *out << taken.device << " B on the device, " << taken.pinned << " B pinned, " << taken.objects
       << " objects";
}

/// Counts what is taken from the backend behind it.
class CountingBackend final : public ForwardingBackend {
 public:
  using ForwardingBackend::ForwardingBackend;

  Buffer allocate(size_t bytes, Memory memory) override {
    (memory == Memory::kDevice ? taken_.device : taken_.pinned) += bytes;
    ++taken_.objects;
    return real().allocate(bytes, memory);
  }
  std::unique_ptr<Queue> make_queue(const std::string& name) override {
    ++taken_.objects;
    return real().make_queue(name);
  }
  std::unique_ptr<Event> make_event() override {
    ++taken_.objects;
    return real().make_event();
  }

  const Taken& taken() const { return taken_; }

 private:
  Taken taken_;
};

struct Placed {
  bool stream = false;
  ResidualPlace residuals = ResidualPlace::kDevice;
  bool packed = false;
};

std::string label(const Placed& placed) {
  return fmt::format("{}Weights{}Residuals{}", placed.stream ? "Streamed" : "Resident",
                     placed.residuals == ResidualPlace::kHost ? "Host" : "Device",
                     placed.packed ? "Packed" : "");
}

void PrintTo(const Placed& placed, std::ostream* out) {  // NOLINT(readability-identifier-naming)
  *out << label(placed);
}

class BackendAllocation : public testing::TestWithParam<Placed> {};

INSTANTIATE_TEST_SUITE_P(, BackendAllocation,
                         testing::Values(Placed{}, Placed{.packed = true},
                                         Placed{.residuals = ResidualPlace::kHost}, Placed{.stream = true},
                                         Placed{.stream = true, .residuals = ResidualPlace::kHost}),
                         [](const auto& tested) { return label(tested.param); });

TEST_P(BackendAllocation, TakesWhatIsPlannedAndNothingAfterwards) {
  const auto [stream, residuals, packed] = GetParam();
  const TempDir folder;
  write_tiny_model(folder.path(), {.layers = 4});
  SessionOptions options = options_for(three_gates(), /*batch=*/4);
  options.packed = packed;
  options.residuals = residuals;
  const auto real = backend_with_own_memory();
  CountingBackend backend(*real);
  const auto queue = backend.make_queue("load");
  const ModelConfig model = load_model_config(folder.path());
  const WeightOptions where{.stream = stream, .head = false};
  FrozenWeights weights(backend, *queue, model, folder.path(), where);
  const Taken before = backend.taken();
  Session session(backend, model, weights, options);
  const Taken after = backend.taken();

  PlanBackend plan(*real);
  const ModelFiles files(folder.path());
  FrozenWeights shapes = FrozenWeights::shapes(model, plan, &files, where);
  const Session planned(plan, model, shapes, options);
  EXPECT_EQ(after.device - before.device, plan.device_bytes());
  EXPECT_EQ(after.pinned - before.pinned, plan.pinned_bytes());

  for (GateTraining& gate : session.gates()) {
    gate.params().init_normal(backend, session.queue(), 7, model.initializer_range);
  }
  const Taken ready = backend.taken();
  for (int64_t step = 0; step < 3; ++step) {
    const int64_t length = kRaggedLength - 40 * step;
    std::vector<TokenSequence> sequences;
    for (uint64_t m = 0; m < 4; ++m) {
      const std::vector<int64_t> pack{100, 96, length - 196};
      sequences.push_back(random_pack(m, packed ? pack : std::vector<int64_t>{length}));
    }
    session.start_step(step, sequences);
    session.upload_ahead(sequences);
    session.finish_step();
    EXPECT_EQ(backend.taken(), ready) << "in step " << step;
    session.evaluate(sequences, step);
    EXPECT_EQ(backend.taken(), ready) << "in the evaluation after step " << step;
  }
}

}  // namespace
}  // namespace seer::test
