// What decoding does beside products: attention of one new token a row over a cache of keys and values, and the choice of
// the largest logit.
#pragma once
#include "params.cuh"

// Most warps that share a head.
#define ATTENTION_WARPS 16

// Below every score, and finite: the difference of two infinities is no number.
template <class T> __device__ __forceinline__ T lowest() { return sizeof(T) == 4 ? T(-3.0e38) : T(-1.0e300); }

// A head of a new token, normed where there is a gain, and turned by its position's angle, to what its block shares.
template <class T>
__device__ void turn_head(const Params &p, const T *x, const T *gain, long long position, T *turned) {
  int width = (int)p.size[3], half = width / 2;
  T inverse = 1;
  if (gain) {
    T squares = 0;
    for (int i = threadIdx.x; i < width; i += blockDim.x) {
      squares += x[i] * x[i];
    }
    inverse = T(1) / f_sqrt(block_sum(squares) / T(width) + number<T>(p, 1));
  }
  const T *cosines = (const T *)p.table[0] + position * half, *sines = (const T *)p.table[1] + position * half;
  for (int i = threadIdx.x; i < half; i += blockDim.x) {
    T a = x[i] * inverse, b = x[i + half] * inverse;
    if (gain) {
      a *= gain[i];
      b *= gain[i + half];
    }
    turned[i] = a * cosines[i] - b * sines[i];
    turned[i + half] = b * cosines[i] + a * sines[i];
  }
}

// What a warp has of the keys so far: the largest score, which is subtracted from all, the sum of the exponentials, and
// the values in their proportions, of which each lane has N.
template <class T, int N> struct Attended {
  T most, total, values[N];
  // So many that what is read at once fits the registers.
  static constexpr int KEYS = N > 2 ? 8 / N : 4;

  __device__ __forceinline__ void add(const T *query, const T *all_keys, const T *all_values, long long first, long long to,
                                      int width, T scale) {
    int lane = threadIdx.x % WARP;
    // Everything is on its way before the first number is needed. What is not there is read as something that is: its
    // query is zero, its key's weight is, or nobody reads its value.
    T keys[KEYS][N], of_values[KEYS][N], scores[KEYS];
#pragma unroll
    for (int j = 0; j < KEYS; j++) {
      long long start = (first + j < to ? first + j : to - 1) * width;
#pragma unroll
      for (int n = 0; n < N; n++) {
        int i = n * WARP + lane;
        i = i < width ? i : 0;
        keys[j][n] = all_keys[start + i];
        of_values[j][n] = all_values[start + i];
      }
    }
#pragma unroll
    for (int j = 0; j < KEYS; j++) {
      T sum = 0;
#pragma unroll
      for (int n = 0; n < N; n++) {
        sum += query[n] * keys[j][n];
      }
      sum = warp_sum(sum);
      scores[j] = first + j < to ? sum * scale : lowest<T>();
    }
    T before = most;
#pragma unroll
    for (int j = 0; j < KEYS; j++) {
      most = scores[j] > most ? scores[j] : most;
    }
    T factor = f_exp(before - most);
    total *= factor;
#pragma unroll
    for (int n = 0; n < N; n++) {
      values[n] *= factor;
    }
#pragma unroll
    for (int j = 0; j < KEYS; j++) {
      T weight = first + j < to ? f_exp(scores[j] - most) : T(0);
      total += weight;
#pragma unroll
      for (int n = 0; n < N; n++) {
        values[n] += weight * of_values[j][n];
      }
    }
  }
};

