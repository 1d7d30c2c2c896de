// CUDA's words for a C++ compiler: a kernel is a function, the threads of a block are fibers that take turns at every
// barrier, and blocks run one after another. For the tests of kernels on machines without a card.
#pragma once
#include <cmath>
#include <cstring>
#include <functional>
#include <memory>
#include <ucontext.h>
#include <vector>

#define __device__
#define __global__
#define __forceinline__ inline
// One block runs at a time, so that what a block shares can be one variable.
#define __shared__ static
#define __restrict__

// Small, so that few fibers take turns.
#define WARP 4
#define EACH_LANE 0xffffffffu

struct Index {
  unsigned int x, y, z;
};

namespace host {
struct Fiber {
  ucontext_t context;
  std::unique_ptr<char[]> stack;
  bool done;
};
constexpr size_t STACK = 64 << 10;

inline std::vector<Fiber> fibers;
inline ucontext_t scheduler;
inline size_t running = 0;
inline std::function<void()> body;
// What each thread of a block shows to the others.
inline unsigned long long shown[1024];
inline Index block_index, block_size, grid_size;

// Goes on with the other threads until all have come here.
inline void barrier() { swapcontext(&fibers[running].context, &scheduler); }

inline void begin() {
  body();
  fibers[running].done = true;
  barrier();
}

inline void run_block(size_t threads) {
  if (fibers.size() < threads) {
    fibers.resize(threads);
  }
  for (size_t thread = 0; thread < threads; thread++) {
    Fiber &fiber = fibers[thread];
    if (!fiber.stack) {
      fiber.stack.reset(new char[STACK]);
    }
    fiber.done = false;
    getcontext(&fiber.context);
    fiber.context.uc_stack.ss_sp = fiber.stack.get();
    fiber.context.uc_stack.ss_size = STACK;
    fiber.context.uc_link = nullptr;
    makecontext(&fiber.context, begin, 0);
  }
  for (bool busy = true; busy;) {
    busy = false;
    for (running = 0; running < threads; running++) {
      if (!fibers[running].done) {
        swapcontext(&scheduler, &fibers[running].context);
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

#define threadIdx (Index{(unsigned int)host::running, 0, 0})
#define blockIdx host::block_index
#define blockDim host::block_size
#define gridDim host::grid_size
#define __syncthreads host::barrier
#define __shfl_xor_sync(mask, x, lane) host::exchange(x, lane)

struct __nv_bfloat16 {
  unsigned short bits;
};
inline float __bfloat162float(__nv_bfloat16 x) {
  unsigned int bits = (unsigned int)x.bits << 16;
  float number;
  memcpy(&number, &bits, sizeof number);
  return number;
}
// To the nearest, of two equally near to the even one.
inline __nv_bfloat16 __float2bfloat16(float x) {
  unsigned int bits;
  memcpy(&bits, &x, sizeof bits);
  if (x != x) {
    return {0x7fff};
  }
  return {(unsigned short)((bits + 0x7fff + ((bits >> 16) & 1)) >> 16)};
}

struct Params;

// Runs a kernel over a grid, as a launch does; not from two threads at once.
extern "C" void host_launch(void (*kernel)(const Params), const Params *params, const unsigned int *grid,
                            unsigned int threads);
