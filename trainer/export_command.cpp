#include "src/core/error.h"
#include "src/cpu/cpu_backend.h"
#include "src/io/atomic_file.h"
#include "trainer/checkpoint.h"
#include "trainer/commands.h"
#include "trainer/folder_kind.h"
#include "trainer/gates_folder.h"
#include "trainer/run_folder.h"
#include "trainer/summary.h"

namespace seer {
namespace {

namespace fs = std::filesystem;

struct Source {
  RunPaths run;
  fs::path checkpoint;
};

Source find_source(const fs::path& path) {
  Source source{RunPaths{path}, {}};
  if (folder_kind(path) == FolderKind::kRun && source.run.holds_run()) {
    const auto latest = latest_checkpoint(source.run.checkpoints());
    if (!latest) fail("run {} has no checkpoint yet", path.string());
    source.checkpoint = *latest;
    return source;
  }
  if (folder_kind(path) != FolderKind::kCheckpoint) {
    fail("{} is {}: expected a run's folder (output.dir of its config) or one of its checkpoints/step-N",
         path.string(), describe_path(path));
  }
  source.checkpoint = fs::canonical(path);
  source.run = RunPaths{source.checkpoint.parent_path().parent_path()};
  if (!source.run.holds_run()) {
    fail("checkpoint {} lies in no run: expected its config in {}", path.string(),
         source.run.config().string());
  }
  return source;
}

}  // namespace

int export_command(const std::string& path, const std::string& to, const std::string& only) {
  const Source source = find_source(path);
  const RunConfig config = load_run_config(source.run.config());
  const ModelConfig model = parse_model_config(read_text_file(source.run.model_config()),
                                               source.run.model_config().string(), config.model.rope_scaling);
  const TrainerState state = read_trainer_state(source.checkpoint);
  const auto backend = make_cpu_backend({.threads = 1});
  const auto queue = backend->make_queue("export");
  std::vector<GateTraining> gates;
  for (const GateEntryConfig& entry : config.gates)
    gates.emplace_back(*backend, *queue, entry, model, entry.block_size);
  load_checkpoint(source.checkpoint, *backend, *queue, gates);

  bool found = false;
  for (const GateTraining& gate : gates) {
    const GateEntryConfig& entry = gate.entry();
    if (!only.empty() && entry.name != only) continue;
    found = true;
    const fs::path folder = gates.size() == 1 || !only.empty() ? fs::path(to) : fs::path(to) / entry.name;
    std::error_code error;
    if (folder.has_parent_path()) fs::create_directories(folder.parent_path(), error);
    if (error) fail("cannot write {}: {}", folder.string(), error.message());
    write_gates_folder(folder, download_gates(*backend, *queue, gate, export_dtype(entry)), entry, model,
                       config.model.path, training_note(config, entry, state.step, state.tokens));
    fmt::print("gate \"{}\" of step {} written to {}\n", entry.name, state.step, folder.string());
  }
  if (!found) fail_usage("--gate {}: the run has no such entry", only);
  return 0;
}

}  // namespace seer