// Puts together what the warps of a block have, and writes it: the values in their proportions, or where several blocks
// share a head (not whole) their sum, the largest score and the sum of the exponentials.
template <class T, int N> __device__ void write_head(const Attended<T, N> &own, int width, bool whole, T *y) {
  __shared__ T most_of[ATTENTION_WARPS], total_of[ATTENTION_WARPS], values_of[ATTENTION_WARPS][N * WARP];
  int lane = threadIdx.x % WARP, warp = threadIdx.x / WARP, warps = blockDim.x / WARP;
  if (lane == 0) {
    most_of[warp] = own.most;
    total_of[warp] = own.total;
  }
#pragma unroll
  for (int n = 0; n < N; n++) {
    values_of[warp][n * WARP + lane] = own.values[n];
  }
  __syncthreads();
  T most = lowest<T>(), total = 0;
  for (int other = 0; other < warps; other++) {
    most = most_of[other] > most ? most_of[other] : most;
  }
  for (int other = 0; other < warps; other++) {
    total += total_of[other] * f_exp(most_of[other] - most);
  }
  for (int i = threadIdx.x; i < width; i += blockDim.x) {
    T sum = 0;
    for (int other = 0; other < warps; other++) {
      sum += values_of[other][i] * f_exp(most_of[other] - most);
    }
    y[i] = whole ? sum / total : sum;
  }
  if (!whole && threadIdx.x == 0) {
    y[width] = most;
    y[width + 1] = total;
  }
  __syncthreads();
}

// The next token of a head: it goes to the cache, and then attends to the keys there that it may read. Every block that
// shares a key head writes the same key and value, so that it reads its own and waits for no other. With several blocks a
// head (blockIdx.y), each takes some of the keys, and attend_merge puts them together.
template <class T, int N> __device__ void attend_head(const Params &p, long long row, long long head) {
  __shared__ T query[N * WARP], key[N * WARP];
  long long heads = p.size[1], kv = p.size[2], slots = p.size[4], slot = p.size[5], own = head / (heads / kv);
  int width = (int)p.size[3], lane = threadIdx.x % WARP, warp = threadIdx.x / WARP, warps = blockDim.x / WARP;
  const T *qkv = (const T *)p.in[0] + row * (heads + 2 * kv) * width;
  long long cache = (row * kv + own) * slots * width;
  T *keys = (T *)p.out[1] + cache, *values = (T *)p.out[2] + cache;
  long long pads = ((const unsigned int *)p.table[2])[row];
  // A pad reads pads, and its position means nothing.
  long long from = slot < pads ? 0 : pads, position = slot < pads ? 0 : slot - pads, to = slot + 1;
  turn_head(p, qkv + head * width, (const T *)p.in[1], position, query);
  turn_head(p, qkv + (heads + own) * width, (const T *)p.in[2], position, key);
  __syncthreads();
  for (int i = threadIdx.x; i < width; i += blockDim.x) {
    keys[slot * width + i] = key[i];
    values[slot * width + i] = qkv[(heads + kv + own) * width + i];
  }
  __syncthreads();

  Attended<T, N> mixed{lowest<T>(), 0, {}};
  T own_query[N];
#pragma unroll
  for (int n = 0; n < N; n++) {
    int i = n * WARP + lane;
    own_query[n] = i < width ? query[i] : T(0);
  }
  long long share = (to - from + gridDim.y - 1) / gridDim.y;
  from += blockIdx.y * share;
  to = to < from + share ? to : from + share;
  // All warps go on together: the sums are taken by all of them.
  constexpr int KEYS = Attended<T, N>::KEYS;
  for (; from < to; from += warps * KEYS) {
    mixed.add(own_query, keys, values, from + warp * KEYS, to, width, number<T>(p, 0));
  }
  bool whole = gridDim.y == 1;
  long long of_all = row * heads + head;
  write_head(mixed, width, whole,
             whole ? (T *)p.out[0] + of_all * width : (T *)p.out[3] + (of_all * gridDim.y + blockIdx.y) * (width + 2));
}

// One new token of every row, from its queries, keys and values side by side: y = softmax(scale · q kᵀ) v head by head.
// Size: heads of all rows, heads, key heads, width of a head, slots of the cache, the slot of the new token. Inputs: qkv
// (rows, (heads + 2 kv) · width), gains of queries and keys or null. Tables: cosines and sines (positions, width / 2), pads
// before each row. Outputs: y (rows, heads · width), keys and values (rows, kv, slots, width), parts for attend_merge.
// Numbers: scale, ε of the norms.
template <class T, int N> __device__ void attend(const Params &p) {
  for (long long n = blockIdx.x; n < p.size[0]; n += gridDim.x) {
    attend_head<T, N>(p, n / p.size[1], n % p.size[1]);
  }
}
// A kernel for each number of a head's numbers that a lane has.
#define ATTEND(n)                                                                                                      \
  extern "C" __global__ void attend_##n##_f32(const Params p) { attend<float, n>(p); }                                 \
  extern "C" __global__ void attend_##n##_f64(const Params p) { attend<double, n>(p); }
