//! Starts the command line.
use pvbench::{measure::*, *};
use std::sync::atomic::AtomicBool;
struct Obs(estimate::Estimator, usize);
impl parent::Observer for Obs {
    fn samples(&mut self, _w: usize, g: &Group, s: wire::GroupSamples) {
        self.0.add(g, &s, 100_000);
        self.1 += 1;
    }
    fn mishap(&mut self, m: parent::Mishap) {
        eprintln!("{m:?}");
    }
}
fn main() {
    if std::env::args().nth(1).as_deref() == Some("worker") {
        let r = worker::serve(suite::builtin(), &mut std::io::stdin().lock(), &mut std::io::stdout().lock());
        if let Err(e) = r {
            eprintln!("{e}");
            std::process::exit(1)
        }
        return;
    }
    let mut groups = vec![];
    for op in suite::builtin() {
        for r in regime::Regime::ALL {
            for o in [0, 29] {
                if op.pairs[0].loop_of(r).is_none() {
                    continue;
                }
                groups.push(Group { op: op.meta.name.into(), body: dispatch::Platform::Native, regime: r, offset: o });
            }
        }
    }
    let plan = Plan {
        preset: Preset::Quick,
        seed: 42,
        groups,
        mechanisms: suite::mechanisms().iter().skip(1).map(|m| m.name.to_string()).collect(),
        workers: 20,
        rounds: 5,
        window_cycles: 100_000,
        cpu: Some(1),
    };
    let mut obs = Obs(Default::default(), 0);
    let t = std::time::Instant::now();
    parent::run(
        &plan,
        &|| {
            let mut c = std::process::Command::new(std::env::current_exe().unwrap());
            c.arg("worker");
            c
        },
        false,
        &AtomicBool::new(false),
        &mut obs,
    )
    .unwrap();
    let el = t.elapsed();
    let metas: Vec<_> = suite::builtin().iter().map(|o| o.meta).collect();
    let e = obs.0.finish(&plan, &metas, 2.6e9);
    println!("{} groups {:?} est {:?}", obs.1, el, t.elapsed() - el);
    println!("{:?}\n{:?}", e.floor, e.ticks_per_cycle);
    for c in e.cells {
        let o = c.overhead.unwrap();
        print!(
            "{:12} {:?} {:14} {:8.4} [{:8.4} {:8.4}] x{:.3} nat {:.3} res {}",
            c.op,
            c.regime,
            c.mechanism,
            o.cycles.estimate,
            o.cycles.low,
            o.cycles.high,
            o.ratio.estimate,
            c.native_cycles.unwrap(),
            c.resolved
        );
        for l in &c.layouts {
            print!(" @{} {:.4} [{:.4} {:.4}]", l.offset, l.cycles.estimate, l.cycles.low, l.cycles.high);
        }
        for m in &c.modes {
            print!(" mode@{} {:.3} {:.0}%", m.offset, m.cycles, m.share * 100.);
        }
        println!();
    }
}
