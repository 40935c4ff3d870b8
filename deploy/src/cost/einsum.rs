//! `Einsum`: sums of products by the letters of their axes.

use std::collections::BTreeMap;

use tract_onnx::pb::NodeProto;

use super::{
    attributes,
    inference::{Inference, Inferred, Uninferred},
    values::Shape,
};

/// Of one or two factors; what two give is a product of matrices, and has its multiply-adds.
pub(super) fn infer(node: &NodeProto, factors: &[&Shape]) -> Inference {
    let equation = attributes::string(node, "equation").ok_or("`equation` is missing")?;
    let equation: String = equation.split_whitespace().collect();
    if equation.contains('.') || factors.len() > 2 {
        let detail = format!("`equation` {equation} is not followed");
        return Err(Uninferred::Undetermined(detail));
    }
    let (left, right) = match equation.split_once("->") {
        Some((left, right)) => (left, Some(right)),
        None => (&*equation, None),
    };
    let terms: Vec<&str> = left.split(',').collect();
    let wrong = || Uninferred::Shape(format!("`equation` {equation} does not fit {factors:?}"));
    if terms.len() != factors.len() {
        return Err(wrong());
    }
    let (mut sizes, mut times) = (BTreeMap::new(), BTreeMap::new());
    for (term, shape) in terms.iter().zip(factors) {
        if term.chars().count() != shape.len() {
            return Err(wrong());
        }
        for (letter, &size) in term.chars().zip(shape.iter()) {
            *times.entry(letter).or_insert(0_usize) += 1;
            let known = sizes.entry(letter).or_insert(size);
            match (*known, size) {
                (known, size) if known == size || size == 1 => {}
                (1, size) => *known = size,
                _ => return Err(wrong()),
            }
        }
    }
    // Unless it is said, what is not summed over are the letters that stand once, in order.
    let right = right.map_or_else(
        || times.iter().filter(|(_, times)| **times == 1).map(|(letter, _)| *letter).collect(),
        str::to_owned,
    );
    let shape = right.chars().map(|letter| sizes.get(&letter).copied()).collect::<Option<_>>();
    let mut products = sizes.values().try_fold(1_u64, |all, &size| all.checked_mul(size as u64));
    if factors.len() == 1 {
        products = Some(0);
    }
    Ok(Inferred {
        shapes: vec![shape.ok_or_else(wrong)?],
        madds: products.ok_or("its multiply-adds are too many to count")?,
        params: (0..factors.len()).collect(),
    })
}
