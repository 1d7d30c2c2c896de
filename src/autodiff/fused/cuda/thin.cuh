// Products with a thin factor, as adapters take them: the wide factor is read once, its value and its tangent together, and
// all arithmetic is that of the type.
#pragma once
#include "params.cuh"

// Columns of a thin factor that a block takes at a time.
#define THIN 16

// A factor with its tangent, if it has one.
template <class S> struct Factor {
  typedef typename Of<S>::Real T;
  const T *values;
  const T *tangents;
  __device__ __forceinline__ Factor(const Params &p, int index, long long start) {
    values = (const T *)p.in[index] + start;
    tangents = p.in_tangent[index] ? (const T *)p.in_tangent[index] + start : nullptr;
  }
  __device__ __forceinline__ S operator[](long long i) const {
    if constexpr (Of<S>::dual) {
      return S{values[i], tangents ? tangents[i] : T(0)};
    } else {
      return values[i];
    }
  }
};

template <class S> __device__ __forceinline__ S times(S x, typename Of<S>::Real factor) { return x * factor; }

// Rows of the left factor that a warp takes at a time.
#define ROWS_A_WARP 2

// y = scale · x w for a thin w, up to three of them side by side: x (batch, m, k), w (batch, k, columns). A warp sums two rows
// of y over k, which its lanes share; w passes through the memory of the block. Size: m, numbers of y from row to row and from
// matrix to matrix, products, chunks of THIN columns of the widest; then for each product k, numbers of x from row to row and
// from matrix to matrix, those of w down, across and from matrix to matrix, its columns, and their first in y.
template <class S> __device__ void thin_right(const Params &p) {
  typedef typename Of<S>::Real T;
  constexpr int DEPTH = 2048 / (int)sizeof(S);
  // One more than the depth from column to column: neighbours then lie in different banks.
  constexpr int PITCH = DEPTH + 1;
  __shared__ S tile[THIN * PITCH];
  long long m = p.size[0], chunks = p.size[4], products = p.size[3];
  int nth = (int)(blockIdx.y / chunks % products), first = (int)(blockIdx.y % chunks) * THIN;
  long long batch = blockIdx.y / (chunks * products);
  const long long *of = p.size + 8 + 8 * nth;
  int k = (int)of[0], columns = (int)of[6] - first;
  long long down = of[3], across = of[4];
  Factor<S> x(p, 2 * nth, batch * of[2]), w(p, 2 * nth + 1, batch * of[5]);
  int lane = threadIdx.x % WARP, warps = blockDim.x / WARP;
  // All threads of a block go on together: they share the tile.
  long long step = (long long)gridDim.x * warps * ROWS_A_WARP;
  for (long long base = (long long)blockIdx.x * warps * ROWS_A_WARP; base < m; base += step) {
    long long row = base + threadIdx.x / WARP * ROWS_A_WARP;
    S sums[ROWS_A_WARP][THIN];
#pragma unroll
    for (int r = 0; r < ROWS_A_WARP; r++) {
#pragma unroll
      for (int c = 0; c < THIN; c++) {
        sums[r][c] = constant<S>(0);
      }
    }
    for (int start = 0; start < k; start += DEPTH) {
      int depth = k - start < DEPTH ? k - start : DEPTH;
      __syncthreads();
      for (int n = threadIdx.x; n < THIN * depth; n += blockDim.x) {
        // Neighbours in memory are read by neighbours.
        int c = across == 1 ? n % THIN : n / depth, i = across == 1 ? n / THIN : n % depth;
        tile[c * PITCH + i] = c < columns ? w[(start + i) * down + (first + c) * across] : constant<S>(0);
      }
      __syncthreads();
#pragma unroll 4
      for (int i = lane; i < depth; i += WARP) {
        S own[ROWS_A_WARP];
#pragma unroll
        for (int r = 0; r < ROWS_A_WARP; r++) {
          own[r] = row + r < m ? x[(row + r) * of[1] + start + i] : constant<S>(0);
        }
#pragma unroll
        for (int c = 0; c < THIN; c++) {
          S by = tile[c * PITCH + i];
#pragma unroll
          for (int r = 0; r < ROWS_A_WARP; r++) {
            sums[r][c] = sums[r][c] + own[r] * by;
          }
        }
      }
    }
    Out<S> y(p, 0);
#pragma unroll
    for (int r = 0; r < ROWS_A_WARP; r++) {
#pragma unroll
      for (int c = 0; c < THIN; c++) {
        S sum = warp_sum(sums[r][c]);
        if (lane == c % WARP && c < columns && row + r < m) {
          y.set(batch * p.size[2] + (row + r) * p.size[1] + of[7] + first + c, times(sum, number<T>(p, 0)));
        }
      }
    }
  }
}
KERNEL(thin_right)

