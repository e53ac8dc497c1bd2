//! The program `spae`: words to pictures and back, from the command line.

mod cli;

fn main() -> std::process::ExitCode {
    // Candle's threads for elementwise operations spin while they wait, and take from the other operations' threads
    // more than they give: on 2 cores a training step took 1.4 to 2.4 times as long.
    if std::env::var_os("CANDLE_NUM_THREADS").is_none() {
        // SAFETY: the process has a single thread yet, so nobody reads the environment at the same time.
        unsafe { std::env::set_var("CANDLE_NUM_THREADS", "1") };
    }
    cli::main()
}
