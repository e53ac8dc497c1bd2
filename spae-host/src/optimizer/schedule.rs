//! The learning rate over a run: linear warm-up, a fall, and a linear cool-down where the fall has no end of its own.

use std::f64::consts::PI;

use crate::config::{Schedule, Train};

/// The learning rate of update number `step`, from 0.
pub fn learning_rate(config: &Train, step: u64) -> f64 {
    let (step, steps, warm_up) = (step as f64, config.steps as f64, config.warm_up as f64);
    let rise = if warm_up > 0.0 { ((step + 1.0) / warm_up).min(1.0) } else { 1.0 };
    let done = step / steps;
    let left = steps - step;
    let cool_down = if config.cool_down > 0 { (left / config.cool_down as f64).min(1.0) } else { 1.0 };
    let share = match config.schedule {
        Schedule::Constant => cool_down,
        Schedule::Linear => 1.0 - done,
        Schedule::Cosine => 0.5 * (1.0 + (PI * done).cos()),
        Schedule::InverseSquareRoot => {
            let start = warm_up.max(1.0);
            (start / (step + 1.0).max(start)).sqrt() * cool_down
        }
    };
    config.learning_rate * rise * share.max(config.floor)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, TINY};

    fn rates(schedule: &str) -> Vec<f64> {
        let set = ["steps=100", "learning_rate=2.0", "warm_up=10", "floor=0.02", "cool_down=20"];
        let mut set: Vec<String> = set.iter().map(|set| format!("train.{set}")).collect();
        set.push(format!("train.schedule={schedule}"));
        let config = Config::parse(TINY, Default::default(), &set).unwrap();
        (0..100).map(|step| learning_rate(&config.train, step)).collect()
    }

    #[test]
    fn every_schedule_warms_up_and_falls_to_its_end() {
        for schedule in ["constant", "linear", "cosine", "inverse-square-root"] {
            let rates = rates(schedule);
            assert!(rates[..10].is_sorted(), "{schedule} rises");
            assert!(rates[9..].iter().rev().is_sorted(), "{schedule} falls");
            assert!(rates.iter().all(|rate| (0.0..=2.0).contains(rate)), "{schedule}");
            assert!(rates[99] <= 0.1, "{schedule} ends at {}", rates[99]);
        }
        assert!((rates("linear")[50] - 1.0).abs() < 1e-12);
        assert!((rates("cosine")[50] - 1.0).abs() < 1e-12);
        assert!((rates("inverse-square-root")[39] - 1.0).abs() < 1e-12, "√(10 / 40)");
        assert_eq!(rates("linear")[99], 0.04, "the floor");
    }
}
