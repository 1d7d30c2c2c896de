//! The device that tensors live on, opened by name.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::{fmt, panic, str::FromStr};

use candle_core::{DType, Device, Tensor};
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result, out_of_memory};
use crate::threads;

/// What a build without CUDA says when it is asked for it.
const NO_CUDA: &str =
    "this build of perk computes on the CPU alone: scripts/build-cuda.sh makes one for CUDA";

/// Runs work whose many small parts are shared among threads on one of these: from outside, each part would wake them and
/// wait. For a GPU it runs where it is called.
pub(crate) fn among_threads<R: Send>(device: &Device, work: impl FnOnce() -> R + Send) -> R {
    match device {
        Device::Cpu => threads::among(work),
        _ => work(),
    }
}

/// A device as people name it: `auto`, `cpu`, `cuda` or `cuda:1`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum DeviceName {
    /// The first GPU if it works, else the CPU.
    #[default]
    Auto,
    /// The CPU.
    Cpu,
    /// The GPU of this number, from 0.
    Cuda(usize),
}

/// An open device.
#[derive(Debug, Clone)]
pub struct Opened {
    /// The device.
    pub device: Device,
    /// Why `auto` did not take a GPU, in a build that could have.
    pub passed_over: Option<String>,
}

impl Opened {
    /// What to tell a person whose GPU is not used.
    pub fn note(&self) -> Option<String> {
        self.passed_over.as_ref().map(|reason| format!("computing on the CPU: {reason}"))
    }
}

impl FromStr for DeviceName {
    type Err = String;

    fn from_str(name: &str) -> std::result::Result<Self, String> {
        match name.split_once(':') {
            None if name == "auto" => Ok(Self::Auto),
            None if name == "cpu" => Ok(Self::Cpu),
            None if name == "cuda" => Ok(Self::Cuda(0)),
            Some(("cuda", index)) if index.parse::<usize>().is_ok() => {
                Ok(Self::Cuda(index.parse().unwrap_or_default()))
            }
            _ => Err(format!("`{name}` is none of auto, cpu, cuda, cuda:N")),
        }
    }
}

impl TryFrom<String> for DeviceName {
    type Error = String;

    fn try_from(name: String) -> std::result::Result<Self, String> {
        name.parse()
    }
}

impl From<DeviceName> for String {
    fn from(name: DeviceName) -> Self {
        name.to_string()
    }
}

impl fmt::Display for DeviceName {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => out.write_str("auto"),
            Self::Cpu => out.write_str("cpu"),
            Self::Cuda(0) => out.write_str("cuda"),
            Self::Cuda(index) => write!(out, "cuda:{index}"),
        }
    }
}

impl DeviceName {
    /// Opens the device. A GPU has to multiply two matrices first: that it is listed does not mean that its
    /// driver and libraries work.
    ///
    /// # Errors
    /// A GPU that was asked for by its number, and that this build or machine does not have, or that has no
    /// memory left.
    pub fn open(self) -> Result<Opened> {
        let cpu = |passed_over| Opened { device: Device::Cpu, passed_over };
        match self {
            Self::Cpu => Ok(cpu(None)),
            Self::Auto if !cfg!(feature = "cuda") => Ok(cpu(None)),
            Self::Auto => Ok(match open_cuda(0) {
                Ok(device) => Opened { device, passed_over: None },
                Err(reason) => cpu(Some(reason)),
            }),
            Self::Cuda(index) => match open_cuda(index) {
                Ok(device) => Ok(Opened { device, passed_over: None }),
                Err(reason) => Err(Error::Invalid(format!("device `{self}` cannot be used: {reason}"))),
            },
        }
    }
}

/// The GPU, or why not.
fn open_cuda(index: usize) -> std::result::Result<Device, String> {
    if !cfg!(feature = "cuda") {
        return Err(NO_CUDA.to_owned());
    }
    if let Some(library) = missing_library() {
        return Err(not_here(library));
    }
    // The CUDA bindings panic where a library is too old for a function that they look up.
    match panic::catch_unwind(|| tried(index)) {
        Ok(Ok(device)) => Ok(device),
        Ok(Err(fault)) => Err(reason(&fault.to_string(), index)),
        Err(panic) => {
            let told = panic.downcast_ref::<String>().map(String::as_str);
            Err(reason(told.unwrap_or("a library of CUDA does not fit this build"), index))
        }
    }
}

/// GPUs that were opened, by their numbers: a process has one stream on each, so that all of its work there is done in the
/// order in which it is asked for, whichever thread asks.
static OPEN: Mutex<BTreeMap<usize, Device>> = Mutex::new(BTreeMap::new());

fn tried(index: usize) -> candle_core::Result<Device> {
    let mut open = OPEN.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(device) = open.get(&index) {
        return Ok(device.clone());
    }
    let device = opened(index)?;
    open.insert(index, device.clone());
    Ok(device)
}

