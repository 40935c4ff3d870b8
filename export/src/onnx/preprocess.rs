use adwp_data::Normalization;

use super::proto::{
    AttributeProto, DimensionProto, FLOAT, ModelProto, NodeProto, TensorProto, TensorShapeProto,
    TensorTypeProto, UINT8,
};

/// Name of the input that takes pixels.
pub const PIXELS: &str = "image";

/// Puts the preparation of images into the graph: the input becomes `image`, uint8 `[batch, height,
/// width, channels]`, and the network reads `(image - 255·mean) / (255·std)`.
///
/// The constants are those of `Sub` and `Div`, which nobody takes for parameters. Nothing is done
/// to a model without an image input.
pub(super) fn preprocess(model: &mut ModelProto, normalization: &Normalization) {
    let Some(graph) = &mut model.graph else { return };
    let Some(input) = graph.input.first_mut() else { return };
    let images = std::mem::replace(&mut input.name, PIXELS.to_owned());
    if let Some(tensor) = input.r#type.as_mut().and_then(|kind| kind.tensor_type.as_mut()) {
        channels_last(tensor);
    }
    let channels = normalization.mean.len();
    let constants =
        [("normalize/mean", &normalization.mean), ("normalize/std", &normalization.std)];
    for (name, values) in constants {
        let values: Vec<f32> = values.iter().map(|v| 255.0 * v).collect();
        graph.initializer.push(TensorProto::floats(name, &[channels, 1, 1], &values));
    }
    let step = |op: &str, name: &str, inputs: &[&str], output: &str| {
        NodeProto::new(op, name, inputs.iter().map(|&input| input.to_owned()).collect(), output)
    };
    // Bytes are moved before they become four times as many.
    let nodes = [
        step("Transpose", "normalize/planes", &[PIXELS], "normalize/planes")
            .with(AttributeProto::integers("perm", &[0, 3, 1, 2])),
        step("Cast", "normalize/float", &["normalize/planes"], "normalize/float")
            .with(AttributeProto::integer("to", FLOAT.into())),
        step(
            "Sub",
            "normalize/centred",
            &["normalize/float", "normalize/mean"],
            "normalize/centred",
        ),
        step("Div", "normalize/scaled", &["normalize/centred", "normalize/std"], &images),
    ];
    graph.node.splice(0..0, nodes);
}

/// float32 `[batch, channels, height, width]` becomes uint8 `[batch, height, width, channels]`.
fn channels_last(tensor: &mut TensorTypeProto) {
    tensor.elem_type = UINT8;
    if let Some(TensorShapeProto { dim }) = &mut tensor.shape
        && let [_, rest @ ..] = dim.as_mut_slice()
        && !rest.is_empty()
    {
        <[DimensionProto]>::rotate_left(rest, 1);
    }
}
