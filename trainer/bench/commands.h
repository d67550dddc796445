// `bench ..`: each benchmark is one function, and returns the exit code.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace seer {

/// `bench cpu`: the frozen forward, and attention with pooled ground truth, as fractions of Eigen's sgemm
/// measured in the same run; memory of a sweep. Shapes are those of the model's config.json in `model`,
/// weights random.
struct BenchOptions {
  std::string model;  ///< Folder with config.json; empty: seer-small's shape
  int threads = 0;
  int repeats = 5;
};
int bench_cpu_command(const BenchOptions& options);

/// `bench tokenizer --tokenizer T --text FILE`: MB/s of one thread, median of `repeats`.
int bench_tokenizer_command(const std::string& tokenizer, const std::string& text_file, int repeats);

/// What the benches of attention have in common.
struct AttentionBenchOptions {
  std::vector<int64_t> tokens;  ///< Of a sequence
  int64_t num_heads = 32;
  int64_t num_kv_heads = 8;
  int64_t head_dim = 128;
  int64_t block_size = 64;
  bool portable = false;  ///< Our portable kernel where the Hopper one would run
  int repeats = 10;
  std::string json;  ///< File; empty: the table alone
};

/// `bench attention`: our attention on one GPU, with the target T and without parts of it, beside cuDNN's dense attention on
/// the same tensors in turn with it.
struct BenchAttentionOptions : AttentionBenchOptions {
  BenchAttentionOptions() : AttentionBenchOptions{.tokens = {8192, 32768, 65536, 131072}} {}
};
int bench_attention_command(const BenchAttentionOptions& options);

/// `bench sparse`: block-sparse attention on one GPU at some densities, blocks kept at random by each head or by the heads
/// of a group together, beside dense attention, cuDNN's and the floors; and what a gate costs. With a model, gates and text:
/// q, k and v of the text in the model's layers, and the blocks that its gates keep as well; no `tokens`: the model's context.
struct BenchSparseOptions : AttentionBenchOptions {
  BenchSparseOptions() : AttentionBenchOptions{.tokens = {32768, 65536, 131072}} {}

  std::vector<double> densities = {0.1, 0.3, 0.5};
  std::string model;            ///< Folder; empty: random lists. Heads and blocks are then not those above
  std::string gates;            ///< Folder, of that model
  std::string data;             ///< File of text or ids
  std::vector<int64_t> layers;  ///< Of that model; empty: all
  int64_t layers_at_once = 1;   ///< Measured as the heads of one; divides their number
};
int bench_sparse_command(const BenchSparseOptions& options);

/// `bench decode`: one token of generation with a KV cache on one GPU: its attention alone, beside cuDNN's and the copy
/// bandwidth, and all of it, beside the time its bytes take. Weights and cache are random. Takes as much memory as a prefill of
/// the longest, and its cache.
struct BenchDecodeOptions {
  std::string model_config;  ///< config.json, or a folder that holds one; empty: Llama-3.1-8B's
  std::vector<int64_t> tokens = {8192, 32768, 131072};  ///< In the cache, the new one included
  int repeats = 10;
  std::string json;
};
int bench_decode_command(const BenchDecodeOptions& options);

/// `bench gemm`: cuBLASLt at its best on a model's products and the copy bandwidth, and our kernels beside them.
struct BenchGemmOptions {
  std::string model_config;  ///< config.json, or a folder that holds one; empty: Llama-3.1-8B's
  int64_t rows = 32768;
  int repeats = 20;
  std::string json;
};
int bench_gemm_command(const BenchGemmOptions& options);

/// `bench step`: whole optimiser steps on one GPU, and a profile of one more by kernel group.
struct BenchStepOptions {
  std::string model_config;     ///< As above
  bool random_weights = false;  ///< Else read from the files beside model_config, if one is given
  int64_t tokens = 65536;       ///< Of each sequence
  int64_t batch_size = 1;
  int64_t layers = 0;              ///< Measure the first ones alone; 0: all
  std::string weights = "auto";    ///< As model.weights of a config; random ones are resident
  std::string residuals = "auto";  ///< As train.residuals
  int64_t gates = 1;
  int64_t steps = 3;  ///< The median counts
  std::string json;
};
int bench_step_command(const BenchStepOptions& options);

/// `bench ranks`: whole optimiser steps on several GPUs, with each way of sharing them. Every rank calls it.
struct BenchRanksOptions {
  std::string model_config;  ///< As above
  /// alone, alone-long, data, shard, context, context+shard: in this order
  std::vector<std::string> modes = {"alone", "data", "alone", "shard", "alone-long", "context"};
  int64_t tokens = 65536;        ///< Of a sequence, one for each GPU
  int64_t long_tokens = 131072;  ///< Of a sequence that all GPUs share
  int64_t batch_size = 1;        ///< Sequences of a rank in a step
  int64_t layers = 0;            ///< As above
  int64_t steps = 3;
  std::string rendezvous_folder = ".";  ///< For the token file of launchers other than our own
  std::string json;
};
int bench_ranks_command(const BenchRanksOptions& options);

/// `bench comm`: the exchanges of a layer alone, on GPUs or CPUs. Every rank calls it.
struct BenchCommOptions {
  std::string model_config;  ///< As above
  std::string device = "cuda";
  int64_t tokens = 65536;  ///< Of a sequence that all ranks share
  int repeats = 10;
  std::string rendezvous_folder = ".";
  std::string json;
};
int bench_comm_command(const BenchCommOptions& options);

}  // namespace seer
