//! The kernel programs. Built by `cargo xtask ebpf` for the BPF target; a build for any other is empty.
//!
//! `books` reads what the scheduler has added up, `runs` follows process trees, `hook` is the second rung on
//! context switches, `wake` tells how long a package is awake, `counters` counts events by key, `bench` is what they are measured against. Programs begin with `carbon_` or `bench_`, so that an
//! operator knows whose they are in a list of loaded programs.

#![cfg_attr(target_arch = "bpf", no_std, no_main, feature(asm_experimental_arch))]
#![cfg_attr(target_arch = "bpf", allow(unsafe_code, reason = "kernel memory is read by address"))]

#[cfg(target_arch = "bpf")]
mod bench;
#[cfg(target_arch = "bpf")]
mod books;
#[cfg(target_arch = "bpf")]
mod counters;
#[cfg(target_arch = "bpf")]
mod hook;
#[cfg(target_arch = "bpf")]
mod kernel;
#[cfg(target_arch = "bpf")]
mod maps;
#[cfg(target_arch = "bpf")]
mod runs;
#[cfg(target_arch = "bpf")]
mod wake;

#[cfg(target_arch = "bpf")]
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}

/// The helpers that read kernel memory are for programs under the GPL; this is the kernel's word for both licences.
#[cfg(target_arch = "bpf")]
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";

#[cfg(not(target_arch = "bpf"))]
fn main() {}
