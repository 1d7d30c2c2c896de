//! The module of kernels on a card, and launches.

#![allow(clippy::disallowed_methods)] // Nothing is copied but parameters.

use std::collections::HashMap;
use std::sync::{LazyLock, PoisonError, RwLock};

use candle_core::CudaDevice;
use candle_core::cuda_backend::cudarc::driver::{
    CudaFunction, DevicePtr, DeviceRepr, LaunchConfig, PushKernelArg,
};
use candle_core::cuda_backend::cudarc::nvrtc::Ptx;
use candle_core::cuda_backend::{CudaStorage, CudaStorageSlice};

use super::launch::{Params, Variant};
use crate::{Error, Result};

/// Machine code for the cards that build.rs names, and PTX for later ones.
static IMAGE: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/kernels.fatbin"));

// SAFETY: plain numbers, laid out as in C.
#[allow(unsafe_code)]
unsafe impl DeviceRepr for Params {}

type Functions = HashMap<(usize, &'static str, Variant), CudaFunction>;

/// Kernels that were looked up, by the number of the card.
static FUNCTIONS: LazyLock<RwLock<Functions>> = LazyLock::new(RwLock::default);

/// A kernel of the module, which is loaded at the first use of a card.
fn function(device: &CudaDevice, key: (&'static str, Variant)) -> Result<CudaFunction> {
    let stream = device.cuda_stream();
    let context = stream.context();
    let key = (context.ordinal(), key.0, key.1);
    if let Some(function) = FUNCTIONS.read().unwrap_or_else(PoisonError::into_inner).get(&key) {
        return Ok(function.clone());
    }
    static MODULES: LazyLock<
        RwLock<HashMap<usize, std::sync::Arc<candle_core::cuda_backend::cudarc::driver::CudaModule>>>,
    > = LazyLock::new(RwLock::default);
    let mut modules = MODULES.write().unwrap_or_else(PoisonError::into_inner);
    let module = match modules.get(&key.0) {
        Some(module) => module.clone(),
        None => {
            let module = context.load_module(Ptx::from_binary(IMAGE.to_vec())).map_err(|fault| {
                Error::Invalid(format!(
                    "the kernels of this build do not load on GPU {}: {fault:?}. They are compiled for compute \
                     capability 8.0 and later, and need a driver of version 580 or later",
                    key.0
                ))
            })?;
            modules.insert(key.0, module.clone());
            module
        }
    };
    let name = format!("{}{}", key.1, key.2.suffix());
    let function = module.load_function(&name);
    let function = function
        .map_err(|fault| Error::Invalid(format!("the kernel `{name}` is not in this build: {fault:?}")))?;
    FUNCTIONS.write().unwrap_or_else(PoisonError::into_inner).insert(key, function.clone());
    Ok(function)
}

/// Launches a kernel on the device's stream.
pub(super) fn launch(
    device: &CudaDevice,
    key: (&'static str, Variant),
    (blocks, second, threads): (usize, usize, usize),
    params: &Params,
) -> Result<()> {
    let function = function(device, key)?;
    let config = LaunchConfig {
        grid_dim: (blocks as u32, second as u32, 1),
        block_dim: (threads as u32, 1, 1),
        shared_mem_bytes: 0,
    };
    let stream = device.cuda_stream();
    let mut builder = stream.launch_builder(&function);
    builder.arg(params);
    // SAFETY: every kernel takes one `Params`, whose pointers lead to tensors of the sizes beside them.
    #[allow(unsafe_code)]
    let launched = unsafe { builder.launch(config) };
    launched.map_err(|fault| failed(key.0, &fault))?;
    Ok(())
}

/// An error of a launch.
pub(super) fn failed(what: &str, fault: &dyn std::fmt::Debug) -> Error {
    Error::from(candle_core::Error::Msg(format!("`{what}` on the GPU: {fault:?}")))
}

/// Address of the first number of a storage.
pub(super) fn base_address(storage: &CudaStorage) -> Result<u64> {
    let stream = storage.device.cuda_stream();
    macro_rules! of {
        ($slice:expr) => {
            $slice.device_ptr(&stream).0
        };
    }
    Ok(match &storage.slice {
        CudaStorageSlice::F32(slice) => of!(slice),
        CudaStorageSlice::F64(slice) => of!(slice),
        CudaStorageSlice::BF16(slice) => of!(slice),
        CudaStorageSlice::U32(slice) => of!(slice),
        CudaStorageSlice::I64(slice) => of!(slice),
        _ => {
            return Err(Error::Invalid(
                "a kernel was given a tensor of a type that it does not compute in".into(),
            ));
        }
    })
}
