//! Whole training steps against PyTorch: both networks, all losses, Adam, the weights' running average. Ours also reads
//! and decodes its picture files; PyTorch's pictures lie in memory.

use serde_json::json;
use spae_host::data::{Dataset, Sampler, Split};
use spae_host::train::{self, Trainer};

use crate::case::{Case, Other, Ours};
use crate::materials::{Materials, Model};
use crate::timing::Work;

pub(crate) fn cases(materials: &Materials) -> Vec<Case<'_>> {
    vec![case(&materials.digits), case(&materials.colour)]
}

fn case(model: &Model) -> Case<'_> {
    let config = &model.config;
    Case {
        name: format!("training step, {}", model.name),
        limit: Some(1.0),
        ours: Box::new(move || {
            let codebook = train::codebook(config)?;
            let dataset = Dataset::open(&model.pictures, Split::Train, config.image)?;
            let sampler = Sampler::new(dataset.into(), config.seed, config.train.validation, config.train.augment);
            let mut trainer = Trainer::new(config, &codebook, &sampler, None)?;
            let work: Work<'_> = Box::new(move || trainer.step().map(drop));
            Ok(Ours::from(work))
        }),
        other: Other::Peer(json!({ "kind": "step", "config": model.path, "codebook": model.codebook() })),
    }
}
