//! The time to switch every site of this program from one body to the other, through each writer.
//!
//! The number of sites varies with the build, since unused functions keep their records. So it is the throughput of the
//! benchmark and not in its name, and a baseline of another build has the same names.

use std::time::{Duration, Instant};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use pvbench::op::BodyKind;
use pvbench::patch::{Text, rules, site, writer};

fn switch(c: &mut Criterion) {
    let sites = match site::recorded() {
        Ok(sites) => sites,
        Err(error) => return eprintln!("patch: the sites cannot be read: {error}"),
    };
    // Kernels call ops that the suite of this build may lack.
    let (native, xen) = (rules::targets(BodyKind::Native), rules::targets(BodyKind::Xen));
    let Some((first, last)) = sites.first().zip(sites.last()) else { return eprintln!("patch: no sites") };
    let span = first.address..last.address + last.length;
    let mut group = c.benchmark_group("switch all sites");
    group.throughput(Throughput::Elements(sites.len() as u64));
    for name in writer::NAMES {
        // SAFETY: this is the only running thread, and it runs no site.
        let mut text = match unsafe { writer::named(name, span.clone()) } {
            // SAFETY: recorded sites of this program.
            Ok(writer) => unsafe { Text::new(sites.clone(), writer) },
            Err(error) => {
                eprintln!("{name}: unavailable: {error}");
                continue;
            }
        };
        group.bench_function(name, |bencher| {
            bencher.iter_custom(|switches| {
                let mut total = Duration::ZERO;
                for turn in 0..switches {
                    let targets = if turn % 2 == 0 { &native } else { &xen };
                    let start = Instant::now();
                    // SAFETY: `boot` needs the targets of the sites' ops, and no thread in them: they are the suite's.
                    if let Err(error) = unsafe { text.boot(targets) } {
                        eprintln!("{name}: {error}");
                        std::process::exit(4);
                    }
                    total += start.elapsed();
                }
                total
            });
        });
        // SAFETY: `restore` needs that no thread runs a site: no loop runs now.
        if let Err(error) = unsafe { text.restore() } {
            eprintln!("{name}: {error}");
            std::process::exit(4);
        }
    }
    group.finish();
}

criterion_group! {
    name = benches;
    // Options on the command line come after these values; values of a group would come after the options.
    config = Criterion::default()
        .sample_size(10)
        .warm_up_time(Duration::from_millis(100))
        .measurement_time(Duration::from_secs(1));
    targets = switch
}
criterion_main!(benches);
