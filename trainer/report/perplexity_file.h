// eval-ppl.json, as `seer-train eval ppl` writes it.
//
//   {"kind":"perplexity","version":1,"model":"..","gates":"..","data":"..","device":"cuda","block_size":64,
//    "gate_type":"Qavg_Kmaxminavg","gate_form":"key_pieces 4","lengths":[
//      {"length":8192,"windows":16,"dense":{"perplexity":19.24,"prefill_seconds":1.2},"rows":[
//        {"method":"gate","rule":"nz_ratio","value":0.1,"density":0.1003,"perplexity":20.94,"change":0.088,
//         "recall":0.785,"prefill_seconds":0.4,"speedup":3.0,
//         "density_by_head":[[..heads..], ..layers..],"recall_by_head":[[..], ..]}]}]}
//
// A measured value that is null was not measured (the oracle has no prefill time of its own); a rule whose value is null
// has one for every head. Keys this version does not
// know are ignored, so that later ones may say more.
#pragma once

#include <filesystem>

#include "trainer/report/report_data.h"

namespace seer::report {

/// Throws Error naming file and key if anything is missing, of the wrong type or impossible.
Perplexity read_perplexity(const std::filesystem::path& path);

}  // namespace seer::report
