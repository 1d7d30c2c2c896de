//! Products by cuBLAS.

use std::ffi::{c_int, c_longlong, c_void};

use candle_core::CudaDevice;
use candle_core::cuda_backend::cudarc::cublas::{result, sys};

use super::cuda::failed;
use super::gemm::{Gemm, Kind, Operand};
use crate::Result;

/// The factors' type, the result's, and what sums are taken in.
fn types(kind: Kind, narrow: bool) -> (sys::cudaDataType, sys::cudaDataType, sys::cublasComputeType_t) {
    use sys::cublasComputeType_t as Compute;
    use sys::cudaDataType_t as Type;
    match kind {
        Kind::F64 => (Type::CUDA_R_64F, Type::CUDA_R_64F, Compute::CUBLAS_COMPUTE_64F),
        Kind::F32 => (Type::CUDA_R_32F, Type::CUDA_R_32F, Compute::CUBLAS_COMPUTE_32F),
        Kind::Tf32 => (Type::CUDA_R_32F, Type::CUDA_R_32F, Compute::CUBLAS_COMPUTE_32F_FAST_TF32),
        Kind::Bf16 if narrow => (Type::CUDA_R_16BF, Type::CUDA_R_16BF, Compute::CUBLAS_COMPUTE_32F),
        Kind::Bf16 => (Type::CUDA_R_16BF, Type::CUDA_R_32F, Compute::CUBLAS_COMPUTE_32F),
    }
}

fn operation(factor: &Operand) -> sys::cublasOperation_t {
    match factor.transposed {
        true => sys::cublasOperation_t::CUBLAS_OP_T,
        false => sys::cublasOperation_t::CUBLAS_OP_N,
    }
}

/// Takes a product. cuBLAS is column-major: what is row-major is its own transpose to it, and Cᵀ = Bᵀ Aᵀ.
pub(super) fn multiply(device: &CudaDevice, gemm: &Gemm) -> Result<()> {
    let Gemm { kind, a, b, c, rows, depth, columns, batch, alpha, beta, narrow } = gemm;
    let (factors, results, compute) = types(*kind, *narrow);
    let blas = device.cublas_handle();
    let singles = [*alpha as f32, *beta as f32];
    let doubles = [*alpha, *beta];
    let scalar = |index: usize| match kind {
        Kind::F64 => std::ptr::from_ref(&doubles[index]).cast::<c_void>(),
        _ => std::ptr::from_ref(&singles[index]).cast::<c_void>(),
    };
    let sizes = [columns, rows, depth].map(|size| *size as c_int);
    // SAFETY: the sum that made this product holds its tensors, and has checked that the shapes fit.
    #[allow(unsafe_code)]
    let taken = unsafe {
        result::gemm_strided_batched_ex(
            *blas.handle(),
            operation(b),
            operation(a),
            sizes[0],
            sizes[1],
            sizes[2],
            scalar(0),
            b.address as *const c_void,
            factors,
            b.stride as c_int,
            b.batch_stride as c_longlong,
            a.address as *const c_void,
            factors,
            a.stride as c_int,
            a.batch_stride as c_longlong,
            scalar(1),
            c.address as *mut c_void,
            results,
            c.stride as c_int,
            c.batch_stride as c_longlong,
            *batch as c_int,
            compute,
            sys::cublasGemmAlgo_t::CUBLAS_GEMM_DEFAULT_TENSOR_OP,
        )
    };
    taken.map_err(|fault| failed("a product", &fault))
}
