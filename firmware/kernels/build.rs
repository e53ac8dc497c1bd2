//! Finds the processor family in the target's name, and in the processor's where a family may do without the
//! instructions: the compiler tells no program on stable whether there are DSP instructions, and code that asks for
//! them by feature would silently vanish.

/// Armv8-M whose DSP instructions, which `thumbv8m.main` does not promise, the compiler takes for granted.
const DSP: [&str; 2] = ["cortex-m33", "cortex-m35p"];

fn main() {
    println!("cargo::rustc-check-cfg=cfg(processor, values(\"armv7m\", \"armv7em\"))");
    println!("cargo::rerun-if-changed=build.rs");
    if let Some(family) = family() {
        println!("cargo::rustc-cfg=processor=\"{family}\"");
    }
}

fn family() -> Option<&'static str> {
    let target = std::env::var("TARGET").expect("cargo sets TARGET");
    let prefixes = [("thumbv7em-", "armv7em"), ("thumbv7m-", "armv7m")];
    let by_name = prefixes.iter().find(|(prefix, _)| target.starts_with(prefix)).map(|(_, family)| *family);
    by_name.or_else(|| (target.starts_with("thumbv8m.main-") && names_one_of(&DSP)).then_some("armv7em"))
}

/// Whether the flags name one of these `processors` (`-Ctarget-cpu=…`, in one argument or two); the last name counts.
fn names_one_of(processors: &[&str]) -> bool {
    let flags = std::env::var("CARGO_ENCODED_RUSTFLAGS").unwrap_or_default();
    let arguments = flags.split('\x1f').map(|argument| argument.strip_prefix("-C").unwrap_or(argument));
    let processor = arguments.filter_map(|argument| argument.trim_start().strip_prefix("target-cpu=")).next_back();
    processor.is_some_and(|processor| processors.contains(&processor))
}
