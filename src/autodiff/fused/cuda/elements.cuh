// Element-wise kernels of the printed formulas, over tensors, over gates beside ups, and over many tensors at once.
#pragma once
#include "formulas.cuh"
#include "layout.cuh"

template <class S, class F> __device__ __forceinline__ void elements(const Params &p, long long first, long long step) {
  Numbers<S> c{p};
  for (long long n = first; n < p.size[0]; n += step) {
    S x[F::inputs], y[F::outputs];
#pragma unroll
    for (int i = 0; i < F::inputs; i++) {
      x[i] = In<S>(p, i)[n];
    }
    F::eval(x, y, c);
#pragma unroll
    for (int o = 0; o < F::outputs; o++) {
      Out<S>(p, o).set(n, y[o]);
    }
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
template <class S> __device__ void gated(const Params &p) {
  In<S> x(p, 0);
  Out<S> y(p, 0);
  Numbers<S> c{p};
  long long width = p.size[1];
  for (long long n = first_element(); n < p.size[0]; n += next_element()) {
    long long gate = n + quotient_of(n, width) * width;
    S in[2] = {x[gate], x[gate + width]}, out[1];
    Swiglu::eval(in, out, c);
    y.set(n, out[0]);
  }
}
KERNEL(gated)

template <class S> __device__ void gated_vjp(const Params &p) {
  In<S> x(p, 0), dy(p, 1);
  Out<S> dx(p, 0);
  Numbers<S> c{p};
  long long width = p.size[1];
  for (long long n = first_element(); n < p.size[0]; n += next_element()) {
    long long gate = n + quotient_of(n, width) * width;
    S in[3] = {x[gate], x[gate + width], dy[n]}, out[2];
    SwigluVjp::eval(in, out, c);
    dx.set(gate, out[0]);
    dx.set(gate + width, out[1]);
  }
}
KERNEL(gated_vjp)
