//! spae-core's quantiser and running average against golden values.

use anyhow::{Result, ensure};
use spae_tests::suites::quantising::{self, Core, SHAPES};

#[test]
fn ids_and_averages_equal_our_golden_files() -> Result<()> {
    let count = quantising::check_folder(&mut Core, &quantising::own_folder())?;
    ensure!(count >= 4, "only {count} golden files");
    Ok(())
}

#[test]
fn ids_and_averages_equal_the_reference_datas_golden_files() -> Result<()> {
    let Some(folder) = quantising::shared_folder() else {
        eprintln!("skipped: there is no ../shared/golden beside the checkout");
        return Ok(());
    };
    ensure!(quantising::check_folder(&mut Core, &folder)? > 0, "no golden files in {}", folder.display());
    Ok(())
}

/// `SPAE_SAQ_SEEDS=7,8,9` runs others.
#[test]
fn ids_and_averages_agree_for_other_seeds() -> Result<()> {
    let seeds = std::env::var("SPAE_SAQ_SEEDS").unwrap_or_else(|_| "101,102,103".to_owned());
    let scripts = [Some(quantising::own_folder()), quantising::shared_folder()];
    for script in scripts.into_iter().flatten().map(|folder| folder.join("make_saq.py")) {
        for seed in seeds.split(',') {
            for shape in SHAPES {
                let Some(golden) = quantising::generate(&script, seed.trim().parse()?, shape)? else {
                    eprintln!("skipped: python3 cannot run {}", script.display());
                    break;
                };
                let result = quantising::check(&mut Core, &golden);
                ensure!(result.is_ok(), "{} {seed} {shape}: {result:?}", script.display());
            }
        }
    }
    Ok(())
}

#[test]
fn the_golden_files_are_what_their_commands_print() -> Result<()> {
    for entry in quantising::own_folder().read_dir()? {
        let path = entry?.path();
        if path.extension().is_none_or(|extension| extension != "json") {
            continue;
        }
        let stored = std::fs::read_to_string(&path)?;
        let value: serde_json::Value = serde_json::from_str(&stored)?;
        let command: Vec<&str> = value["command"].as_str().unwrap_or_default().split(' ').collect();
        let script = quantising::own_folder().join(command[0]);
        let Ok(output) = std::process::Command::new("python3").arg(script).args(&command[1..]).output() else {
            eprintln!("skipped: there is no python3");
            return Ok(());
        };
        ensure!(output.stdout == stored.as_bytes(), "{}", path.display());
    }
    Ok(())
}

#[test]
fn golden_files_hold_ties() -> Result<()> {
    let golden = quantising::Golden::parse(&std::fs::read(quantising::own_folder().join("ties.json"))?)?;
    ensure!(golden.width == 1, "its vectors are single numbers");
    let tied = |&&z: &&f32| {
        let mut distances: Vec<f32> = golden.codebook.iter().map(|word| (z - word).abs()).collect();
        distances.sort_by(f32::total_cmp);
        distances[0] == distances[1]
    };
    let count = golden.z.iter().filter(tied).count();
    ensure!(count > 3, "only {count} vectors are as near to two words");
    Ok(())
}
