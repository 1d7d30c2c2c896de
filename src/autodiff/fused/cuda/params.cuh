// What every kernel is given, and the numbers that it computes with. The same sources are compiled by nvcc for a card
// and, behind host.h, by any C++ compiler for the CPU, where the tests compare them with the row functions.
#pragma once

#ifdef __CUDACC__
#include <cuda_bf16.h>
#define WARP 32
#define EACH_LANE 0xffffffffu
#else
#include "host.h"
#endif

// One argument for all kernels, as `Params` in launch.rs has it.
struct Params {
  // Values and tangents; the tangent of an input that does not vary is null.
  const void *in[8];
  const void *in_tangent[8];
  void *out[6];
  void *out_tangent[6];
  // Tables and numbers of rows, which never vary.
  const void *table[4];
  long long size[40];
  // Bits of f32 or f64, whichever the kernel computes in.
  unsigned long long number[24];
  // How many neighbours may be moved at once: four where every tensor begins at a multiple of 16 bytes, else one.
  long long at_once;
  // Which inputs and outputs are stored in bf16 rather than in f32: a bit each, the first the lowest.
  long long narrow_in, narrow_out;
};

// Neighbours as they lie in memory, and as numbers of a kernel.
template <class T, int N> struct alignas(sizeof(T) * N < 16 ? sizeof(T) * N : 16) Lying {
  T at[N];
};
template <class S, int N> struct Some {
  S at[N];
};

// N neighbours from place i on, of bf16 where they are narrow.
template <class T, int N> __device__ __forceinline__ Some<T, N> load(const void *numbers, long long i, bool narrow) {
  Some<T, N> some;
  if (sizeof(T) == sizeof(float) && narrow) {
    auto lying = *(const Lying<__nv_bfloat16, N> *)((const __nv_bfloat16 *)numbers + i);
#pragma unroll
    for (int k = 0; k < N; k++) {
      some.at[k] = __bfloat162float(lying.at[k]);
    }
  } else {
    auto lying = *(const Lying<T, N> *)((const T *)numbers + i);
#pragma unroll
    for (int k = 0; k < N; k++) {
      some.at[k] = lying.at[k];
    }
  }
  return some;
}
template <class T, int N>
__device__ __forceinline__ void store(void *numbers, long long i, bool narrow, const Some<T, N> &some) {
  if (sizeof(T) == sizeof(float) && narrow) {
    Lying<__nv_bfloat16, N> lying;
#pragma unroll
    for (int k = 0; k < N; k++) {
      lying.at[k] = __float2bfloat16((float)some.at[k]);
    }
    *(Lying<__nv_bfloat16, N> *)((__nv_bfloat16 *)numbers + i) = lying;
  } else {
    Lying<T, N> lying;
#pragma unroll
    for (int k = 0; k < N; k++) {
      lying.at[k] = some.at[k];
    }
    *(Lying<T, N> *)((T *)numbers + i) = lying;
  }
}

// A number and its derivative along one direction, with ε² = 0.
template <class T> struct Pair {
  T value, tangent;
};

template <class S> struct Of {
  typedef S Real;
  static constexpr bool dual = false;
};
template <class T> struct Of<Pair<T>> {
  typedef T Real;
  static constexpr bool dual = true;
};

template <class S> __device__ __forceinline__ S constant(typename Of<S>::Real x) {
  if constexpr (Of<S>::dual) {
    return S{x, 0};
  } else {
    return x;
  }
}

__device__ __forceinline__ float value(float x) { return x; }
__device__ __forceinline__ double value(double x) { return x; }
template <class T> __device__ __forceinline__ T value(Pair<T> x) { return x.value; }

template <class T> __device__ __forceinline__ Pair<T> operator+(Pair<T> a, Pair<T> b) {
  return {a.value + b.value, a.tangent + b.tangent};
}
template <class T> __device__ __forceinline__ Pair<T> operator-(Pair<T> a, Pair<T> b) {
  return {a.value - b.value, a.tangent - b.tangent};
}
template <class T> __device__ __forceinline__ Pair<T> operator-(Pair<T> a) { return {-a.value, -a.tangent}; }
template <class T> __device__ __forceinline__ Pair<T> operator*(Pair<T> a, Pair<T> b) {
  return {a.value * b.value, a.tangent * b.value + a.value * b.tangent};
}
template <class T> __device__ __forceinline__ Pair<T> operator*(Pair<T> a, T b) {
  return {a.value * b, a.tangent * b};
}
template <class T> __device__ __forceinline__ Pair<T> operator/(Pair<T> a, Pair<T> b) {
  T q = a.value / b.value;
  return {q, (a.tangent - q * b.tangent) / b.value};
}

