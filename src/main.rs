//! Starts the command line.
fn main() {
    for op in pvbench::suite::builtin() {
        println!("{} {}", op.meta.name, op.pairs.len());
    }
}
