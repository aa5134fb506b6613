//! The pairs in divan: a module per pair, a function per mechanism.

use divan::Bencher;
use pvbench_peers::{iterate, loop_of};

fn main() {
    divan::main();
}

mod pte_val {
    use super::*;

    #[divan::bench(args = ["inline", "table"])]
    fn mechanism(bencher: Bencher, name: &str) {
        let run = loop_of("pte_val", name);
        bencher.bench_local(|| iterate(run));
    }
}

mod save_fl {
    use super::*;

    #[divan::bench(args = ["direct", "table"])]
    fn mechanism(bencher: Bencher, name: &str) {
        let run = loop_of("save_fl", name);
        bencher.bench_local(|| iterate(run));
    }
}
