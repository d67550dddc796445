// The part of the command line that uses gates.
#pragma once

#include <functional>

namespace CLI {
class App;
}

namespace seer {

/// Adds `eval`, `calibrate`, `generate` and `report`. `action` is set to what a subcommand does.
void add_eval_commands(CLI::App& app, std::function<int()>& action);

}  // namespace seer