// Functions of plain numbers, by their names in formula.rs.
__device__ __forceinline__ float f_exp(float x) { return expf(x); }
__device__ __forceinline__ double f_exp(double x) { return exp(x); }
__device__ __forceinline__ float f_ln(float x) { return logf(x); }
__device__ __forceinline__ double f_ln(double x) { return log(x); }
__device__ __forceinline__ float f_ln_1p(float x) { return log1pf(x); }
__device__ __forceinline__ double f_ln_1p(double x) { return log1p(x); }
__device__ __forceinline__ float f_sqrt(float x) { return sqrtf(x); }
__device__ __forceinline__ double f_sqrt(double x) { return sqrt(x); }
__device__ __forceinline__ float f_erf(float x) { return erff(x); }
__device__ __forceinline__ double f_erf(double x) { return erf(x); }

// And of pairs.
template <class T> __device__ __forceinline__ Pair<T> f_exp(Pair<T> x) {
  T e = f_exp(x.value);
  return {e, e * x.tangent};
}
template <class T> __device__ __forceinline__ Pair<T> f_ln(Pair<T> x) {
  return {f_ln(x.value), x.tangent / x.value};
}
template <class T> __device__ __forceinline__ Pair<T> f_ln_1p(Pair<T> x) {
  return {f_ln_1p(x.value), x.tangent / (T(1) + x.value)};
}
// The derivative at zero is taken as zero, as an adaptive optimiser needs it.
template <class T> __device__ __forceinline__ Pair<T> f_sqrt(Pair<T> x) {
  T root = f_sqrt(x.value);
  return {root, root > T(0) ? x.tangent / (root + root) : T(0)};
}
template <class T> __device__ __forceinline__ Pair<T> f_erf(Pair<T> x) {
  T slope = T(1.1283791670955126) * f_exp(-(x.value * x.value));
  return {f_erf(x.value), slope * x.tangent};
}
template <class S> __device__ __forceinline__ S pick(S x, S yes, S no) {
  return value(x) > typename Of<S>::Real(0) ? yes : no;
}

// Numbers of an input, with their tangents if S has them.
template <class S> struct In {
  typedef typename Of<S>::Real T;
  const void *values;
  const void *tangents;
  bool narrow;
  __device__ __forceinline__ In(const Params &p, int index)
      : values(p.in[index]), tangents(p.in_tangent[index]), narrow((p.narrow_in >> index) & 1) {}
  // N neighbours; several only where `at_once` of the parameters says so.
  template <int N> __device__ __forceinline__ Some<S, N> take(long long i) const {
    Some<T, N> value = load<T, N>(values, i, narrow), tangent = {};
    if (Of<S>::dual && tangents) {
      tangent = load<T, N>(tangents, i, narrow);
    }
    Some<S, N> some;
#pragma unroll
    for (int k = 0; k < N; k++) {
      if constexpr (Of<S>::dual) {
        some.at[k] = S{value.at[k], tangent.at[k]};
      } else {
        some.at[k] = value.at[k];
      }
    }
    return some;
  }
  __device__ __forceinline__ S operator[](long long i) const { return take<1>(i).at[0]; }
};

// Numbers of an output.
template <class S> struct Out {
  typedef typename Of<S>::Real T;
  void *values;
  void *tangents;
  bool narrow;
  __device__ __forceinline__ Out(const Params &p, int index)
      : values(p.out[index]), tangents(p.out_tangent[index]), narrow((p.narrow_out >> index) & 1) {}
  template <int N> __device__ __forceinline__ void put(long long i, const Some<S, N> &some) const {
    Some<T, N> value, tangent = {};
#pragma unroll
    for (int k = 0; k < N; k++) {
      if constexpr (Of<S>::dual) {
        value.at[k] = some.at[k].value;
        tangent.at[k] = some.at[k].tangent;
      } else {
        value.at[k] = some.at[k];
      }
    }
    store<T, N>(values, i, narrow, value);
    if (Of<S>::dual) {
      store<T, N>(tangents, i, narrow, tangent);
    }
  }
  __device__ __forceinline__ void set(long long i, S x) const { put<1>(i, Some<S, 1>{{x}}); }
};

