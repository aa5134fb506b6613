//! Starts the command line.

fn main() -> std::process::ExitCode {
    pvbench::cli::main()
}
