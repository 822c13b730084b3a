//! What time does to a meter: a counter that begins again at its end, and a read that does not return.

use super::*;
use rustix::fs::{CWD, FileType, Mode, mknodat};
use std::io::Write as _;
use std::time::Duration;

/// A counter that has an end goes on behind it. Without one a fall is a reset, which is another test.
#[test]
fn a_counter_that_wraps_loses_nothing() {
    let mut wrapped = 0;
    for mut bench in benches().filter(|bench| !bench.power) {
        for place in 0..bench.files.len() {
            let file = bench.files[place].clone();
            let range = fs::read_to_string(file.with_file_name("max_energy_range_uj"));
            let Some(range_uj) = range.ok().and_then(|text| text.trim().parse::<u64>().ok()) else {
                continue;
            };
            bench.edge(None);
            fs::write(&file, format!("{}\n", range_uj - 400_000)).unwrap();
            let before = bench.edge(Some(place)).remove(place).unwrap();
            fs::write(&file, "600000\n").unwrap();
            let after = bench.edge(Some(place)).remove(place).unwrap();
            assert_eq!((after.total.0 - before.total.0, after.gap), (1_000_000, None), "{}", bench.name);
            wrapped += 1;
        }
    }
    assert!(wrapped >= 6, "{wrapped}");
}

/// The window goes on without it, and so do the domains of other threads; when it has returned all of its energy is there.
#[test]
fn a_read_that_hangs_holds_up_nobody_and_passes() {
    for mut bench in benches() {
        assert!(bench.edge(None).iter().all(Result::is_ok));
        let (file, held) = (bench.files[0].clone(), bench.files[0].with_extension("held"));
        let before = fs::read_to_string(&file).unwrap();
        mknodat(CWD, &held, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
        let again = bench.files[0].with_extension("again");
        fs::hard_link(&held, &again).unwrap();
        fs::rename(&held, &file).unwrap();
        bench.patience_ns = 300_000_000;
        let readings = bench.edge(Some(0));
        let error = readings[0].as_ref().unwrap_err();
        assert!(error.kind == ErrorKind::Retry && error.message.contains("does not answer"), "{error}");
        let others = &readings[1..];
        if bench.lanes > 1 {
            assert!(others.iter().all(Result::is_ok), "{}: {readings:?}", bench.name);
        }
        // A regular file again, and a writer at the pipe's other end: who has waited there goes on.
        fs::write(&held, before).unwrap();
        fs::rename(&held, &file).unwrap();
        fs::OpenOptions::new().write(true).open(&again).unwrap().write_all(b"none\n").unwrap();
        fs::remove_file(&again).unwrap();
        bench.patience_ns = PATIENCE_NS;
        let back = (0..200).find_map(|_| {
            // One that owes an answer is not waited for.
            std::thread::sleep(Duration::from_millis(5));
            bench.edge(None).remove(0).ok()
        });
        let back = back.unwrap_or_else(|| panic!("{}: it does not come back", bench.name));
        assert!(back.gap.is_none() || bench.power, "{}: {back:?}", bench.name);
    }
}
