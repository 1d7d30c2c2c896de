// The threads of a block as fibers of one thread, which take turns at every barrier: quick, and the same each time.
#pragma once
#include <csetjmp>
#include <cstring>
#include <memory>
#include <ucontext.h>
#include <vector>
#if defined(__USE_FORTIFY_LEVEL) && __USE_FORTIFY_LEVEL > 0
#error "a header of the system was included before host.h: a jump from thread to thread would end the program"
#endif
#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif

namespace host {
#ifdef __SANITIZE_ADDRESS__
// Its frames are larger, and so is what writes its reports.
constexpr size_t STACK = 256 << 10;
#else
constexpr size_t STACK = 64 << 10;
#endif

struct Fiber {
  ucontext_t context;
  // Where it goes on, once it has begun.
  jmp_buf place;
  bool begun;
  std::unique_ptr<char[]> memory;
  // Of its stack, as AddressSanitizer must know it.
  const void *bottom;
  size_t size;
  void *fake_stack;
  bool done;
};

inline std::vector<Fiber> fibers;
inline Fiber scheduler;
inline size_t running = 0;
// What each thread of a block shows to the others.
inline unsigned long long shown[1024];

// Goes on with `to` until somebody comes back to `from`.
inline void change(Fiber &from, Fiber &to) {
#ifdef __SANITIZE_ADDRESS__
  __sanitizer_start_switch_fiber(from.done ? nullptr : &from.fake_stack, to.bottom, to.size);
#endif
#ifdef __SANITIZE_ADDRESS__
  swapcontext(&from.context, &to.context);
  __sanitizer_finish_switch_fiber(from.fake_stack, nullptr, nullptr);
#else
  // A change of contexts asks the system for its mask of signals; a jump does not.
  if (_setjmp(from.place) == 0) {
    if (to.begun) {
      _longjmp(to.place, 1);
    }
    to.begun = true;
    setcontext(&to.context);
  }
#endif
}

// Goes on with the other threads until all have come here.
inline void barrier() { change(fibers[running], scheduler); }

inline void begin() {
#ifdef __SANITIZE_ADDRESS__
  __sanitizer_finish_switch_fiber(nullptr, &scheduler.bottom, &scheduler.size);
#endif
  body();
  fibers[running].done = true;
  barrier();
}

inline void prepare(Fiber &fiber) {
  if (!fiber.memory) {
    fiber.memory.reset(new char[STACK]);
  }
#ifdef __SANITIZE_ADDRESS__
  // The fiber before this one never left its last frame.
  ASAN_UNPOISON_MEMORY_REGION(fiber.memory.get(), STACK);
#endif
  fiber.bottom = fiber.memory.get();
  fiber.size = STACK;
  fiber.fake_stack = nullptr;
  fiber.done = false;
  fiber.begun = false;
  getcontext(&fiber.context);
  fiber.context.uc_stack.ss_sp = fiber.memory.get();
  fiber.context.uc_stack.ss_size = STACK;
  fiber.context.uc_link = nullptr;
  makecontext(&fiber.context, begin, 0);
#ifdef __SANITIZE_ADDRESS__
  // Else it clears what it knows of the whole stack at every change.
  fiber.context.uc_stack = {};
#endif
}

inline void run_block(size_t threads) {
  if (fibers.size() < threads) {
    fibers.resize(threads);
  }
  for (size_t thread = 0; thread < threads; thread++) {
    prepare(fibers[thread]);
  }
  scheduler.begun = true;
  for (bool busy = true; busy;) {
    busy = false;
    for (running = 0; running < threads; running++) {
      if (!fibers[running].done) {
        change(scheduler, fibers[running]);
        busy |= !fibers[running].done;
      }
    }
  }
}

template <class T> T exchange(T x, int lane) {
  static_assert(sizeof(T) <= sizeof shown[0], "a number");
  memcpy(&shown[running], &x, sizeof x);
  barrier();
  T other;
  memcpy(&other, &shown[running ^ (size_t)lane], sizeof other);
  barrier();
  return other;
}
} // namespace host
