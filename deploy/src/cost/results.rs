//! What becomes known of the results of a node.

use tract_onnx::pb::{AttributeProto, NodeProto, tensor_proto::DataType};

use super::{
    fold, kinds, learned,
    levels::Levels,
    numbers::Numbers,
    valued,
    values::{Content, LONGEST, Role, Shape, Values, fits},
};

/// Takes in a `Constant` node.
pub(super) fn define_constant<'a>(
    values: &mut Values<'a>,
    node: &'a NodeProto,
) -> Result<(), String> {
    let Some(name) = node.output.first() else { return Ok(()) };
    // Attributes other than the value are ignored.
    let is_value = |of: &&AttributeProto| of.name.starts_with("value") || of.name == "sparse_value";
    let Some(attribute) = node.attribute.iter().find(is_value) else {
        return Err("it has no value".to_owned());
    };
    let (kind, content, dims) = match (attribute.name.as_str(), &attribute.t) {
        ("value", Some(tensor)) => {
            values.define_tensor(name, tensor);
            return Ok(());
        }
        ("value_int", _) => (DataType::Int64, Content::Ints(vec![attribute.i]), vec![]),
        ("value_ints", _) => {
            (DataType::Int64, Content::Ints(attribute.ints.clone()), vec![attribute.ints.len()])
        }
        ("value_float", _) => (DataType::Float, Content::Reals(vec![attribute.f.into()]), vec![]),
        ("value_floats", _) => {
            let reals = attribute.floats.iter().map(|&value| value.into()).collect();
            (DataType::Float, Content::Reals(reals), vec![attribute.floats.len()])
        }
        ("sparse_value", _) => {
            if let Some(sparse) = &attribute.sparse_tensor {
                values.define_sparse(name, sparse);
            }
            return Ok(());
        }
        // Nothing is computed with texts.
        _ => return Ok(()),
    };
    values.levels.extend(Levels::of(content.reals()).map(|levels| (name.as_str(), levels)));
    if dims.first().is_none_or(|&len| len <= LONGEST) {
        values.contents.insert(name, content);
    }
    values.kinds.insert(name, kind);
    values.define_stored(name, dims);
    values.define_numbers(name, Numbers::of_attribute(attribute));
    Ok(())
}

/// Takes in the results of `node`, which have `shapes`. The error is one that is too large.
pub(super) fn define<'a>(
    values: &mut Values<'a>,
    node: &'a NodeProto,
    shapes: Vec<Shape>,
) -> Result<(), Shape> {
    if let Some(shape) = shapes.iter().find(|shape| !fits(shape)) {
        return Err(shape.clone());
    }
    let named = || node.output.iter().enumerate().filter(|(_, name)| !name.is_empty());
    for (index, name) in named() {
        values
            .kinds
            .extend(kinds::of_result(node, index, values).map(|kind| (name.as_str(), kind)));
    }
    if let Some(output) = node.output.first().filter(|name| !name.is_empty()) {
        values.contents.extend(
            fold::folded(node, values)
                .filter(|content| content.len() <= LONGEST)
                .map(|content| (output.as_str(), content)),
        );
        // Some exporters write a weight that is all one value so.
        if node.op_type == "ConstantOfShape"
            && node.input.iter().all(|name| values.is_constant(name))
            && let Some(shape) = shapes.first()
        {
            values.define_stored(output, shape.clone());
            values.repeated.insert(output);
        }
    }
    if is_determined(values, node) {
        for (index, name) in named() {
            let Some(shape) = shapes.get(index) else { continue };
            let elements = shape.iter().map(|&size| size as u64).product();
            match learned::parts(node, index, elements, values) {
                Some(parts) => drop(values.parts.entry(name).or_insert(parts)),
                None => drop(values.overfull.insert(name)),
            }
        }
        values.constants.extend(named().map(|(_, name)| name.as_str()));
        if let Some(levels) = valued::of_result(node, values) {
            let named = named().filter(|(index, _)| *index == 0 || node.op_type == "Split");
            values.levels.extend(named.map(|(_, name)| (name.as_str(), levels.clone())));
        }
    }
    for (index, name) in named() {
        let Some(role) = learned::role(node, index, values) else { continue };
        values.roles.insert(name, role);
        if let (Role::Codes, Some(input)) = (role, node.input.first()) {
            // What is gathered at run time may be any of it.
            let parts = values.parts(input).to_vec();
            values.parts.entry(name).or_insert(parts);
        }
    }
    // Results that are not asked for have no name, and keep their place.
    for (name, shape) in node.output.iter().zip(shapes).filter(|(name, _)| !name.is_empty()) {
        values.shapes.insert(name, shape);
    }
    Ok(())
}

/// Whether the results of `node` are the same in every run with inputs of these shapes. What shapes
/// alone determine is not among them, only stored arrays that are cut or resized by them.
fn is_determined(values: &Values<'_>, node: &NodeProto) -> bool {
    let random = node.op_type.starts_with("Random")
        || matches!(node.op_type.as_str(), "Multinomial" | "Bernoulli");
    let is_constant = |name: &String| name.is_empty() || values.is_constant(name);
    if random || node.input.iter().all(is_constant) {
        return !random;
    }
    let by_shapes = |name: &String| is_constant(name) || values.is_measured(name);
    let is_array = |name: &String| values.is_constant(name) && learned::is_array(name, values);
    node.input.iter().all(by_shapes) && node.input.iter().any(is_array)
}
