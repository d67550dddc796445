// Ranks as threads: what several processes would do, in one test.
#pragma once

#include <functional>

#include "src/ops/communicator.h"

namespace seer::test {

/// Runs `body(rank, exchange)` on `ranks` threads and waits for all of them. The exchange joins them; the first
/// exception of a body is rethrown, and ends the exchange of the others.
void run_ranks(int ranks, const std::function<void(int rank, const RankExchange& exchange)>& body);

}  // namespace seer::test
