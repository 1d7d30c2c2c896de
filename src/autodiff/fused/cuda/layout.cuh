// Kernels that move numbers: heads with their rotation, rows by number, planes of bf16, biases.
#pragma once
#include "params.cuh"

__device__ __forceinline__ long long first_element() { return (long long)blockIdx.x * blockDim.x + threadIdx.x; }
__device__ __forceinline__ long long next_element() { return (long long)gridDim.x * blockDim.x; }

// Of (B, S, all · width) some heads, turned by each position's angle → (B, count, S, width); a thread turns two numbers.
// Size: pairs in all, S, all, first, count, half the width, whether they are turned. Tables: cosines and sines
// (positions, half).
template <class S> __device__ void split_heads(const Params &p) {
  typedef typename Of<S>::Real T;
  In<S> x(p, 0);
  Out<S> y(p, 0);
  const T *cosines = (const T *)p.table[0], *sines = (const T *)p.table[1];
  long long tokens = p.size[1], all = p.size[2], first = p.size[3], count = p.size[4], half = p.size[5];
  for (long long n = first_element(); n < p.size[0]; n += next_element()) {
    long long i = n % half, token = n / half % tokens, head = n / (half * tokens) % count, batch = n / (half * tokens * count);
    long long source = ((batch * tokens + token) * all + first + head) * 2 * half + i;
    long long target = ((batch * count + head) * tokens + token) * 2 * half + i;
    S a = x[source], b = x[source + half];
    if (p.size[6]) {
      T c = cosines[token * half + i], s = sines[token * half + i];
      y.set(target, a * c - b * s);
      y.set(target + half, b * c + a * s);
    } else {
      y.set(target, a);
      y.set(target + half, b);
    }
  }
}
KERNEL(split_heads)

// Heads of up to three kinds (B, count, S, width) → (B, S, all · width), turned back where they were turned. Size: pairs in
// all, S, all, half the width, then for each kind its count and whether it is turned. Tables as above.
template <class S> __device__ void merge_heads(const Params &p) {
  typedef typename Of<S>::Real T;
  Out<S> y(p, 0);
  const T *cosines = (const T *)p.table[0], *sines = (const T *)p.table[1];
  long long tokens = p.size[1], all = p.size[2], half = p.size[3];
  for (long long n = first_element(); n < p.size[0]; n += next_element()) {
    long long i = n % half, head = n / half % all, token = n / (half * all) % tokens, batch = n / (half * all * tokens);
    int kind = 0;
    long long own = head;
    while (own >= p.size[4 + 2 * kind]) {
      own -= p.size[4 + 2 * kind];
      kind++;
    }
    In<S> x(p, kind);
    long long source = ((batch * p.size[4 + 2 * kind] + own) * tokens + token) * 2 * half + i;
    long long target = ((batch * tokens + token) * all + head) * 2 * half + i;
    S a = x[source], b = x[source + half];
    if (p.size[5 + 2 * kind]) {
      T c = cosines[token * half + i], s = sines[token * half + i];
      y.set(target, a * c + b * s);
      y.set(target + half, b * c - a * s);
    } else {
      y.set(target, a);
      y.set(target + half, b);
    }
  }
}
KERNEL(merge_heads)

// Row r of y is row table[r] of x, or zeros where the table says so with its largest number. Size: numbers of y, width.
template <class S> __device__ void take_rows(const Params &p) {
  In<S> x(p, 0);
  Out<S> y(p, 0);
  const unsigned int *rows = (const unsigned int *)p.table[0];
  long long width = p.size[1];
  for (long long n = first_element(); n < p.size[0]; n += next_element()) {
    unsigned int row = rows[n / width];
    y.set(n, row == 0xffffffffu ? constant<S>(0) : x[row * width + n % width]);
  }
}
KERNEL(take_rows)

// The start of a sum: the bias in every row of the value, zeros in those of the tangent. Size: numbers of a half, columns,
// halves.
template <class T> __device__ void rows_of_bias(const Params &p) {
  const T *bias = (const T *)p.in[0];
  T *y = (T *)p.out[0];
  for (long long n = first_element(); n < p.size[0] * p.size[2]; n += next_element()) {
    y[n] = n < p.size[0] ? bias[n % p.size[1]] : T(0);
  }
}
extern "C" __global__ void rows_of_bias_f32(const Params p) { rows_of_bias<float>(p); }
extern "C" __global__ void rows_of_bias_f64(const Params p) { rows_of_bias<double>(p); }

// x = x₁ + x₂ + …, each a plane of bf16 with the digits that the planes before it leave. Rows of x may lie apart. Size:
// numbers, columns, numbers from row to row, planes.
extern "C" __global__ void planes_f32(const Params p) {
  const float *x = (const float *)p.in[0];
  __nv_bfloat16 *planes = (__nv_bfloat16 *)p.out[0];
  for (long long n = first_element(); n < p.size[0]; n += next_element()) {
    float rest = x[n / p.size[1] * p.size[2] + n % p.size[1]];
    for (int plane = 0; plane < p.size[3]; plane++) {
      __nv_bfloat16 part = __float2bfloat16(rest);
      planes[plane * p.size[0] + n] = part;
      rest -= __bfloat162float(part);
    }
  }
}
