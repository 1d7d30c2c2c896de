// Element-wise kernels of the printed formulas, over tensors, over gates beside ups, and over many tensors at once.
#pragma once
#include "formulas.cuh"
#include "layout.cuh"

// A formula of N sets of inputs, input by input.
template <class F, class S, int N>
__device__ __forceinline__ void eval(const Some<S, N> *x, Some<S, N> *y, const Numbers<S> &c) {
#pragma unroll
  for (int k = 0; k < N; k++) {
    S in[F::inputs], out[F::outputs];
#pragma unroll
    for (int i = 0; i < F::inputs; i++) {
      in[i] = x[i].at[k];
    }
    F::eval(in, out, c);
#pragma unroll
    for (int o = 0; o < F::outputs; o++) {
      y[o].at[k] = out[o];
    }
  }
}

template <class F, class S, int N>
__device__ __forceinline__ void some_elements(const Params &p, long long first, long long step) {
  Numbers<S> c{p};
  for (long long n = N * first; n < p.size[0]; n += N * step) {
    Some<S, N> x[F::inputs], y[F::outputs];
#pragma unroll
    for (int i = 0; i < F::inputs; i++) {
      x[i] = In<S>(p, i).template take<N>(n);
    }
    eval<F, S, N>(x, y, c);
#pragma unroll
    for (int o = 0; o < F::outputs; o++) {
      Out<S>(p, o).template put<N>(n, y[o]);
    }
  }
}

template <class S, class F> __device__ __forceinline__ void elements(const Params &p, long long first, long long step) {
  if (sizeof(typename Of<S>::Real) == sizeof(float) && p.at_once == 4 && p.size[0] % 4 == 0) {
    some_elements<F, S, 4>(p, first, step);
  } else {
    some_elements<F, S, 1>(p, first, step);
  }
}

// A formula of its own name over one set of tensors, and as NAME_each over many: their parameters lie in device memory,
// and blockIdx.y says which are meant.
#define FORMULA_AS(entry, type, S)                                                                                     \
  extern "C" __global__ void entry(const Params p) { elements<S, type>(p, first_element(), next_element()); }
#define EACH_AS(entry, type, S)                                                                                        \
  extern "C" __global__ void entry(const Params p) {                                                                   \
    const Params own = ((const Params *)p.table[0])[blockIdx.y];                                                       \
    elements<S, type>(own, first_element(), next_element());                                                           \
  }
#define FORMULA(name, type)                                                                                            \
  FORMULA_AS(name##_f32, type, float)                                                                                  \
  FORMULA_AS(name##_f64, type, double)                                                                                 \
  FORMULA_AS(name##_f32_dual, type, Pair<float>)                                                                       \
  FORMULA_AS(name##_f64_dual, type, Pair<double>)                                                                      \
  EACH_AS(name##_each_f32, type, float)                                                                                \
  EACH_AS(name##_each_f64, type, double)                                                                               \
  EACH_AS(name##_each_f32_dual, type, Pair<float>)                                                                     \
  EACH_AS(name##_each_f64_dual, type, Pair<double>)

FORMULA(plus, Plus)
FORMULA(gelu, Gelu)
FORMULA(gelu_vjp, GeluVjp)
FORMULA(softplus, Softplus)
FORMULA(softplus_vjp, SoftplusVjp)
FORMULA(product, Product)
FORMULA(quotient, Quotient)
FORMULA(adamw, Adamw)
FORMULA(adamw_vjp, AdamwVjp)

// Rows of gates with the ups behind them. Size: numbers of y, width.
template <class S, int N> __device__ void gated(const Params &p) {
  In<S> x(p, 0);
  Out<S> y(p, 0);
  Numbers<S> c{p};
  long long width = p.size[1];
  for (long long n = N * first_element(); n < p.size[0]; n += N * next_element()) {
    long long gate = n + quotient_of(n, width) * width;
    Some<S, N> in[2] = {x.template take<N>(gate), x.template take<N>(gate + width)}, out[1];
    eval<Swiglu, S, N>(in, out, c);
    y.template put<N>(n, out[0]);
  }
}
WIDE_KERNEL(gated, p.size[1])

template <class S, int N> __device__ void gated_vjp(const Params &p) {
  In<S> x(p, 0), dy(p, 1);
  Out<S> dx(p, 0);
  Numbers<S> c{p};
  long long width = p.size[1];
  for (long long n = N * first_element(); n < p.size[0]; n += N * next_element()) {
    long long gate = n + quotient_of(n, width) * width;
    Some<S, N> in[3] = {x.template take<N>(gate), x.template take<N>(gate + width), dy.template take<N>(n)}, out[2];
    eval<SwigluVjp, S, N>(in, out, c);
    dx.template put<N>(gate, out[0]);
    dx.template put<N>(gate + width, out[1]);
  }
}
WIDE_KERNEL(gated_vjp, p.size[1])
