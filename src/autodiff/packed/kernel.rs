//! Which instructions packed products are taken with.

use std::sync::LazyLock;

/// This environment variable names the kernel that packed products are taken with, for tests and benches; one that the
/// machine does not have is as if it were not set.
pub const KERNEL: &str = "PERK_CPU_KERNEL";

/// Instructions for the innermost loops.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum CpuKernel {
    /// Plain loops.
    Portable,
    /// AVX2 and FMA.
    Avx2,
    /// AVX-512F.
    Avx512,
    /// AVX-512F, and AVX512-BF16 for products of bf16.
    Avx512Bf16,
    /// As the one before, and the tiles of AMX for products of bf16.
    Amx,
}

/// What [`KERNEL`] names, if the machine has it.
static NAMED: LazyLock<Option<CpuKernel>> = LazyLock::new(|| {
    let wanted = std::env::var(KERNEL).ok()?;
    CpuKernel::ALL.into_iter().find(|kernel| kernel.name() == wanted && kernel.is_available())
});

static CHOSEN: LazyLock<CpuKernel> = LazyLock::new(|| {
    let best = || CpuKernel::ALL.into_iter().rev().find(|kernel| kernel.is_available() && kernel.gains());
    NAMED.or_else(best).unwrap_or(CpuKernel::Portable)
});

impl CpuKernel {
    /// All of them, each better than the one before where the machine has it.
    pub const ALL: [Self; 5] = [Self::Portable, Self::Avx2, Self::Avx512, Self::Avx512Bf16, Self::Amx];

    /// The best one that the machine has, or the one that [`KERNEL`] names.
    pub fn chosen() -> Self {
        *CHOSEN
    }

    /// Whether packing pays: plain loops are slower than products with what is not packed, and are taken where they are
    /// named alone.
    pub fn pays() -> bool {
        Self::chosen() > Self::Portable || NAMED.is_some()
    }

    /// Its name: `portable`, `avx2`, `avx512`, `avx512-bf16`, `amx`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Portable => "portable",
            Self::Avx2 => "avx2",
            Self::Avx512 => "avx512",
            Self::Avx512Bf16 => "avx512-bf16",
            Self::Amx => "amx",
        }
    }

    /// Whether it multiplies numbers of bf16 as they are.
    pub(super) fn takes_bf16(self) -> bool {
        matches!(self, Self::Avx512Bf16 | Self::Amx)
    }

    /// Whether it is faster here than the one before: Intel's processors take a product of pairs of bf16 in no less time
    /// than two of f32, so that AVX512-BF16 took 1.3 times as long as AVX-512F there, at `medium`.
    #[cfg(target_arch = "x86_64")]
    fn gains(self) -> bool {
        const INTEL: [&[u8; 4]; 3] = [b"Genu", b"ineI", b"ntel"];
        let vendor = std::arch::x86_64::__cpuid(0);
        let is_intel = [vendor.ebx, vendor.edx, vendor.ecx].map(u32::to_le_bytes) == INTEL.map(|part| *part);
        self != Self::Avx512Bf16 || !is_intel
    }

    /// Whether it is faster here than the one before.
    #[cfg(not(target_arch = "x86_64"))]
    fn gains(self) -> bool {
        true
    }

    /// Whether processor and system allow it.
    #[cfg(target_arch = "x86_64")]
    pub fn is_available(self) -> bool {
        let avx2 = || is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma");
        let avx512 = || avx2() && is_x86_feature_detected!("avx512f");
        let avx512_bf16 = || avx512() && is_x86_feature_detected!("avx512bf16");
        match self {
            Self::Portable => true,
            Self::Avx2 => avx2(),
            Self::Avx512 => avx512(),
            Self::Avx512Bf16 => avx512_bf16(),
            Self::Amx => avx512_bf16() && super::amx::is_granted(),
        }
    }

    /// Whether processor and system allow it.
    #[cfg(not(target_arch = "x86_64"))]
    pub fn is_available(self) -> bool {
        self == Self::Portable
    }
}
