// CUDA's words for a C++ compiler: a kernel is a function, the threads of a block are fibers (or, where HOST_THREADS is
// defined, threads), and blocks run one after another. For the tests of kernels on machines without a card.
#pragma once
// Fibers jump from stack to stack, which fortified headers take for a fault. The first header of the system decides.
#undef _FORTIFY_SOURCE
#include <cmath>
#include <cstring>
#include <functional>

#define __device__
#define __global__
#define __forceinline__ inline
// One block runs at a time, so that what a block shares can be one variable.
#define __shared__ static
#define __restrict__

// Small, so that few threads take turns.
#ifndef WARP
#define WARP 4
#endif
#define EACH_LANE 0xffffffffu

struct Index {
  unsigned int x, y, z;
};

namespace host {
inline std::function<void()> body;
inline Index block_index, block_size, grid_size;
} // namespace host

#ifdef HOST_THREADS
#include "host_threads.h"
#else
#include "host_fibers.h"
#endif

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
