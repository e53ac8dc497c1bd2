//! The small models that edits and texts start from: files of the corpus, so that an input means the same whatever
//! becomes of the fixtures that `examples/seeds.rs` wrote them from.

macro_rules! model {
    ($name:literal) => {
        ($name, include_bytes!(concat!("../corpus/model_file/", $name)))
    };
}

/// Names and files. Inputs know them by number, so new ones go behind the others. An input whose number is too large
/// starts again from the first, so it changes its meaning when there is a new one.
pub const MODELS: [(&str, &[u8]); 12] = [
    model!("version-1"),
    model!("one-word-one-pixel"),
    model!("pointwise"),
    model!("convolution-on-an-oblong-grid-in-colour"),
    model!("upsampling-a-single-row"),
    model!("upsampling-a-single-column-in-colour"),
    model!("residual-pairs-nested"),
    model!("residual-behind-upsampling"),
    model!("integers-every-operation-channels-that-fill-no-quad"),
    model!("integers-a-single-column-rows-in-int4"),
    model!("words-that-look-like-punctuation"),
    model!("rows-in-int4-of-odd-length"),
];
