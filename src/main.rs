//! The program `pvbench`: the command line of the built-in suite.

fn main() -> std::process::ExitCode {
    pvbench::main(pvbench::pv_ops())
}