fn opened(index: usize) -> candle_core::Result<Device> {
    let device = Device::new_cuda_with_stream(index)?;
    #[cfg(feature = "cuda")]
    {
        in_one_order(&device);
        keep_freed_memory(&device);
    }
    let ones = Tensor::ones((8, 8), DType::F32, &device)?;
    ones.matmul(&ones)?.sum_all()?.to_scalar::<f32>()?;
    Ok(device)
}

/// With one stream there is nothing that the bindings must watch for.
#[cfg(feature = "cuda")]
fn in_one_order(device: &Device) {
    if let Ok(device) = device.as_cuda_device() {
        // SAFETY: nothing here makes a second stream.
        #[allow(unsafe_code)]
        unsafe {
            device.disable_event_tracking();
        }
    }
}

/// Has the driver keep the memory that tensors leave for those to come: by default it goes back to the system whenever
/// the host waits for the GPU. A GPU without such a pool works as well, but slower.
#[cfg(feature = "cuda")]
fn keep_freed_memory(device: &Device) {
    use candle_core::cuda_backend::cudarc::driver::{result, sys::CUmemPool_attribute};
    let Ok(device) = device.as_cuda_device() else { return };
    let stream = device.cuda_stream();
    let number = stream.context().cu_device();
    let mut threshold = u64::MAX;
    // SAFETY: the number is of an open device; the attribute is one of 64 bits, which the driver copies.
    #[allow(unsafe_code)]
    unsafe {
        if let Ok(pool) = result::device::get_default_mem_pool(number) {
            let attribute = CUmemPool_attribute::CU_MEMPOOL_ATTR_RELEASE_THRESHOLD;
            result::mem_pool::set_attribute(pool, attribute, (&raw mut threshold).cast()).ok();
        }
    }
}

/// Name of a GPU, what of its memory is free, and all of it, in bytes; `None` for another device, and where the driver
/// does not say.
#[cfg(feature = "cuda")]
pub(crate) fn card(device: &Device) -> Option<(String, u64, u64)> {
    let stream = device.as_cuda_device().ok()?.cuda_stream();
    let context = stream.context();
    let (free, total) = context.mem_get_info().ok()?;
    Some((context.name().ok()?, free as u64, total as u64))
}

/// A build without CUDA knows no GPU.
#[cfg(not(feature = "cuda"))]
pub(crate) fn card(_device: &Device) -> Option<(String, u64, u64)> {
    None
}

/// The first library of CUDA that is not here. It is looked for before the bindings do, for they panic without it.
#[cfg(feature = "cuda")]
fn missing_library() -> Option<&'static str> {
    // Elsewhere they have other names.
    let looked_for = |name: &&str| cfg!(target_os = "linux") && !loads(name);
    ["libcuda.so", "libcublasLt.so", "libcublas.so", "libcurand.so"].into_iter().find(looked_for)
}

#[cfg(not(feature = "cuda"))]
fn missing_library() -> Option<&'static str> {
    None
}

/// Whether the system finds a library under its bare name or one of the versions that the bindings take.
#[cfg(feature = "cuda")]
fn loads(name: &str) -> bool {
    ["", ".1", ".13", ".12", ".11", ".10"].iter().any(|version| {
        // SAFETY: NVIDIA's own files, which the bindings load next in any case.
        #[allow(unsafe_code)]
        let library = unsafe { libloading::Library::new(format!("{name}{version}")) };
        // Left open: closing it would only have the bindings read it again.
        library.map(std::mem::forget).is_ok()
    })
}

/// What is said of a library that is missing.
fn not_here(library: &str) -> String {
    format!(
        "the library `{library}` is not on this machine; perk needs the driver's libcuda.so.1, and \
         libcublas.so.13, libcublasLt.so.13 and libcurand.so.10 where the system looks for libraries"
    )
}

/// What a fault of CUDA means to a person.
fn reason(fault: &str, index: usize) -> String {
    let first = fault.lines().next().unwrap_or_default();
    let says = |words: &[&str]| words.iter().any(|word| fault.contains(word));
    if out_of_memory(fault) {
        return format!("GPU {index} has no memory left ({first})");
    }
    if says(&["NO_DEVICE", "INVALID_DEVICE"]) {
        return format!("there is no GPU {index} on this machine ({first})");
    }
    if says(&["DEVICE_UNAVAILABLE"]) {
        return format!("GPU {index} is kept by another program ({first})");
    }
    if says(&TOO_OLD) {
        return format!("the driver is too old: perk needs NVIDIA's driver 580 or later ({first})");
    }
    if says(&OTHER_CAPABILITY) {
        return format!(
            "this build of perk has no kernels for GPU {index}: `nvidia-smi --query-gpu=compute_cap --format=csv` says its \
             compute capability, CUDA_COMPUTE_CAP=90 scripts/build-cuda.sh builds for one of 9.0 ({first})"
        );
    }
    first.to_owned()
}

