// Products of a few rows, as decoding takes them: a frozen matrix is read once, as it is stored, and nothing else of size.
#pragma once
#include "params.cuh"

// Numbers of a row that a lane reads at once: 16 bytes of f32, 8 of bf16, so that the lanes of a warp read what lies
// side by side of both.
#define AT_ONCE 4
template <class W> struct alignas(sizeof(W) < 4 ? 8 : 16) Chunk {
  W numbers[AT_ONCE];
};

__device__ __forceinline__ float widened(float x) { return x; }
__device__ __forceinline__ double widened(double x) { return x; }
__device__ __forceinline__ float widened(__nv_bfloat16 x) { return __bfloat162float(x); }

// Most low-rank terms, and where their sizes begin.
#define LOW_TERMS 3
#define LOW_SIZES 8

// What the low-rank terms add to a column of a row, this lane's share of it.
template <class T> __device__ __forceinline__ T low_rank(const Params &p, int row, long long column, int lane) {
  T sum = 0;
  for (int term = 0; term < LOW_TERMS; term++) {
    const long long *size = p.size + LOW_SIZES + 3 * term;
    long long own = column - size[0];
    if (own < 0 || own >= size[1]) {
      continue;
    }
    const T *z = (const T *)p.in[2 + 2 * term] + row * p.size[7], *b = (const T *)p.in[3 + 2 * term] + own * size[2];
    for (int i = lane; i < size[2]; i += WARP) {
      sum += z[i] * b[i];
    }
  }
  return sum;
}

// Adds to every row its product with a row of the matrix: this lane's share, which begins at `start` and goes on in steps.
template <class T, class W, int ROWS>
__device__ __forceinline__ void multiply(const Params &p, const T *const *x, const W *weight, int start, int step, T *own) {
  // As many loads as registers hold.
  constexpr int LOADS = ROWS > 2 ? 4 : 8;
  int depth = (int)p.size[2], chunks = (int)p.size[5];
  const Chunk<W> *wide = (const Chunk<W> *)weight;
  for (int chunk = start; chunk < chunks; chunk += step * LOADS) {
    // All of them are on their way before the first is needed: loads without a condition, beyond the end once more of what
    // is there.
    Chunk<W> w[LOADS];
#pragma unroll
    for (int load = 0; load < LOADS; load++) {
      int nth = chunk + load * step;
      w[load] = wide[nth < chunks ? nth : chunk];
    }
#pragma unroll
    for (int load = 0; load < LOADS; load++) {
      int nth = chunk + load * step;
      bool there = nth < chunks;
#pragma unroll
      for (int row = 0; row < ROWS; row++) {
        Chunk<T> of_x = ((const Chunk<T> *)x[row])[there ? nth : chunk];
        T sum = 0;
#pragma unroll
        for (int i = 0; i < AT_ONCE; i++) {
          sum += of_x.numbers[i] * widened(w[load].numbers[i]);
        }
        own[row] += there ? sum : T(0);
      }
    }
  }
  for (int i = chunks * AT_ONCE + start; i < depth; i += step) {
    T w = widened(weight[i]);
#pragma unroll
    for (int row = 0; row < ROWS; row++) {
      own[row] += x[row][i] * w;
    }
  }
}

// y = s (x Wᵀ + Σ z Bᵀ) + bias; some warps a column of y, all rows at once. W: (columns, depth) as it is stored, each B:
// (columns of its own, rank). Size: rows, columns, depth, numbers from row to row of x and of W, chunks of a row that lie
// for wide reads, warps a column, numbers from row to row of z, and for each low-rank term its first column, its columns
// and its rank.
template <class T, class W, int ROWS> __device__ void few_rows(const Params &p) {
  const W *weights = (const W *)p.in[1];
  const T *bias = (const T *)p.table[0];
  T *y = (T *)p.out[0];
  int rows = (int)p.size[0], parts = (int)p.size[6];
  long long columns = p.size[1];
  __shared__ T sums[MOST_WARPS][ROWS];
  int lane = threadIdx.x % WARP, warp = threadIdx.x / WARP, together = blockDim.x / WARP / parts, part = warp % parts;
  T scale = number<T>(p, 0);
  const T *x[ROWS];
#pragma unroll
  for (int row = 0; row < ROWS; row++) {
    // Rows that there are not are read as the last one, and not written.
    x[row] = (const T *)p.in[0] + (row < rows ? row : rows - 1) * p.size[3];
  }
  for (long long first = (long long)blockIdx.x * together; first < columns; first += (long long)gridDim.x * together) {
    long long column = first + warp / parts;
    T own[ROWS] = {};
    if (column < columns) {
      multiply<T, W, ROWS>(p, x, weights + column * p.size[4], part * WARP + lane, parts * WARP, own);
      if (part == 0) {
#pragma unroll
        for (int row = 0; row < ROWS; row++) {
          own[row] += low_rank<T>(p, row < rows ? row : rows - 1, column, lane);
        }
      }
    }
#pragma unroll
    for (int row = 0; row < ROWS; row++) {
      own[row] = warp_sum(own[row]);
      if (lane == 0) {
        sums[warp][row] = own[row];
      }
    }
    if (parts > 1) {
      __syncthreads();
    }
    if (part == 0 && lane == 0 && column < columns) {
#pragma unroll
      for (int row = 0; row < ROWS; row++) {
        T sum = own[row];
        for (int other = 1; other < parts; other++) {
          sum += sums[warp + other][row];
        }
        if (row < rows) {
          y[row * columns + column] = sum * scale + (bias ? bias[column] : T(0));
        }
      }
    }
    if (parts > 1) {
      __syncthreads();
    }
  }
}

// A kernel for each number of rows, so that few rows take few registers, and many warps find room.
#define FEW_ROWS(rows)                                                                                                 \
  extern "C" __global__ void few_rows_##rows##_f32(const Params p) { few_rows<float, float, rows>(p); }                \
  extern "C" __global__ void few_rows_##rows##_f64(const Params p) { few_rows<double, double, rows>(p); }              \
  extern "C" __global__ void few_rows_##rows##_by_bf16_f32(const Params p) { few_rows<float, __nv_bfloat16, rows>(p); }
FEW_ROWS(1)
FEW_ROWS(2)
FEW_ROWS(4)
FEW_ROWS(8)
