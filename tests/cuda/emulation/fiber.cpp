#include "tests/cuda/emulation/fiber.h"

#include <ucontext.h>

namespace seer::emulation {
namespace {

Fiber* running;
jmp_buf resumed_at;

}  // namespace

Fiber::Fiber() : stack_(std::make_unique_for_overwrite<std::byte[]>(kStackBytes)) {}

void Fiber::begin(void (*body)(void*), void* argument) {
  body_ = body;
  argument_ = argument;
  begun_ = false;
  ended_ = false;
}

void Fiber::enter() {
  running->body_(running->argument_);
  running->ended_ = true;
  _longjmp(resumed_at, 1);
}

void Fiber::resume() {
  running = this;
  if (_setjmp(resumed_at) != 0) return;
  if (begun_) _longjmp(paused_at_, 1);
  begun_ = true;
  ucontext_t context;
  getcontext(&context);
  context.uc_stack.ss_sp = stack_.get();
  context.uc_stack.ss_size = kStackBytes;
  context.uc_link = nullptr;
  makecontext(&context, enter, 0);
  setcontext(&context);
}

void Fiber::pause() {
  if (_setjmp(running->paused_at_) == 0) _longjmp(resumed_at, 1);
}

}  // namespace seer::emulation
