// The part of the command line that measures.
#pragma once

#include <functional>
#include <string>
#include <vector>

namespace CLI {
class App;
}

namespace seer {

/// Adds `bench`. `action` is set to what a benchmark does; `arguments`, those of this process, start its ranks and outlive it.
void add_bench_commands(CLI::App& app, std::function<int()>& action,
                        const std::vector<std::string>& arguments);

}  // namespace seer
