// Event files that TensorBoard reads (scalars only).
//
// A file is a sequence of records: u64 length, u32 masked CRC32C of the length, the bytes of one Event
// message, u32 masked CRC32C of the bytes; all little-endian, mask(crc) = rotate_right(crc, 15) + 0xa282ead8.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "trainer/append_file.h"
#include "trainer/metrics_log.h"

namespace seer {

/// CRC-32C (Castagnoli) of the bytes.
uint32_t crc32c(std::string_view bytes);

/// CRC-32C as event files store it.
uint32_t masked_crc32c(std::string_view bytes);

/// Seconds since 1970, the clock of events.
double wall_clock_seconds();

/// Writes one event file, `events.out.tfevents.<unix>.<host>.<pid>.<n>`, into a run's TensorBoard folder. The
/// name sorts after those of the folder's existing event files, which is the order TensorBoard reads them in.
/// Throws Error naming the file when it cannot be written. Not thread-safe.
class TensorBoardWriter {
 public:
  /// Creates the folder and starts a file. With `resumed_from` (the checkpoint's step) its second event is a
  /// session start at the step after it: TensorBoard then drops what earlier files say of that and later
  /// steps.
  explicit TensorBoardWriter(const std::filesystem::path& folder, std::optional<int64_t> resumed_from = {});
  /// Flushes what add_scalar() left, as far as possible; call flush() to learn of errors.
  ~TensorBoardWriter();
  TensorBoardWriter(const TensorBoardWriter&) = delete;
  TensorBoardWriter& operator=(const TensorBoardWriter&) = delete;

  const std::filesystem::path& path() const { return file_.path(); }

  /// Buffers one value until flush().
  void add_scalar(std::string_view tag, int64_t step, double value, double wall_time);

  /// Writes train/loss, train/learning_rate, train/grad_norm, train/tokens_per_second and train/layer_loss/NN
  /// of the first gate entry; the same tags behind `<name>/` of the others. Flushes.
  void add(const StepMetrics& metrics, double wall_time = wall_clock_seconds());

  /// Writes eval/loss, eval/layer_loss/NN, and for every density eval/recall/<density>, eval/oracle/<density>
  /// and eval/layer_recall/<density>/NN. `prefix` is empty for the first gate entry and `<name>/` for the
  /// others. Flushes.
  void add(const EvalMetrics& metrics, const std::string& prefix = "",
           double wall_time = wall_clock_seconds());

  /// Hands everything buffered to the kernel.
  void flush();

 private:
  struct Scalar {
    std::string tag;
    double value;
  };
  void add_event(int64_t step, double wall_time, const std::vector<Scalar>& scalars);
  void add_record(std::string_view event);

  AppendFile file_;
  std::string buffer_;
};

}  // namespace seer
