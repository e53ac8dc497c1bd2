//! Finds the processor family in the target's name, and in the processor's where a family may do without the instructions:
//! the compiler tells no program on stable whether there are DSP instructions or vectors, and code that asks for them by
//! feature would silently vanish.

/// Armv8.1-M with vectors of integers (MVE), which `thumbv8m.main` does not promise.
const VECTORS: [&str; 3] = ["cortex-m52", "cortex-m55", "cortex-m85"];

/// Armv8-M whose DSP instructions, which `thumbv8m.main` does not promise either, the compiler takes for granted.
const DSP: [&str; 2] = ["cortex-m33", "cortex-m35p"];

fn main() {
    println!("cargo::rustc-check-cfg=cfg(processor, values(\"armv7m\", \"armv7em\", \"armv8.1m\", \"riscv32im\"))");
    println!("cargo::rerun-if-changed=build.rs");
    if let Some(family) = family() {
        println!("cargo::rustc-cfg=processor=\"{family}\"");
    }
}

fn family() -> Option<&'static str> {
    let target = std::env::var("TARGET").expect("cargo sets TARGET");
    let prefixes = [("thumbv7em-", "armv7em"), ("thumbv7m-", "armv7m"), ("riscv32im", "riscv32im")];
    let by_name = prefixes.iter().find(|(prefix, _)| target.starts_with(prefix)).map(|(_, family)| *family);
    by_name.or_else(|| if target.starts_with("thumbv8m.main-") { by_processor() } else { None })
}

/// The family of the processor that the flags name (`-Ctarget-cpu=…`, in one argument or two); the last name counts.
fn by_processor() -> Option<&'static str> {
    let flags = std::env::var("CARGO_ENCODED_RUSTFLAGS").unwrap_or_default();
    let arguments = flags.split('\x1f').map(|argument| argument.strip_prefix("-C").unwrap_or(argument));
    match arguments.filter_map(|argument| argument.trim_start().strip_prefix("target-cpu=")).next_back()? {
        processor if VECTORS.contains(&processor) => Some("armv8.1m"),
        processor if DSP.contains(&processor) => Some("armv7em"),
        _ => None,
    }
}
