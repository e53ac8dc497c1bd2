//! Finds the processor family in the target's name: the compiler tells no program on stable whether there are DSP
//! instructions, and code that asks for them by feature would silently vanish.

fn main() {
    println!("cargo::rustc-check-cfg=cfg(processor, values(\"armv7m\", \"armv7em\", \"riscv32im\"))");
    println!("cargo::rerun-if-changed=build.rs");
    let target = std::env::var("TARGET").expect("cargo sets TARGET");
    for family in ["armv7em", "armv7m"] {
        if target.starts_with(&format!("thumb{}-", family.trim_start_matches("arm"))) {
            println!("cargo::rustc-cfg=processor=\"{family}\"");
        }
    }
    if target.starts_with("riscv32im") {
        println!("cargo::rustc-cfg=processor=\"riscv32im\"");
    }
}
