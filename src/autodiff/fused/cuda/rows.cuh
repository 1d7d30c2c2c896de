// Kernels over rows: norms, softmax, cross entropy. Formulas and their sources stand beside the row functions in
// kernels/.
#pragma once
#include "params.cuh"

// y = x ⊙ g / √(mean(x²) + ε); a block a row.
template <class S, int N>
__device__ __forceinline__ S inverse_rms(const In<S> &x, long long start, int width, typename Of<S>::Real eps) {
  typedef typename Of<S>::Real T;
  S squares = constant<S>(0);
  for (int i = N * threadIdx.x; i < width; i += N * blockDim.x) {
    Some<S, N> some = x.template take<N>(start + i);
#pragma unroll
    for (int k = 0; k < N; k++) {
      squares = squares + some.at[k] * some.at[k];
    }
  }
  squares = block_sum(squares);
  return constant<S>(1) / f_sqrt(squares * (T(1) / T(width)) + constant<S>(eps));
}

template <class S, int N> __device__ void rms_norm(const Params &p) {
  typedef typename Of<S>::Real T;
  In<S> x(p, 0);
  Out<S> y(p, 0);
  int width = (int)p.size[1];
  for (long long row = blockIdx.x; row < p.size[0]; row += gridDim.x) {
    long long start = row * width;
    S inverse = inverse_rms<S, N>(x, start, width, number<T>(p, 0));
    for (int i = N * threadIdx.x; i < width; i += N * blockDim.x) {
      Some<S, N> some = x.template take<N>(start + i);
      Some<T, N> gain = load<T, N>(p.table[0], i, false);
#pragma unroll
      for (int k = 0; k < N; k++) {
        some.at[k] = some.at[k] * inverse * gain.at[k];
      }
      y.template put<N>(start + i, some);
    }
  }
}
WIDE_KERNEL(rms_norm, p.size[1])

// dx = r (dy ⊙ g − x r² mean(x ⊙ dy ⊙ g)).
template <class S, int N> __device__ void rms_norm_vjp(const Params &p) {
  typedef typename Of<S>::Real T;
  In<S> x(p, 0), dy(p, 1);
  Out<S> dx(p, 0);
  int width = (int)p.size[1];
  for (long long row = blockIdx.x; row < p.size[0]; row += gridDim.x) {
    long long start = row * width;
    S inverse = inverse_rms<S, N>(x, start, width, number<T>(p, 0));
    S along = constant<S>(0);
    for (int i = N * threadIdx.x; i < width; i += N * blockDim.x) {
      Some<S, N> one = x.template take<N>(start + i), cotangent = dy.template take<N>(start + i);
      Some<T, N> gain = load<T, N>(p.table[0], i, false);
#pragma unroll
      for (int k = 0; k < N; k++) {
        along = along + one.at[k] * cotangent.at[k] * gain.at[k];
      }
    }
    along = block_sum(along) * inverse * inverse * (T(1) / T(width));
    for (int i = N * threadIdx.x; i < width; i += N * blockDim.x) {
      Some<S, N> one = x.template take<N>(start + i), cotangent = dy.template take<N>(start + i);
      Some<T, N> gain = load<T, N>(p.table[0], i, false);
#pragma unroll
      for (int k = 0; k < N; k++) {
        one.at[k] = inverse * (cotangent.at[k] * gain.at[k] - one.at[k] * along);
      }
      dx.template put<N>(start + i, one);
    }
  }
}
WIDE_KERNEL(rms_norm_vjp, p.size[1])

// p = softmax(scale · x) over the keys that a query sees; a warp a row. Size: rows, S, rows of a batch entry. Table:
// for each entry of the batch the first and one past the last position that is not padding. Exponentials are computed
// twice rather than written and read again.
template <class S, int N> __device__ void causal_softmax(const Params &p) {
  typedef typename Of<S>::Real T;
  In<S> x(p, 0);
  Out<S> y(p, 0);
  const unsigned int *spans = (const unsigned int *)p.table[0];
  int tokens = (int)p.size[1], lane = threadIdx.x % WARP, warps = blockDim.x / WARP;
  T scale = number<T>(p, 0);
  // All warps of a block go on together: the sums below are taken by all of them.
  for (long long first = (long long)blockIdx.x * warps; first < p.size[0]; first += (long long)gridDim.x * warps) {
    long long row = first + threadIdx.x / WARP;
    bool here = row < p.size[0];
    int from = 0, to = 0;
    if (here) {
      const unsigned int *span = spans + 2 * (row / p.size[2]);
      int position = (int)(row % tokens);
      from = (int)span[0];
      to = (int)span[1] < position + 1 ? (int)span[1] : position + 1;
    }
    long long start = row * tokens;
    // The first of a lane's neighbours of which one may be seen.
    int own = N * (from / N / WARP * WARP + lane);
    T most = T(-INFINITY);
    for (int i = own; i < to; i += N * WARP) {
      Some<S, N> some = x.template take<N>(start + i);
#pragma unroll
      for (int k = 0; k < N; k++) {
        T one = value(some.at[k]);
        most = i + k >= from && i + k < to && one > most ? one : most;
      }
    }
    most = warp_max(most);
    S total = constant<S>(0);
    for (int i = own; i < to; i += N * WARP) {
      Some<S, N> some = x.template take<N>(start + i);
#pragma unroll
      for (int k = 0; k < N; k++) {
        if (i + k >= from && i + k < to) {
          total = total + f_exp((some.at[k] - constant<S>(most)) * scale);
        }
      }
    }
    total = warp_sum(total);
    S inverse = constant<S>(1) / total;
    for (int i = N * lane; here && i < tokens; i += N * WARP) {
      Some<S, N> weights;
#pragma unroll
      for (int k = 0; k < N; k++) {
        weights.at[k] = constant<S>(0);
      }
      if (i + N > from && i < to) {
        Some<S, N> some = x.template take<N>(start + i);
#pragma unroll
        for (int k = 0; k < N; k++) {
          if (i + k >= from && i + k < to) {
            weights.at[k] = f_exp((some.at[k] - constant<S>(most)) * scale) * inverse;
          }
        }
      }
      y.template put<N>(start + i, weights);
    }
  }
}
WIDE_KERNEL(causal_softmax, p.size[1])

