// Kernels that move numbers: heads with their rotation, rows by number, planes of bf16, biases.
#pragma once
#include "params.cuh"

__device__ __forceinline__ long long first_element() { return (long long)blockIdx.x * blockDim.x + threadIdx.x; }
// Division of numbers that are mostly short: that of 64 bits takes the card several times as long.
__device__ __forceinline__ long long quotient_of(long long a, long long b) {
  return ((a | b) >> 32) == 0 ? (long long)((unsigned int)a / (unsigned int)b) : a / b;
}
__device__ __forceinline__ long long next_element() { return (long long)gridDim.x * blockDim.x; }

// Pairs (a, b) of a head turned by some angles, or as they are where there is no table.
template <class S, int N>
__device__ __forceinline__ void turn(const Params &p, long long angle, int sign, Some<S, N> &a, Some<S, N> &b) {
  typedef typename Of<S>::Real T;
  Some<T, N> cosines = load<T, N>(p.table[0], angle, false), sines = load<T, N>(p.table[1], angle, false);
#pragma unroll
  for (int k = 0; k < N; k++) {
    T c = cosines.at[k], s = sign > 0 ? sines.at[k] : -sines.at[k];
    S first = a.at[k] * c - b.at[k] * s;
    b.at[k] = b.at[k] * c + a.at[k] * s;
    a.at[k] = first;
  }
}

// Of (B, S, all · width) some heads, turned by each position's angle → (B, count, S, width); a thread turns two numbers, or N
// times as many. Size: pairs in all, S, all, first, count, half the width, whether they are turned. Tables: cosines and
// sines (positions, half).
template <class S, int N> __device__ void split_heads(const Params &p) {
  In<S> x(p, 0);
  Out<S> y(p, 0);
  long long tokens = p.size[1], all = p.size[2], first = p.size[3], count = p.size[4], half = p.size[5];
  for (long long n = N * first_element(); n < p.size[0]; n += N * next_element()) {
    long long rest = quotient_of(n, half), i = n - rest * half;
    long long above = quotient_of(rest, tokens), token = rest - above * tokens;
    long long batch = quotient_of(above, count), head = above - batch * count;
    long long source = ((batch * tokens + token) * all + first + head) * 2 * half + i;
    long long target = ((batch * count + head) * tokens + token) * 2 * half + i;
    Some<S, N> a = x.template take<N>(source), b = x.template take<N>(source + half);
    if (p.size[6]) {
      turn<S, N>(p, token * half + i, 1, a, b);
    }
    y.template put<N>(target, a);
    y.template put<N>(target + half, b);
  }
}
WIDE_KERNEL(split_heads, p.size[5])

// Heads of up to three kinds (B, count, S, width) → (B, S, all · width), turned back where they were turned. Size: pairs in
// all, S, all, half the width, then for each kind its count and whether it is turned. Tables as above.
template <class S, int N> __device__ void merge_heads(const Params &p) {
  Out<S> y(p, 0);
  long long tokens = p.size[1], all = p.size[2], half = p.size[3];
  for (long long n = N * first_element(); n < p.size[0]; n += N * next_element()) {
    long long rest = quotient_of(n, half), i = n - rest * half;
    long long above = quotient_of(rest, all), head = rest - above * all;
    long long batch = quotient_of(above, tokens), token = above - batch * tokens;
    int kind = 0;
    long long own = head;
    while (own >= p.size[4 + 2 * kind]) {
      own -= p.size[4 + 2 * kind];
      kind++;
    }
    In<S> x(p, kind);
    long long source = ((batch * p.size[4 + 2 * kind] + own) * tokens + token) * 2 * half + i;
    long long target = ((batch * tokens + token) * all + head) * 2 * half + i;
    Some<S, N> a = x.template take<N>(source), b = x.template take<N>(source + half);
    if (p.size[5 + 2 * kind]) {
      turn<S, N>(p, token * half + i, -1, a, b);
    }
    y.template put<N>(target, a);
    y.template put<N>(target + half, b);
  }
}
WIDE_KERNEL(merge_heads, p.size[3])

// Row r of y is row table[r] of x, or zeros where the table says so with its largest number. Size: numbers of y, width.
template <class S> __device__ void take_rows(const Params &p) {
  In<S> x(p, 0);
  Out<S> y(p, 0);
  const unsigned int *rows = (const unsigned int *)p.table[0];
  long long width = p.size[1];
  for (long long n = first_element(); n < p.size[0]; n += next_element()) {
    long long place = quotient_of(n, width);
    unsigned int row = rows[place];
    y.set(n, row == 0xffffffffu ? constant<S>(0) : x[row * width + n - place * width]);
  }
}
KERNEL(take_rows)

