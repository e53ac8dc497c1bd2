//! The program `spae`: words to pictures and back, from the command line.

mod cli;

fn main() -> std::process::ExitCode {
    cli::main()
}
