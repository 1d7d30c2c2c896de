//! Products of bf16 on the tiles of AMX: 32 rows by 32 columns at a time.
//!
//! A tile register holds 16 rows of 64 bytes. `tdpbf16ps` multiplies a tile of 16 rows of 32 bf16 with one of 16 pairs of
//! rows of 16 columns, interleaved as panels are, and adds to 16 × 16 sums in f32. The intrinsics are not stable in Rust,
//! so this is assembly (Intel, Software Developer's Manual, volume 2, and Instruction Set Extensions reference).

#![allow(unsafe_code)] // Assembly, and a call of the system.

use std::arch::asm;
use std::arch::x86_64::{__cpuid, __cpuid_count, _xgetbv};

use half::bf16;

use super::planes::MOST;

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

/// Where a block of a product goes: 32 rows of 32 numbers.
#[derive(Clone, Copy)]
pub(super) struct TilePlace {
    /// The first number, and from a row to the next.
    pub c: *mut f32,
    pub c_stride: usize,
    /// Whether the product is added to what is there.
    pub add: bool,
}

/// A product that goes to a block, or is a part of what does: 32 rows, those of each plane of a, by 32 columns.
#[derive(Clone, Copy)]
pub(super) struct TileTerm {
    /// The first row of each plane; only the first `count` are planes.
    pub planes: [*const bf16; MOST],
    pub count: usize,
    /// From a row to the next.
    pub a_stride: usize,
    /// The first of two panels, and from it to the other.
    pub b: *const bf16,
    pub panel_stride: usize,
    /// A multiple of 32.
    pub depth: usize,
    /// What is soon read: 8 bytes for each row of the depth are fetched from here on into the second cache.
    pub ahead: *const bf16,
}

