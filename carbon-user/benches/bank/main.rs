//! How the time of a window grows with its workloads, by criterion: `cargo xtask bench bank`.

#![expect(
    clippy::disallowed_methods,
    clippy::cast_precision_loss,
    reason = "a benchmark looks at the clock, and counts a few workloads"
)]

#[expect(dead_code, reason = "the simulated nodes need more of it")]
#[path = "../accuracy/random.rs"]
mod random;
#[path = "../accuracy/rig.rs"]
mod rig;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use rig::Rig;

/// Windows in which a bank still looks for how the meter and the scheduler stand to each other, which costs more.
const FIRST_WINDOWS: u32 = 240;

fn windows(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("window");
    for workloads in [10, 100, 1_000] {
        let mut rig = Rig::new(workloads);
        for _ in 0..FIRST_WINDOWS {
            rig.window();
        }
        group.throughput(Throughput::Elements(workloads));
        group.bench_function(BenchmarkId::from_parameter(workloads), |bencher| {
            bencher.iter_custom(|times| (0..times).map(|_| rig.window()).sum());
        });
    }
    group.finish();
}

criterion_group!(benches, windows);
criterion_main!(benches);
