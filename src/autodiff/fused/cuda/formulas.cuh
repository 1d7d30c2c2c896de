// Element-wise formulas, printed from src/autodiff/kernels and src/optim: not to be edited. To print them
// anew: PERK_PRINT_FORMULAS=1 cargo test --lib formulas_for_a_gpu
#pragma once
#include "params.cuh"

struct Plus {
  static constexpr int inputs = 2, outputs = 1;
  template <class S> static __device__ __forceinline__ void eval(const S *x, S *y, Numbers<S> c) {
    S s0 = x[0];
    S s1 = x[1];
    S s2 = s0 + s1;
    y[0] = s2;
  }
};
struct Swiglu {
  static constexpr int inputs = 2, outputs = 1;
  template <class S> static __device__ __forceinline__ void eval(const S *x, S *y, Numbers<S> c) {
    S s0 = x[0];
    S s1 = x[1];
    S s2 = -s0;
    S s3 = pick(s0, s2, s0);
    S s4 = f_exp(s3);
    S s5 = c[0];
    S s6 = c[1];
    S s7 = s6 + s4;
    S s8 = s5 / s7;
    S s9 = s4 * s8;
    S s10 = pick(s0, s8, s9);
    S s11 = s0 * s10;
    S s12 = s11 * s1;
    y[0] = s12;
  }
};
struct SwigluVjp {
  static constexpr int inputs = 3, outputs = 2;
  template <class S> static __device__ __forceinline__ void eval(const S *x, S *y, Numbers<S> c) {
    S s0 = x[0];
    S s1 = x[1];
    S s2 = x[2];
    S s3 = -s0;
    S s4 = pick(s0, s3, s0);
    S s5 = f_exp(s4);
    S s6 = c[0];
    S s7 = c[1];
    S s8 = s7 + s5;
    S s9 = s6 / s8;
    S s10 = s5 * s9;
    S s11 = pick(s0, s9, s10);
    S s12 = s0 * s11;
    S s13 = s2 * s1;
    S s14 = c[2];
    S s15 = s14 - s11;
    S s16 = s12 * s15;
    S s17 = s11 + s16;
    S s18 = s13 * s17;
    S s19 = s2 * s12;
    y[0] = s18;
    y[1] = s19;
  }
};
struct Gelu {
  static constexpr int inputs = 1, outputs = 1;
  template <class S> static __device__ __forceinline__ void eval(const S *x, S *y, Numbers<S> c) {
    S s0 = x[0];
    S s1 = c[0];
    S s2 = c[1];
    S s3 = c[2];
    S s4 = s0 * s3;
    S s5 = f_erf(s4);
    S s6 = s2 + s5;
    S s7 = s1 * s6;
    S s8 = s0 * s7;
    y[0] = s8;
  }
};
struct GeluVjp {
  static constexpr int inputs = 2, outputs = 1;
  template <class S> static __device__ __forceinline__ void eval(const S *x, S *y, Numbers<S> c) {
    S s0 = x[0];
    S s1 = x[1];
    S s2 = c[0];
    S s3 = s0 * s0;
    S s4 = c[1];
    S s5 = s3 * s4;
    S s6 = f_exp(s5);
    S s7 = s2 * s6;
    S s8 = c[2];
    S s9 = c[3];
    S s10 = c[4];
    S s11 = s0 * s10;
    S s12 = f_erf(s11);
    S s13 = s9 + s12;
    S s14 = s8 * s13;
    S s15 = s0 * s7;
    S s16 = s14 + s15;
    S s17 = s1 * s16;
    y[0] = s17;
  }
};
struct Softplus {
  static constexpr int inputs = 1, outputs = 1;
  template <class S> static __device__ __forceinline__ void eval(const S *x, S *y, Numbers<S> c) {
    S s0 = x[0];
    S s1 = c[0];
    S s2 = s0 * s1;
    S s3 = c[1];
    S s4 = pick(s2, s2, s3);
    S s5 = -s2;
    S s6 = pick(s2, s5, s2);
    S s7 = f_exp(s6);
    S s8 = f_ln_1p(s7);
    S s9 = s4 + s8;
    S s10 = c[2];
    S s11 = s9 / s10;
    y[0] = s11;
  }
};
struct SoftplusVjp {
  static constexpr int inputs = 2, outputs = 1;
  template <class S> static __device__ __forceinline__ void eval(const S *x, S *y, Numbers<S> c) {
    S s0 = x[0];
    S s1 = x[1];
    S s2 = c[0];
    S s3 = s0 * s2;
    S s4 = -s3;
    S s5 = pick(s3, s4, s3);
    S s6 = f_exp(s5);
    S s7 = c[1];
    S s8 = c[2];
    S s9 = s8 + s6;
    S s10 = s7 / s9;
    S s11 = s6 * s10;
    S s12 = pick(s3, s10, s11);
    S s13 = s1 * s12;
    y[0] = s13;
  }
};
struct Product {
  static constexpr int inputs = 2, outputs = 1;
  template <class S> static __device__ __forceinline__ void eval(const S *x, S *y, Numbers<S> c) {
    S s0 = x[0];
    S s1 = x[1];
    S s2 = s0 * s1;
    y[0] = s2;
  }
};
struct Quotient {
  static constexpr int inputs = 2, outputs = 1;
  template <class S> static __device__ __forceinline__ void eval(const S *x, S *y, Numbers<S> c) {
    S s0 = x[0];
    S s1 = x[1];
    S s2 = s0 / s1;
    y[0] = s2;
  }
};
struct Adamw {
  static constexpr int inputs = 4, outputs = 3;
  template <class S> static __device__ __forceinline__ void eval(const S *x, S *y, Numbers<S> c) {
    S s0 = x[0];
    S s1 = x[1];
    S s2 = x[2];
    S s3 = x[3];
    S s4 = c[0];
    S s5 = s4 * s2;
    S s6 = c[1];
    S s7 = s6 * s1;
    S s8 = s5 + s7;
    S s9 = c[2];
    S s10 = s9 * s3;
    S s11 = c[3];
    S s12 = s11 * s1;
    S s13 = s12 * s1;
    S s14 = s10 + s13;
    S s15 = c[4];
    S s16 = s8 / s15;
    S s17 = c[5];
    S s18 = s14 / s17;
    S s19 = c[6];
    S s20 = s18 + s19;
    S s21 = f_sqrt(s20);
    S s22 = c[7];
    S s23 = s21 + s22;
    S s24 = c[8];
    S s25 = s0 * s24;
    S s26 = c[9];
    S s27 = s26 * s16;
    S s28 = s27 / s23;
    S s29 = s25 - s28;
    y[0] = s29;
    y[1] = s8;
    y[2] = s14;
  }
};
struct AdamwVjp {
  static constexpr int inputs = 7, outputs = 5;
  template <class S> static __device__ __forceinline__ void eval(const S *x, S *y, Numbers<S> c) {
    S s0 = x[0];
    S s1 = x[1];
    S s2 = x[2];
    S s3 = x[3];
    S s4 = x[4];
    S s5 = x[5];
    S s6 = x[6];
    S s7 = c[0];
    S s8 = s7 * s2;
    S s9 = c[1];
    S s10 = s9 * s1;
    S s11 = s8 + s10;
    S s12 = c[2];
    S s13 = s12 * s3;
    S s14 = c[3];
    S s15 = s14 * s1;
    S s16 = s15 * s1;
    S s17 = s13 + s16;
    S s18 = c[4];
    S s19 = s11 / s18;
    S s20 = c[5];
    S s21 = s17 / s20;
    S s22 = c[6];
    S s23 = s21 + s22;
    S s24 = f_sqrt(s23);
    S s25 = c[7];
    S s26 = s24 + s25;
    S s27 = s19 / s26;
    S s28 = c[8];
    S s29 = s0 * s28;
    S s30 = s29 + s27;
    S s31 = s4 * s30;
    S s32 = -s31;
    S s33 = c[9];
    S s34 = s33 * s4;
    S s35 = s34 / s26;
    S s36 = -s35;
    S s37 = s36 * s27;
    S s38 = -s37;
    S s39 = s24 + s24;
    S s40 = s38 / s39;
    S s41 = c[10];
    S s42 = pick(s24, s40, s41);
    S s43 = c[11];
    S s44 = s36 / s43;
    S s45 = s5 + s44;
    S s46 = c[12];
    S s47 = s42 / s46;
    S s48 = s6 + s47;
    S s49 = c[13];
    S s50 = s49 * s45;
    S s51 = c[14];
    S s52 = s51 * s1;
    S s53 = s52 * s48;
    S s54 = s50 + s53;
    S s55 = c[15];
    S s56 = s4 * s55;
    S s57 = c[16];
    S s58 = s57 * s45;
    S s59 = c[17];
    S s60 = s59 * s48;
    y[0] = s56;
    y[1] = s54;
    y[2] = s58;
    y[3] = s60;
    y[4] = s32;
  }
};