// The start of a sum: the bias in every row of the value, zeros in those of the tangent. Size: numbers of a half, columns,
// halves.
template <class T> __device__ void rows_of_bias(const Params &p) {
  const T *bias = (const T *)p.in[0];
  T *y = (T *)p.out[0];
  for (long long n = first_element(); n < p.size[0] * p.size[2]; n += next_element()) {
    y[n] = n < p.size[0] ? bias[n - quotient_of(n, p.size[1]) * p.size[1]] : T(0);
  }
}
extern "C" __global__ void rows_of_bias_f32(const Params p) { rows_of_bias<float>(p); }
extern "C" __global__ void rows_of_bias_f64(const Params p) { rows_of_bias<double>(p); }

// x = x₁ + x₂ + …, each a plane of bf16 with the digits that the planes before it leave. Rows of x may lie apart. Size:
// numbers, columns, numbers from row to row, planes.
template <class S, int N> __device__ void planes(const Params &p) {
  __nv_bfloat16 *planes = (__nv_bfloat16 *)p.out[0];
  for (long long n = N * first_element(); n < p.size[0]; n += N * next_element()) {
    long long row = quotient_of(n, p.size[1]);
    Some<S, N> rest = In<S>(p, 0).template take<N>(row * p.size[2] + (n - row * p.size[1]));
    for (int plane = 0; plane < p.size[3]; plane++) {
      store<S, N>(planes + plane * p.size[0], n, true, rest);
#pragma unroll
      for (int i = 0; i < N; i++) {
        rest.at[i] -= __bfloat162float(__float2bfloat16(rest.at[i]));
      }
    }
  }
}
WIDE_KERNEL_AS(planes_f32, planes, float, p.size[1] | p.size[2])

// [x z … 1] in bf16: beside each row of x the rows of low-rank factors, ones for a bias in rows of the value, zeros up to the
// width. Size: numbers, columns of x, numbers from row to row of x, rows of the value, columns beside x, how many of them
// are for a bias, factors; then from the ninth on for each factor its columns and the numbers from row to row.
__device__ __forceinline__ float beside(const Params &p, long long row, long long column) {
  bool tangent = row >= p.size[3];
  long long within = tangent ? row - p.size[3] : row;
  for (int factor = 0; factor < p.size[6]; factor++) {
    long long columns = p.size[8 + 2 * factor];
    if (column < columns) {
      const void *z = tangent ? p.in_tangent[1 + factor] : p.in[1 + factor];
      long long place = within * p.size[9 + 2 * factor] + column;
      return z ? load<float, 1>(z, place, (p.narrow_in >> (1 + factor)) & 1).at[0] : 0.0f;
    }
    column -= columns;
  }
  return column < p.size[5] && !tangent ? 1.0f : 0.0f;
}

template <class S, int N> __device__ void extend_left(const Params &p) {
  In<S> x(p, 0);
  Out<S> y(p, 0);
  long long own = p.size[1], depth = own + p.size[4];
  for (long long n = N * first_element(); n < p.size[0]; n += N * next_element()) {
    long long row = quotient_of(n, depth), column = n - row * depth;
    Some<S, N> numbers;
    if (column < own) {
      numbers = x.template take<N>(row * p.size[2] + column);
    } else {
      for (int i = 0; i < N; i++) {
        numbers.at[i] = beside(p, row, column - own + i);
      }
    }
    y.template put<N>(n, numbers);
  }
}
WIDE_KERNEL_AS(extend_left_f32, extend_left, float, p.size[1] | p.size[2] | p.size[4])

// [W B … b] or, on the way back, [W; A …]: what stands beside a frozen matrix. Size: numbers, depth beside the matrix, out, in,
// numbers from row to row, whether forward, factors; then for each factor its depth, its first column of the result, its
// columns, and its strides down and across. Table: the bias, or none.
extern "C" __global__ void extend_right_f32(const Params p) {
  __nv_bfloat16 *w = (__nv_bfloat16 *)p.out[0];
  const float *bias = (const float *)p.table[0];
  long long extra = p.size[1], out = p.size[2], width = p.size[3], stride = p.size[4];
  bool forward = p.size[5];
  for (long long n = first_element(); n < p.size[0]; n += next_element()) {
    // Neighbours in memory are neighbours here.
    long long high = quotient_of(n, forward ? extra : width), low = n - high * (forward ? extra : width);
    long long depth = forward ? low : high, column = forward ? high : low;
    long long place = forward ? column * stride + width + depth : (out + depth) * stride + column;
    float number = 0;
    int factor = 0;
    for (; factor < p.size[6]; factor++) {
      const long long *of = p.size + 8 + 5 * factor;
      if (depth < of[0]) {
        if (column >= of[1] && column < of[1] + of[2]) {
          number = ((const float *)p.in[factor])[depth * of[3] + (column - of[1]) * of[4]];
        }
        break;
      }
      depth -= of[0];
    }
    if (factor == p.size[6] && bias && depth < 3) {
      // The digits that the columns before it leave.
      number = bias[column];
      for (; depth > 0; depth--) {
        number -= __bfloat162float(__float2bfloat16(number));
      }
    }
    w[place] = __float2bfloat16(number);
  }
}