/// A loop over the depth that adds the products of some planes with two panels to tiles 0 to 3. Both panels stay in tiles
/// for all planes, for reading them takes as long as two products. The rows of the target are fetched meanwhile: where they
/// are far from each other, to wait for them at the end takes as long as the product.
macro_rules! by_planes {
    ($name:ident, $count:literal, [$($c:ident $by:ident)?]: $($upper:ident $lower:ident),+) => {
        /// The products of so many planes.
        ///
        /// # Safety
        /// As [`Self::multiply`]; the depth is not zero.
        unsafe fn $name(&self, planes: [*const bf16; $count], block: &TileTerm, _place: TilePlace) {
            let [$($upper),+] = planes;
            // SAFETY: by the caller's word 16 and 16 rows of 64 bytes can be read at the two addresses of each plane and at
            // those of b, which move by 64 bytes and by 16 rows a step. The sums stay in tiles 0 to 3, which the compiler
            // does not use.
            unsafe {
                $(let $lower = $upper.add(16 * block.a_stride);)+
                asm!(
                    "2:",
                    "tileloadd tmm6, [{b0} + {sb}]",
                    "tileloadd tmm7, [{b1} + {sb}]",
                    $(
                        concat!("tileloadd tmm4, [{", stringify!($upper), "} + {sa}]"),
                        "tdpbf16ps tmm0, tmm4, tmm6",
                        concat!("tileloadd tmm5, [{", stringify!($lower), "} + {sa}]"),
                        "tdpbf16ps tmm1, tmm4, tmm7",
                        "tdpbf16ps tmm2, tmm5, tmm6",
                        "tdpbf16ps tmm3, tmm5, tmm7",
                        concat!("add {", stringify!($upper), "}, 64"),
                        concat!("add {", stringify!($lower), "}, 64"),
                    )+
                    "prefetcht1 [{ahead}]",
                    "prefetcht1 [{ahead} + 64]",
                    "prefetcht1 [{ahead} + 128]",
                    "prefetcht1 [{ahead} + 192]",
                    "add {ahead}, 256",
                    $(
                        concat!("prefetchw [{", stringify!($c), "}]"),
                        concat!("prefetchw [{", stringify!($c), "} + 64]"),
                        concat!("add {", stringify!($c), "}, {", stringify!($by), "}"),
                    )?
                    "add {b0}, 1024",
                    "add {b1}, 1024",
                    "dec {n}",
                    "jnz 2b",
                    b0 = inout(reg) block.b => _,
                    b1 = inout(reg) block.b.add(block.panel_stride) => _,
                    sb = in(reg) 64usize,
                    sa = in(reg) 2 * block.a_stride,
                    n = inout(reg) block.depth / DEPTH => _,
                    ahead = inout(reg) block.ahead => _,
                    $($c = inout(reg) _place.c => _, $by = in(reg) 4 * _place.c_stride,)?
                    $($upper = inout(reg) $upper => _, $lower = inout(reg) $lower => _,)+
                    out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
                    options(nostack, readonly),
                );
            }
        }
    };
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

    /// `c (+)= Σ a · b` over the terms and the planes of a: 32 rows by two panels.
    ///
    /// # Safety
    /// All 32 rows of every plane, both panels, `depth` deep, and 32 rows of 32 numbers of c must be there.
    pub unsafe fn multiply(&self, place: TilePlace, terms: &[TileTerm]) {
        // SAFETY: by the caller's word; the tiles are configured, since there is a `self`.
        unsafe {
            self.load(place);
            for term in terms.iter().filter(|term| term.depth >= DEPTH) {
                match (term.count, term.planes) {
                    (1, [x, ..]) => self.by_one([x], term, place),
                    (2, [x, y, _]) => self.by_two([x, y], term, place),
                    (_, planes) => self.by_three(planes, term, place),
                }
            }
            self.store(place);
        }
    }

    /// The sums as they are so far: zeros, or what c holds.
    unsafe fn load(&self, TilePlace { c, c_stride, add }: TilePlace) {
        // SAFETY: by the caller's word each tile reads 16 rows of 64 bytes of c. Tiles 0 to 3 hold the sums until `store`:
        // the compiler does not use tiles.
        unsafe {
            match add {
                false => asm!(
                    "tilezero tmm0", "tilezero tmm1", "tilezero tmm2", "tilezero tmm3",
                    out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
                    options(nostack, nomem),
                ),
                true => asm!(
                    "tileloadd tmm0, [{c} + {s}]",
                    "tileloadd tmm1, [{c} + {s} + 64]",
                    "tileloadd tmm2, [{d} + {s}]",
                    "tileloadd tmm3, [{d} + {s} + 64]",
                    c = in(reg) c,
                    d = in(reg) c.add(16 * c_stride),
                    s = in(reg) 4 * c_stride,
                    out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
                    options(nostack, readonly),
                ),
            }
        }
    }

    unsafe fn store(&self, TilePlace { c, c_stride, .. }: TilePlace) {
        // SAFETY: by the caller's word each tile writes 16 rows of 64 bytes of c.
        unsafe {
            asm!(
                "tilestored [{c} + {s}], tmm0",
                "tilestored [{c} + {s} + 64], tmm1",
                "tilestored [{d} + {s}], tmm2",
                "tilestored [{d} + {s} + 64], tmm3",
                c = in(reg) c,
                d = in(reg) c.add(16 * c_stride),
                s = in(reg) 4 * c_stride,
                options(nostack),
            );
        }
    }

    by_planes! { by_one, 1, [c by]: x0 x1 }
    by_planes! { by_two, 2, [c by]: x0 x1, y0 y1 }
    // There is no register left for the place.
    by_planes! { by_three, 3, []: x0 x1, y0 y1, z0 z1 }
}

impl Drop for Tiles {
    fn drop(&mut self) {
        // SAFETY: gives the thread's tiles back; they are configured, since there is a `self`.
        unsafe { asm!("tilerelease", options(nostack, nomem)) }
    }
}