// dx = scale · p ⊙ (dp − Σ p ⊙ dp); a warp a row. Size: rows, width.
template <class S, int N> __device__ void softmax_vjp(const Params &p) {
  typedef typename Of<S>::Real T;
  In<S> weights(p, 0), dp(p, 1);
  Out<S> dx(p, 0);
  int width = (int)p.size[1], lane = threadIdx.x % WARP, warps = blockDim.x / WARP;
  T scale = number<T>(p, 0);
  for (long long first = (long long)blockIdx.x * warps; first < p.size[0]; first += (long long)gridDim.x * warps) {
    long long row = first + threadIdx.x / WARP;
    int count = row < p.size[0] ? width : 0;
    long long start = row * width;
    S along = constant<S>(0);
    for (int i = N * lane; i < count; i += N * WARP) {
      Some<S, N> weight = weights.template take<N>(start + i), cotangent = dp.template take<N>(start + i);
#pragma unroll
      for (int k = 0; k < N; k++) {
        along = along + weight.at[k] * cotangent.at[k];
      }
    }
    along = warp_sum(along);
    for (int i = N * lane; i < count; i += N * WARP) {
      Some<S, N> weight = weights.template take<N>(start + i), cotangent = dp.template take<N>(start + i);
#pragma unroll
      for (int k = 0; k < N; k++) {
        weight.at[k] = weight.at[k] * (cotangent.at[k] - along) * scale;
      }
      dx.template put<N>(start + i, weight);
    }
  }
}
WIDE_KERNEL(softmax_vjp, p.size[1])

// A sum of exponentials beside the largest exponent so far, which is subtracted from all of them.
template <class S> struct Exponentials {
  typedef typename Of<S>::Real T;
  T most;
  S sum;
  __device__ __forceinline__ void add(S z) {
    T own = value(z);
    if (own > most) {
      sum = sum * f_exp(most - own);
      most = own;
    }
    sum = sum + f_exp(z - constant<S>(most));
  }
};

// ce = ln Σ exp z − z[target] and dz = weight (softmax z − onehot); a block a row. Size: rows, V, first target. Table: the
// targets.
template <class S, int N> __device__ void cross_entropy(const Params &p) {
  typedef typename Of<S>::Real T;
  In<S> z(p, 0), weights(p, 1);
  Out<S> dz(p, 0), ce(p, 1);
  int vocab = (int)p.size[1];
  for (long long row = blockIdx.x; row < p.size[0]; row += gridDim.x) {
    long long start = row * vocab;
    long long target = ((const unsigned int *)p.table[0])[p.size[2] + row];
    // Below every logit, and finite: the difference of two infinities is no number.
    Exponentials<S> own{sizeof(T) == 4 ? T(-3.0e38) : T(-1.0e300), constant<S>(0)};
    for (int i = N * threadIdx.x; i < vocab; i += N * blockDim.x) {
      Some<S, N> some = z.template take<N>(start + i);
#pragma unroll
      for (int k = 0; k < N; k++) {
        own.add(some.at[k]);
      }
    }
    T most = block_max(own.most);
    S total = block_sum(own.sum * f_exp(own.most - most));
    S weight = weights[row];
    S factor = weight / total;
    for (int i = N * threadIdx.x; i < vocab; i += N * blockDim.x) {
      Some<S, N> some = z.template take<N>(start + i);
#pragma unroll
      for (int k = 0; k < N; k++) {
        S slope = f_exp(some.at[k] - constant<S>(most)) * factor;
        some.at[k] = i + k == target ? slope - weight : slope;
      }
      dz.template put<N>(start + i, some);
    }
    if (threadIdx.x == 0) {
      ce.set(row, f_ln(total) + constant<S>(most) - z[start + target]);
    }
  }
}
WIDE_KERNEL(cross_entropy, p.size[1])

// Sums of a, or of a ⊙ b, in f64, each in some pieces: blockIdx.y says which set is meant, whose parameters lie in device
// memory, and blockIdx.x which piece of which block of its numbers. Size: numbers of a block, pieces.
template <class T> __device__ void dots(const Params &p) {
  const Params own = ((const Params *)p.table[0])[blockIdx.y];
  long long count = own.size[0], pieces = own.size[1];
  long long block = blockIdx.x / pieces, piece = blockIdx.x % pieces, length = (count + pieces - 1) / pieces;
  long long end = (piece + 1) * length < count ? (piece + 1) * length : count;
  const T *a = (const T *)own.in[0] + block * count;
  const T *b = own.in[1] ? (const T *)own.in[1] + block * count : nullptr;
  double sum = 0;
#pragma unroll 4
  for (long long i = piece * length + threadIdx.x; i < end; i += blockDim.x) {
    sum += b ? (double)a[i] * (double)b[i] : (double)a[i];
  }
  sum = block_sum(sum);
  if (threadIdx.x == 0) {
    ((double *)own.out[0])[blockIdx.x] = sum;
  }
}
extern "C" __global__ void dots_f32(const Params p) { dots<float>(p); }
extern "C" __global__ void dots_f64(const Params p) { dots<double>(p); }