// Constants of a formula or a kernel.
template <class T> __device__ __forceinline__ T number(const Params &p, int index);
template <> __device__ __forceinline__ float number<float>(const Params &p, int index) {
  unsigned int bits = (unsigned int)p.number[index];
  float x;
  memcpy(&x, &bits, sizeof x);
  return x;
}
template <> __device__ __forceinline__ double number<double>(const Params &p, int index) {
  double x;
  memcpy(&x, &p.number[index], sizeof x);
  return x;
}

template <class S> struct Numbers {
  const Params &params;
  __device__ __forceinline__ S operator[](int index) const {
    return constant<S>(number<typename Of<S>::Real>(params, index));
  }
};

// The sum over the lanes of a warp, in each of them.
template <class T> __device__ __forceinline__ T warp_sum(T x) {
  for (int lane = WARP / 2; lane > 0; lane /= 2) {
    x += __shfl_xor_sync(EACH_LANE, x, lane);
  }
  return x;
}
template <class T> __device__ __forceinline__ Pair<T> warp_sum(Pair<T> x) {
  return {warp_sum(x.value), warp_sum(x.tangent)};
}
template <class T> __device__ __forceinline__ T warp_max(T x) {
  for (int lane = WARP / 2; lane > 0; lane /= 2) {
    T other = __shfl_xor_sync(EACH_LANE, x, lane);
    x = other > x ? other : x;
  }
  return x;
}

// Most warps of a block.
#define MOST_WARPS 32

// The sum over the threads of a block, in each of them.
template <class S> __device__ __forceinline__ S block_sum(S x) {
  __shared__ S parts[MOST_WARPS];
  int warp = threadIdx.x / WARP, warps = blockDim.x / WARP;
  x = warp_sum(x);
  if (threadIdx.x % WARP == 0) {
    parts[warp] = x;
  }
  __syncthreads();
  S sum = parts[0];
  for (int other = 1; other < warps; other++) {
    sum = sum + parts[other];
  }
  __syncthreads();
  return sum;
}

template <class T> __device__ __forceinline__ T block_max(T x) {
  __shared__ T parts[MOST_WARPS];
  int warp = threadIdx.x / WARP, warps = blockDim.x / WARP;
  x = warp_max(x);
  if (threadIdx.x % WARP == 0) {
    parts[warp] = x;
  }
  __syncthreads();
  T most = parts[0];
  for (int other = 1; other < warps; other++) {
    most = parts[other] > most ? parts[other] : most;
  }
  __syncthreads();
  return most;
}

// One kernel in the four types that it is called for.
#define KERNEL_AS(entry, name, S)                                                                                      \
  extern "C" __global__ void entry(const Params p) { name<S>(p); }
#define KERNEL(name)                                                                                                   \
  KERNEL_AS(name##_f32, name, float)                                                                                   \
  KERNEL_AS(name##_f64, name, double)                                                                                  \
  KERNEL_AS(name##_f32_dual, name, Pair<float>)                                                                        \
  KERNEL_AS(name##_f64_dual, name, Pair<double>)
// One that moves four neighbours at once where it can: rows of `width` numbers must then be a multiple of four.
#define WIDE_KERNEL_AS(entry, name, S, width)                                                                          \
  extern "C" __global__ void entry(const Params p) {                                                                   \
    if (sizeof(Of<S>::Real) == sizeof(float) && p.at_once == 4 && (width) % 4 == 0) {                                  \
      name<S, 4>(p);                                                                                                   \
    } else {                                                                                                           \
      name<S, 1>(p);                                                                                                   \
    }                                                                                                                  \
  }
#define WIDE_KERNEL(name, width)                                                                                       \
  WIDE_KERNEL_AS(name##_f32, name, float, width)                                                                       \
  WIDE_KERNEL_AS(name##_f64, name, double, width)                                                                      \
  WIDE_KERNEL_AS(name##_f32_dual, name, Pair<float>, width)                                                            \
  WIDE_KERNEL_AS(name##_f64_dual, name, Pair<double>, width)
