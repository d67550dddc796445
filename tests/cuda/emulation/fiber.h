// Functions that take turns on one thread of the host, each on a stack of its own: threads of an emulated thread block.
//
// ucontext begins on a stack; afterwards _setjmp and _longjmp switch between them, 20 times faster than swapcontext,
// which asks the operating system for the signal mask each time.
#pragma once

#include <csetjmp>
#include <cstddef>
#include <memory>

namespace seer::emulation {

class Fiber {
 public:
  Fiber();
  Fiber(const Fiber&) = delete;
  Fiber& operator=(const Fiber&) = delete;

  /// From now on this is a call of `body(argument)`, which must not throw. A call that had not ended is forgotten:
  /// nothing on its stack is destroyed.
  void begin(void (*body)(void*), void* argument);
  /// Goes on with the call until it pauses or ends. Not from inside of a fiber.
  void resume();
  bool ended() const { return ended_; }

  /// By the fiber that runs: back to who resumed it.
  static void pause();

 private:
  static void enter();

  static constexpr size_t kStackBytes = 64 * 1024;
  std::unique_ptr<std::byte[]> stack_;
  void (*body_)(void*) = nullptr;
  void* argument_ = nullptr;
  bool begun_ = false, ended_ = true;
  jmp_buf paused_at_;
};

}  // namespace seer::emulation
