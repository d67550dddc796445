// What a data cursor belongs to.
#pragma once

#include <string>
#include <vector>

#include "data/file_list.h"
#include "data/loader_options.h"
#include "data/token_encoder.h"

namespace seer {

/// The options, encoder and files (paths as listed, sizes) that decide which sequences come in which order,
/// in readable form. Threads, prefetching, ranks and the bad-line budget are not part of it.
std::string data_fingerprint(const LoaderOptions& options, const TokenEncoder* encoder,
                             const std::vector<DataFile>& files);

/// Throws an Error that shows what differs if a cursor made under `found` is used under `expected`.
void check_fingerprint(const std::string& found, const std::string& expected);

}  // namespace seer