// y = scale · dᵀ z for a thin z: d (batch, m, n), z (batch, m, columns). A block takes a few columns of d, whose rows its
// threads share. Size: m, n, columns, numbers of d from row to row and from matrix to matrix, those of z, those of y from
// column to column of d, from column to column of z and from matrix to matrix; columns of d a block; chunks of THIN columns.
template <class S> __device__ void thin_left(const Params &p) {
  typedef typename Of<S>::Real T;
  struct alignas(16) Four {
    T at[4];
  };
  // Rows that pass through the memory of a block at a time.
  constexpr int ROWS = 1024 / (int)sizeof(T);
  __shared__ Four values[ROWS * THIN / 4], tangents[ROWS * THIN / 4];
  __shared__ S parts[1024];
  int m = (int)p.size[0], n = (int)p.size[1], tile = (int)p.size[10], chunks = (int)p.size[11];
  int first = (int)(blockIdx.y % chunks) * THIN, columns = (int)p.size[2] - first;
  long long batch = blockIdx.y / chunks;
  Factor<S> d(p, 0, batch * p.size[4]), z(p, 1, batch * p.size[6]);
  Out<S> y(p, 0);
  int own = threadIdx.x % tile, group = threadIdx.x / tile, groups = blockDim.x / tile;
  for (long long base = (long long)blockIdx.x * tile; base < n; base += (long long)gridDim.x * tile) {
    long long column = base + own;
    S sums[THIN];
#pragma unroll
    for (int c = 0; c < THIN; c++) {
      sums[c] = constant<S>(0);
    }
    for (int start = 0; start < m; start += ROWS) {
      int rows = m - start < ROWS ? m - start : ROWS;
      __syncthreads();
      for (int i = threadIdx.x; i < rows * THIN; i += blockDim.x) {
        int row = i / THIN, c = i % THIN;
        S one = c < columns ? z[(long long)(start + row) * p.size[5] + first + c] : constant<S>(0);
        values[i / 4].at[i % 4] = value(one);
        if constexpr (Of<S>::dual) {
          tangents[i / 4].at[i % 4] = one.tangent;
        }
      }
      __syncthreads();
      if (column < n) {
#pragma unroll 8
        for (int row = group; row < rows; row += groups) {
          S by = d[(long long)(start + row) * p.size[3] + column];
#pragma unroll
          for (int quarter = 0; quarter < THIN / 4; quarter++) {
            Four four = values[row * (THIN / 4) + quarter];
            if constexpr (Of<S>::dual) {
              Four slope = tangents[row * (THIN / 4) + quarter];
#pragma unroll
              for (int c = 0; c < 4; c++) {
                sums[4 * quarter + c] = sums[4 * quarter + c] + by * S{four.at[c], slope.at[c]};
              }
            } else {
#pragma unroll
              for (int c = 0; c < 4; c++) {
                sums[4 * quarter + c] += by * four.at[c];
              }
            }
          }
        }
      }
    }
#pragma unroll
    for (int four = 0; four < THIN; four += 4) {
      __syncthreads();
#pragma unroll
      for (int c = 0; c < 4; c++) {
        parts[c * blockDim.x + threadIdx.x] = sums[four + c];
      }
      __syncthreads();
      // The first threads of the block, one for each of four columns of z and each column of d.
      for (int i = threadIdx.x; i < 4 * tile; i += blockDim.x) {
        int c = i / tile, of = i % tile;
        if (base + of < n && four + c < columns) {
          S sum = parts[c * blockDim.x + of];
          for (int other = 1; other < groups; other++) {
            sum = sum + parts[c * blockDim.x + other * tile + of];
          }
          long long place = batch * p.size[9] + (base + of) * p.size[7] + (first + four + c) * p.size[8];
          y.set(place, times(sum, number<T>(p, 0)));
        }
      }
    }
    __syncthreads();
  }
}
KERNEL(thin_left)
