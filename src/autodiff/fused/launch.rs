//! A launch of a kernel: what it is given, and how its results come back.

use candle_core::{DType, Device, Shape, Tensor};

use super::address::{address, room};
use super::{Engine, engine};
use crate::Result;
use crate::autodiff::kernel::computed_in;
use crate::autodiff::{Dual, Ops, Stored};

/// What every kernel is given, as `cuda/params.cuh` has it.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub(super) struct Params {
    pub inputs: [u64; 8],
    pub input_tangents: [u64; 8],
    pub outputs: [u64; 6],
    pub output_tangents: [u64; 6],
    pub tables: [u64; 4],
    pub sizes: [i64; 40],
    pub numbers: [u64; 24],
    pub at_once: i64,
    pub narrow_inputs: i64,
    pub narrow_outputs: i64,
}

impl Default for Params {
    fn default() -> Self {
        Self {
            inputs: [0; 8],
            input_tangents: [0; 8],
            outputs: [0; 6],
            output_tangents: [0; 6],
            tables: [0; 4],
            sizes: [0; 40],
            numbers: [0; 24],
            at_once: 1,
            narrow_inputs: 0,
            narrow_outputs: 0,
        }
    }
}

impl Params {
    /// Sizes from the one of number `first` on.
    pub fn set_sizes(&mut self, first: usize, sizes: &[usize]) {
        let places = &mut self.sizes[first..][..sizes.len()];
        places.iter_mut().zip(sizes).for_each(|(place, &size)| *place = size as i64);
    }

    /// Lets kernels of f32 move four numbers at once, where everything that they read and write begins at a place for that.
    pub fn move_several(&mut self) {
        let Self { inputs, input_tangents, outputs, output_tangents, .. } = self;
        let addresses = [&inputs[..], input_tangents, outputs, output_tangents].concat();
        self.at_once = if addresses.iter().all(|address| address.is_multiple_of(ALIGNED)) { 4 } else { 1 };
    }

    /// A grid for so many numbers, a thread for each or for each few.
    pub fn elements(&self, count: usize) -> Grid {
        Grid::Elements(count).of(self.at_once as usize)
    }
}

/// Bytes of four numbers of f32.
const ALIGNED: u64 = 16;

/// How a kernel shares its work among threads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::autodiff) enum Grid {
    /// A thread for each of some numbers.
    Elements(usize),
    /// A block for each row of some width.
    BlockARow(usize, usize),
    /// A warp for each row.
    WarpARow(usize),
}

/// Most blocks of a launch: each then goes on with the next rows.
const MOST_BLOCKS: usize = 1 << 16;
/// Threads of a block that shares out elements or rows by warps.
const THREADS: usize = 256;

impl Grid {
    /// With a thread for so many numbers, where it has one for each.
    fn of(self, at_once: usize) -> Self {
        match self {
            Self::Elements(count) => Self::Elements(count.div_ceil(at_once)),
            rows => rows,
        }
    }

    /// Blocks, and threads of each.
    pub(super) fn dims(self, engine: Engine) -> (usize, usize) {
        #[cfg(test)]
        if engine == Engine::Host {
            // Two blocks of two warps show that work is shared, and take little time.
            return (2, 2 * super::host::WARP);
        }
        let _ = engine;
        let (blocks, threads) = match self {
            Self::Elements(count) => (count.div_ceil(THREADS), THREADS),
            Self::BlockARow(rows, width) => (rows, width.div_ceil(4).next_multiple_of(32).clamp(32, 1024)),
            Self::WarpARow(rows) => (rows.div_ceil(THREADS / 32), THREADS),
        };
        (blocks.clamp(1, MOST_BLOCKS), threads)
    }
}

/// A kernel and what it is given beside its inputs.
pub(in crate::autodiff) struct Call<'a> {
    /// The name of its kernel, without the type.
    pub name: &'static str,
    pub grid: Grid,
    pub sizes: &'a [usize],
    pub numbers: &'a [f64],
    pub tables: &'a [&'a Tensor],
    /// What the first output is kept in; the others are whole.
    pub stored: Stored,
}

/// What kernels are compiled for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Variant {
    /// f64 rather than f32.
    double: bool,
    /// With tangents.
    varies: bool,
    /// Over many sets of tensors.
    each: bool,
}

impl Variant {
    /// The one for numbers of this type, with or without tangents; `None` for a type without kernels.
    pub fn of(dtype: DType, varies: bool) -> Option<Self> {
        match dtype {
            DType::F32 => Some(Self { double: false, varies, each: false }),
            DType::F64 => Some(Self { double: true, varies, each: false }),
            _ => None,
        }
    }

    /// The same over many sets.
    pub fn each(self) -> Self {
        Self { each: true, ..self }
    }

    /// What it adds to a kernel's name.
    pub fn suffix(self) -> &'static str {
        match (self.each, self.double, self.varies) {
            (false, false, false) => "_f32",
            (false, true, false) => "_f64",
            (false, false, true) => "_f32_dual",
            (false, true, true) => "_f64_dual",
            (true, false, false) => "_each_f32",
            (true, true, false) => "_each_f64",
            (true, false, true) => "_each_f32_dual",
            (true, true, true) => "_each_f64_dual",
        }
    }

    /// A number's bits in the type.
    pub fn bits(self, number: f64) -> u64 {
        if self.double { number.to_bits() } else { u64::from((number as f32).to_bits()) }
    }
}

