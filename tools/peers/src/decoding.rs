//! Words' vectors to pictures with spae-core, against ONNX Runtime at the same network: one picture on one thread, and
//! many pictures on all.

use anyhow::Result;
use serde_json::json;
use spae_host::drawing;
use spae_host::picture;
use spae_host::tokenizer::Tokens;

use crate::case::{Case, Other, Ours};
use crate::materials::{Materials, Model};
use crate::timing::Work;

/// Pictures of the cases with many.
const MANY: usize = 64;

pub(crate) fn cases(materials: &Materials) -> Vec<Case<'_>> {
    let model = &materials.digits;
    let threads = rayon::current_num_threads();
    let peer = |pictures, threads| {
        Other::Peer(json!({
            "kind": "onnx", "config": model.path, "weights": model.weights, "pictures": pictures,
            "onnx_threads": threads,
        }))
    };
    let case = |name, limit, many, other| {
        let ours = Box::new(move || if many { all_threads(materials) } else { one_thread(materials) }.map(Ours::from));
        Case { name, limit, ours, other }
    };
    let one = Other::Ours { times: MANY as f64 / threads as f64, work: Box::new(move || one_thread(materials)) };
    vec![
        case("decoding a picture, 1 thread".to_owned(), Some(1.0), false, peer(1, 1)),
        case(format!("decoding a picture, 1 thread, the peer on {threads}"), None, false, peer(1, threads)),
        case(format!("decoding {MANY} pictures, {threads} threads"), None, true, peer(MANY, threads)),
        case(format!("decoding {MANY} pictures on {threads} threads, to 1 picture on 1"), Some(1.15), true, one),
    ]
}

/// The words of some encoding.
fn tokens(model: &Model, number: usize) -> Tokens {
    let words = model.tokenizer.codebook.words().len();
    let layers = model.config.pyramid.iter().enumerate();
    let id = |place: usize| ((place * 7919 + number * 104_729) % words) as u32;
    layers.map(|(layer, [h, w])| (0..usize::from(h * w)).map(|place| id(1000 * layer + place)).collect()).collect()
}

/// One picture, again and again in the same memory.
fn one_thread(materials: &Materials) -> Result<Work<'_>> {
    let model = materials.file.model()?;
    let tokens = tokens(&materials.digits, 1);
    let mut scratch = vec![0; model.scratch_len()];
    let weights = picture::widened(model.decoder());
    Ok(Box::new(move || {
        std::hint::black_box(drawing::draw_one(&model, &weights, &tokens, &mut scratch)?);
        Ok(())
    }))
}

/// Many pictures, spread over the threads.
fn all_threads(materials: &Materials) -> Result<Work<'_>> {
    let model = materials.file.model()?;
    let tokens: Vec<Tokens> = (0..MANY).map(|number| tokens(&materials.digits, number)).collect();
    Ok(Box::new(move || {
        std::hint::black_box(drawing::draw_all(&model, &tokens)?);
        Ok(())
    }))
}
