mod address;
mod arena;
mod data;
mod error;
mod facts;
mod flow;
mod image;
mod item;
mod memory;
mod place;
mod plan;
mod run;
mod skeleton;
mod stream;
pub use error::ReplayError;
pub use image::SiteKind;
pub use plan::Assumptions;
pub fn dev(args: Vec<String>) {
    let (chained, after): (f64, f64) = (args[0].parse().unwrap(), args[1].parse().unwrap());
    for path in &args[2..] {
        let r = crate::linux::record::recording::Recording::read(std::path::Path::new(&path)).unwrap();
        let t = std::time::Instant::now();
        let s = skeleton::Skeleton::of(&r, 0..r.sequence.len(), Assumptions { chained, address_after_load: after }, 1).unwrap();
        let took = t.elapsed();
        println!("{path}: {:?} {took:?}", s.facts);
        let u = r.about.units as f64;
        for seed in 1..4 {
        let s = skeleton::Skeleton::of(&r, 0..r.sequence.len(), Assumptions { chained, address_after_load: after }, seed).unwrap();
        let mut copies = [s.load().unwrap(), s.load().unwrap()];
        for _ in 0..2 {
            for (c, k) in [(0, SiteKind::Inline), (1, SiteKind::Inline), (0, SiteKind::Direct), (0, SiteKind::Table), (0, SiteKind::Retpoline)] {
                let c = &mut copies[c]; c.set(k).unwrap();
                c.run(1);
                let n = 4;
                let a = unsafe { std::arch::x86_64::_rdtsc() };
                c.run(n);
                let b = unsafe { std::arch::x86_64::_rdtsc() };
                print!("{:.1} ", (b - a) as f64 / n as f64 / u);
            }
            println!();
        }
        }
        let hooks: u64 = s.facts.hooks;
        println!("hooks/u {}", hooks as f64 / u);
    }
}
