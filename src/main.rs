//! Starts the command line for the built-in suite.

fn main() -> std::process::ExitCode {
    pvbench::main(pvbench::pv_ops())
}
