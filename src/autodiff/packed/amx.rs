//! Products of bf16 on the tiles of AMX: 32 rows by 32 columns at a time.
//!
//! A tile register holds 16 rows of 64 bytes. `tdpbf16ps` multiplies a tile of 16 rows of 32 bf16 with one of 16 pairs of
//! rows of 16 columns, interleaved as panels are, and adds to 16 × 16 sums in f32. The intrinsics are not stable in Rust,
//! so this is assembly (Intel, Software Developer's Manual, volume 2, and Instruction Set Extensions reference).

#![allow(unsafe_code)] // Assembly, and a call of the system.

use std::arch::asm;
use std::arch::x86_64::{__cpuid, __cpuid_count, _xgetbv};

use half::bf16;

/// Rows and columns of a block.
pub(super) const SIDE: usize = 32;

/// Numbers of bf16 in a row of a tile: the depth of a panel is a multiple of it.
pub(super) const DEPTH: usize = 32;

/// Whether processor and system let this process use the tiles. The system is asked for permission, once.
pub(super) fn is_granted() -> bool {
    const OSXSAVE: u32 = 1 << 27;
    const BF16_AND_TILE: u32 = 1 << 22 | 1 << 24;
    const TILES_SAVED: u64 = 1 << 17 | 1 << 18;
    if __cpuid(0).eax < 7 || __cpuid(1).ecx & OSXSAVE == 0 {
        return false;
    }
    // SAFETY: the processor has xgetbv, as OSXSAVE says.
    let saved = unsafe { xcr0() };
    __cpuid_count(7, 0).edx & BF16_AND_TILE == BF16_AND_TILE
        && saved & TILES_SAVED == TILES_SAVED
        && system_permits()
}

#[target_feature(enable = "xsave")]
unsafe fn xcr0() -> u64 {
    // SAFETY: by the caller's word the processor has the instruction.
    unsafe { _xgetbv(0) }
}

/// Asks Linux for the state of the tiles: `arch_prctl(ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA)`.
#[cfg(target_os = "linux")]
fn system_permits() -> bool {
    const ARCH_PRCTL: i64 = 158;
    const ARCH_REQ_XCOMP_PERM: i64 = 0x1023;
    const XFEATURE_XTILEDATA: i64 = 18;
    let mut result = ARCH_PRCTL;
    // SAFETY: the call reads its two numbers and writes nothing; the system overwrites rcx and r11.
    unsafe {
        asm!(
            "syscall",
            inout("rax") result,
            in("rdi") ARCH_REQ_XCOMP_PERM,
            in("rsi") XFEATURE_XTILEDATA,
            out("rcx") _,
            out("r11") _,
            options(nostack),
        );
    }
    result == 0
}

#[cfg(not(target_os = "linux"))]
fn system_permits() -> bool {
    false
}

/// Layout of the tile registers, as `ldtilecfg` reads it.
#[repr(C, align(64))]
struct TileConfig {
    palette: u8,
    start_row: u8,
    reserved: [u8; 14],
    bytes_a_row: [u16; 16],
    rows: [u8; 16],
}

/// The tile registers of this thread, all of 16 rows of 64 bytes, until it is dropped.
pub(super) struct Tiles {
    /// A thread's registers are its own.
    _not_send: std::marker::PhantomData<*const ()>,
}

impl Tiles {
    /// Configures the tiles of this thread.
    ///
    /// # Safety
    /// [`is_granted`] must have said so.
    pub unsafe fn configure() -> Self {
        let (mut bytes_a_row, mut rows) = ([0; 16], [0; 16]);
        bytes_a_row[..8].fill(64);
        rows[..8].fill(16);
        let config = TileConfig { palette: 1, start_row: 0, reserved: [0; 14], bytes_a_row, rows };
        // SAFETY: the configuration is 64 bytes long and valid: palette 1 has eight tiles of at most 16 rows of 64 bytes.
        unsafe {
            asm!("ldtilecfg [{}]", in(reg) &raw const config, options(nostack, readonly));
        }
        Self { _not_send: std::marker::PhantomData }
    }

    /// `out = Σ a · b` over the planes of a: 32 rows, `a_stride` numbers apart, by two panels, `panel_stride` numbers apart,
    /// `depth` deep, a multiple of 32.
    ///
    /// # Safety
    /// All 32 rows of every plane and both panels must be there, `depth` deep.
    pub unsafe fn multiply(
        &self,
        planes: &[*const bf16],
        a_stride: usize,
        b: *const bf16,
        panel_stride: usize,
        depth: usize,
        out: &mut [f32; SIDE * SIDE],
    ) {
        let chunks = depth / DEPTH;
        // SAFETY: the tiles are configured, since there is a `self`.
        unsafe {
            asm!(
                "tilezero tmm0", "tilezero tmm1", "tilezero tmm2", "tilezero tmm3",
                out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
                options(nostack, nomem),
            );
        }
        for &a in planes {
            if chunks == 0 {
                break;
            }
            // SAFETY: by the caller's word 16 and 16 rows of 64 bytes can be read at the two addresses of a and of b, which
            // move by 64 bytes and by 16 rows a chunk. The sums stay in tiles 0 to 3, which nothing else in this function
            // touches: the compiler does not use tiles.
            unsafe {
                asm!(
                    "2:",
                    "tileloadd tmm4, [{a0} + {sa}]",
                    "tileloadd tmm6, [{b0} + {sb}]",
                    "tdpbf16ps tmm0, tmm4, tmm6",
                    "tileloadd tmm7, [{b1} + {sb}]",
                    "tdpbf16ps tmm1, tmm4, tmm7",
                    "tileloadd tmm5, [{a1} + {sa}]",
                    "tdpbf16ps tmm2, tmm5, tmm6",
                    "tdpbf16ps tmm3, tmm5, tmm7",
                    "add {a0}, 64",
                    "add {a1}, 64",
                    "add {b0}, 1024",
                    "add {b1}, 1024",
                    "dec {n}",
                    "jnz 2b",
                    a0 = inout(reg) a => _,
                    a1 = inout(reg) a.add(16 * a_stride) => _,
                    b0 = inout(reg) b => _,
                    b1 = inout(reg) b.add(panel_stride) => _,
                    sa = in(reg) 2 * a_stride,
                    sb = in(reg) 64usize,
                    n = inout(reg) chunks => _,
                    out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
                    options(nostack, readonly),
                );
            }
        }
        // SAFETY: each tile writes 16 rows of 64 bytes, 128 bytes apart: a quarter of `out`.
        unsafe {
            asm!(
                "tilestored [{c} + {s}], tmm0",
                "tilestored [{c} + {s} + 64], tmm1",
                "tilestored [{d} + {s}], tmm2",
                "tilestored [{d} + {s} + 64], tmm3",
                c = in(reg) out.as_mut_ptr(),
                d = in(reg) out.as_mut_ptr().add(16 * SIDE),
                s = in(reg) 4 * SIDE,
                options(nostack),
            );
        }
    }
}

impl Drop for Tiles {
    fn drop(&mut self) {
        // SAFETY: gives the thread's tiles back; they are configured, since there is a `self`.
        unsafe { asm!("tilerelease", options(nostack, nomem)) }
    }
}