/// What drivers and bindings say where the driver is older than the build.
const TOO_OLD: [&str; 5] = [
    "UNSUPPORTED_PTX_VERSION",
    "SYSTEM_DRIVER_MISMATCH",
    "COMPAT_NOT_SUPPORTED_ON_DEVICE",
    "driver version is insufficient",
    "Missing symbol",
];

/// What is said where the kernels are for other cards.
const OTHER_CAPABILITY: [&str; 4] =
    ["NO_BINARY_FOR_GPU", "no kernel image is available", "CUDA_ERROR_INVALID_PTX", "ARCH_MISMATCH"];

/// The device that numerical tests run on: the CPU, or what the environment variable `PERK_TEST_DEVICE` names.
#[cfg(test)]
pub(crate) fn under_test() -> Device {
    static OPENED: std::sync::LazyLock<Device> = std::sync::LazyLock::new(|| {
        let name = std::env::var("PERK_TEST_DEVICE").unwrap_or_else(|_| "cpu".to_owned());
        name.parse::<DeviceName>().unwrap().open().unwrap().device
    });
    OPENED.clone()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_and_written_alike_and_others_refused() {
        for name in ["auto", "cpu", "cuda", "cuda:3"] {
            assert_eq!(name.parse::<DeviceName>().unwrap().to_string(), name);
        }
        assert_eq!("cuda:0".parse(), Ok(DeviceName::Cuda(0)));
        for stranger in ["", "gpu", "metal", "cuda:", "cuda:x", "cuda:-1", "cpu:0", "auto:1"] {
            assert!(stranger.parse::<DeviceName>().is_err(), "{stranger}");
        }
    }

    #[test]
    fn the_cpu_is_always_there_and_auto_finds_something() {
        assert!(DeviceName::Cpu.open().unwrap().device.is_cpu());
        let auto = DeviceName::Auto.open().unwrap();
        assert!(auto.device.is_cuda() || auto.passed_over.is_some() == cfg!(feature = "cuda"));
    }

    #[test]
    fn a_gpu_that_is_not_there_is_an_error_that_names_it_and_says_what_to_do() {
        let error = DeviceName::Cuda(99).open().unwrap_err().to_string();
        assert!(error.starts_with("device `cuda:99` cannot be used: "), "{error}");
        assert_eq!(error.contains("build-cuda.sh"), !cfg!(feature = "cuda"), "{error}");
    }

    #[test]
    fn faults_of_cuda_are_told_in_words() {
        let cases = [
            (
                "DriverError(CUDA_ERROR_NO_DEVICE, \"no CUDA-capable device is detected\")",
                "there is no GPU 1",
            ),
            ("DriverError(CUDA_ERROR_INVALID_DEVICE, \"invalid device ordinal\")", "there is no GPU 1"),
            ("DriverError(CUDA_ERROR_OUT_OF_MEMORY, \"out of memory\")", "no memory left"),
            ("CUBLAS_STATUS_ALLOC_FAILED", "no memory left"),
            (
                "DriverError(CUDA_ERROR_DEVICE_UNAVAILABLE, \"busy or unavailable\")",
                "kept by another program",
            ),
            (
                "DriverError(CUDA_ERROR_UNSUPPORTED_PTX_VERSION, \"the provided PTX was compiled with an unsupported \
                 toolchain.\") when loading fill",
                "driver 580 or later",
            ),
            (
                "DriverError(CUDA_ERROR_SYSTEM_DRIVER_MISMATCH, \"system has unsupported display driver\")",
                "too old",
            ),
            ("Missing symbol cuCtxGetDevice_v2: undefined symbol\nbacktrace", "driver 580 or later"),
            (
                "DriverError(CUDA_ERROR_NO_BINARY_FOR_GPU, \"no kernel image is available for execution on the device\")",
                "CUDA_COMPUTE_CAP",
            ),
            ("DriverError(CUDA_ERROR_INVALID_PTX, \"a PTX JIT compilation failed\")", "no kernels for GPU 1"),
            ("CublasError(CUBLAS_STATUS_ARCH_MISMATCH)", "no kernels for GPU 1"),
            ("something else\nbacktrace", "something else"),
        ];
        for (fault, expected) in cases {
            let told = reason(fault, 1);
            assert!(told.contains(expected) && !told.contains('\n'), "{fault}: {told}");
        }
    }

    #[test]
    fn a_library_that_is_missing_is_named_in_one_line() {
        let told = not_here("libcuda.so");
        assert!(told.contains("the library `libcuda.so` is not on this machine") && !told.contains('\n'));
        #[cfg(feature = "cuda")]
        assert!(!loads("libno-such-library.so"));
    }
}
