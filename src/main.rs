//! The `perk` command.

mod cli;

/// Training allocates and frees many large tensors; mimalloc hands their memory back and out faster.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    cli::main()
}
