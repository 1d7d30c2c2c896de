//! The `perk` command.

mod cli;

/// Training allocates and frees many large tensors; mimalloc hands their memory back and out faster.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Number of threads of Candle and rayon.
const THREADS: &str = "RAYON_NUM_THREADS";

fn main() -> std::process::ExitCode {
    perk::memory::keep_freed_pages();
    fix_thread_count();
    cli::main()
}

/// Without this variable Candle asks the system for the number of cores at every product, which reads
/// /proc/cpuinfo on Linux and costs more than a small product itself.
fn fix_thread_count() {
    if std::env::var_os(THREADS).is_some() {
        return;
    }
    if let Ok(count) = std::thread::available_parallelism() {
        // SAFETY: this is the start of main; no other thread is there to read the environment.
        #[expect(unsafe_code)]
        unsafe {
            std::env::set_var(THREADS, count.to_string());
        }
    }
}