ATTEND(1)
ATTEND(2)
ATTEND(4)
ATTEND(8)

// Puts together what several blocks have of a head; a block a head. Size: heads of all rows, width, parts. Input: for each
// part its values, its largest score and its sum.
template <class T> __device__ void attend_merge(const Params &p) {
  long long width = p.size[1], parts = p.size[2];
  for (long long head = blockIdx.x; head < p.size[0]; head += gridDim.x) {
    const T *of = (const T *)p.in[0] + head * parts * (width + 2);
    T most = lowest<T>(), total = 0;
    for (int part = 0; part < parts; part++) {
      T other = of[part * (width + 2) + width];
      most = other > most ? other : most;
    }
    for (int part = 0; part < parts; part++) {
      total += of[part * (width + 2) + width + 1] * f_exp(of[part * (width + 2) + width] - most);
    }
    for (int i = threadIdx.x; i < width; i += blockDim.x) {
      T sum = 0;
      for (int part = 0; part < parts; part++) {
        sum += of[part * (width + 2) + i] * f_exp(of[part * (width + 2) + width] - most);
      }
      ((T *)p.out[0])[head * width + i] = sum / total;
    }
  }
}
extern "C" __global__ void attend_merge_f32(const Params p) { attend_merge<float>(p); }
extern "C" __global__ void attend_merge_f64(const Params p) { attend_merge<double>(p); }

// Whether a number comes before another: it is larger, or as large and stands earlier. What is no number comes first.
template <class T> __device__ __forceinline__ bool comes_first(T x, T at, T other, T other_at) {
  bool none = x != x, other_none = other != other;
  if (none || other_none) {
    return none && (!other_none || at < other_at);
  }
  return x > other || (x == other && at < other_at);
}

// The largest of some numbers and where it stands, of each block's share. Size: numbers. Output: for each block the
// largest, then for each block its place.
template <class T> __device__ void largest(const Params &p) {
  const T *x = (const T *)p.in[0];
  // Places behind the last are none that a number has.
  T most = T(-INFINITY), at = T(p.size[0]);
  for (long long i = (long long)blockIdx.x * blockDim.x + threadIdx.x; i < p.size[0]; i += (long long)gridDim.x * blockDim.x) {
    if (comes_first(x[i], T(i), most, at)) {
      most = x[i];
      at = T(i);
    }
  }
  for (int lane = WARP / 2; lane > 0; lane /= 2) {
    T other = __shfl_xor_sync(EACH_LANE, most, lane), other_at = __shfl_xor_sync(EACH_LANE, at, lane);
    if (comes_first(other, other_at, most, at)) {
      most = other;
      at = other_at;
    }
  }
  __shared__ T most_of[MOST_WARPS], at_of[MOST_WARPS];
  if (threadIdx.x % WARP == 0) {
    most_of[threadIdx.x / WARP] = most;
    at_of[threadIdx.x / WARP] = at;
  }
  __syncthreads();
  if (threadIdx.x == 0) {
    for (unsigned int warp = 1; warp < blockDim.x / WARP; warp++) {
      if (comes_first(most_of[warp], at_of[warp], most, at)) {
        most = most_of[warp];
        at = at_of[warp];
      }
    }
    ((T *)p.out[0])[blockIdx.x] = most;
    ((T *)p.out[0])[gridDim.x + blockIdx.x] = at;
  }
}
extern "C" __global__ void largest_f32(const Params p) { largest<float>(p); }
extern "C" __global__ void largest_f64(const Params p) { largest<double>(p); }