#[cfg(test)]
thread_local! {
    static LAUNCHES: std::cell::Cell<usize> = const { std::cell::Cell::new(0) };
}

/// Notes a launch, for the tests that hold their number down.
pub(super) fn count() {
    #[cfg(test)]
    LAUNCHES.set(LAUNCHES.get() + 1);
}

/// How many kernels and products this thread has launched.
#[cfg(test)]
pub(crate) fn launches() -> usize {
    LAUNCHES.get()
}

/// Launches a kernel by its whole name.
pub(super) fn launch(
    device: &Device,
    (name, variant): (&'static str, Variant),
    grid: (usize, usize, usize),
    params: &Params,
) -> Result<()> {
    count();
    match device {
        #[cfg(feature = "cuda")]
        Device::Cuda(device) => super::cuda::launch(device, (name, variant), grid, params),
        #[cfg(test)]
        Device::Cpu => super::host::launch(name, variant.suffix(), grid, params),
        _ => {
            let _ = (name, variant, grid, params);
            Err(crate::Error::Invalid("this device has no kernels of its own".into()))
        }
    }
}

/// An input as a kernel reads it: value and tangent, each contiguous.
pub(super) struct Input {
    primal: Tensor,
    tangent: Option<Tensor>,
}

impl Input {
    pub fn new(x: &Dual) -> Result<Self> {
        Ok(Self {
            primal: x.primal().contiguous()?,
            tangent: x.tangent().map(Tensor::contiguous).transpose()?,
        })
    }

    pub fn addresses(&self) -> Result<(u64, u64)> {
        Ok((address(&self.primal)?, self.tangent.as_ref().map_or(Ok(0), address)?))
    }
}

/// A kernel made ready: its parameters, what they point to, and what it will have written.
pub(super) struct Ready<const O: usize> {
    pub params: Params,
    pub variant: Variant,
    pub outputs: [Dual; O],
    /// Held until the launch.
    _inputs: Vec<Input>,
}

/// Makes a kernel ready for inputs of one type; `None` where the device or the type has none.
pub(super) fn ready<const I: usize, const O: usize>(
    call: &Call<'_>,
    inputs: [&Dual; I],
    shapes: &[Shape; O],
) -> Result<Option<Ready<O>>> {
    let like = inputs[0].primal();
    let varies = inputs.iter().any(|x| x.tangent().is_some());
    let dtype = computed_in(like.dtype());
    let Some(variant) = Variant::of(dtype, varies).filter(|_| engine(like.device()).is_some()) else {
        return Ok(None);
    };
    let mut params = Params::default();
    let inputs = inputs.iter().map(|x| Input::new(x)).collect::<Result<Vec<_>>>()?;
    for (index, input) in inputs.iter().enumerate() {
        (params.inputs[index], params.input_tangents[index]) = input.addresses()?;
        params.narrow_inputs |= i64::from(input.primal.dtype() == DType::BF16) << index;
    }
    let mut outputs = Vec::with_capacity(O);
    for (index, shape) in shapes.iter().enumerate() {
        let is_narrow = index == 0 && call.stored == Stored::Narrow && dtype == DType::F32;
        params.narrow_outputs |= i64::from(is_narrow) << index;
        let output = output(shape, varies, if is_narrow { DType::BF16 } else { dtype }, like)?;
        params.outputs[index] = address(output.primal())?;
        params.output_tangents[index] = output.tangent().map_or(Ok(0), address)?;
        outputs.push(output);
    }
    for (index, table) in call.tables.iter().enumerate() {
        params.tables[index] = address(table)?;
    }
    params.set_sizes(0, call.sizes);
    if dtype == DType::F32 {
        params.move_several();
    }
    params.numbers.iter_mut().zip(call.numbers).for_each(|(place, &number)| *place = variant.bits(number));
    let outputs = outputs.try_into().expect("one value an output");
    Ok(Some(Ready { params, variant, outputs, _inputs: inputs }))
}

fn output(shape: &Shape, varies: bool, dtype: DType, like: &Tensor) -> Result<Dual> {
    if !varies {
        return Ok(Dual::constant(&room(shape.clone(), dtype, like)?));
    }
    let mut dims = shape.dims().to_vec();
    dims.insert(0, 2);
    Dual::from_stacked(room(dims, dtype, like)?)
}

/// Runs a kernel; output `o` has shape `shapes[o]`, stacked where any input varies. `None` where the device or the type
/// has no kernels.
///
/// # Errors
/// What the device refuses.
pub(in crate::autodiff) fn run<const I: usize, const O: usize>(
    call: &Call<'_>,
    inputs: [&Dual; I],
    shapes: &[Shape; O],
) -> Result<Option<[Dual; O]>> {
    let device = inputs[0].primal().device();
    let Some(ready) = ready(call, inputs, shapes)? else { return Ok(None) };
    if shapes.iter().any(|shape| shape.elem_count() > 0) {
        let grid = call.grid.of(ready.params.at_once as usize);
        let (blocks, threads) = engine(device).map_or((1, 32), |engine| grid.dims(engine));
        launch(device, (call.name, ready.variant), (blocks, 1, threads), &ready.params)?;
    }
    Ok(Some(ready.outputs))
}
