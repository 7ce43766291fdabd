//! The Hewei server.

fn main() -> std::process::ExitCode {
    hewei::cli::main()
}
