use std::collections::BTreeSet;

use adwp_engine::{Owner, Variable, VariableKind, VariableSpec, Variables};
use adwp_models::{BATCH_NORM_EPSILON, Blueprint};

use crate::layout::Names;
use crate::{Layout, Result, StateDict, Tensor, WeightsError};

/// What to do with the weights of the last linear layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Classifier {
    /// They are taken, and must fit.
    Taken,
    /// They are left out: the classes are others.
    Fresh,
}

/// What a network gets of weights.
#[derive(Clone, Debug, PartialEq)]
pub struct Loaded {
    /// Who gave the tensors their names.
    pub layout: Layout,
    /// Parameters and statistics of the network, all but those that are fresh.
    pub variables: Variables,
    /// Names of the variables that nothing was taken for.
    pub fresh: Vec<String>,
    /// Names of tensors of floats that the network has no place for.
    pub unused: Vec<String>,
}

/// Gives the weights the names that they have in `network`, one of the zoo without cells.
///
/// A BatchNorm of theirs may add another number to the variance than those here do: what it adds
/// more is added to the variance, so that it computes the same.
///
/// # Errors
/// [`WeightsError::Unknown`] and [`WeightsError::NoLayout`] where the names say nothing,
/// [`WeightsError::Misfit`] where a tensor is missing or has another shape.
pub fn load(weights: &StateDict, network: &Blueprint, classifier: Classifier) -> Result<Loaded> {
    let layout = weights.layout()?;
    let no_layout = || WeightsError::NoLayout { layout: layout.name() };
    let handmade = match network {
        Blueprint::Handmade { network, .. } if layout.has(*network) => network,
        _ => return Err(no_layout()),
    };
    let specs: Vec<VariableSpec> = network.build(1, None)?.graph.variables().collect();
    let names = Names::new(layout, *handmade, specs.iter().map(|spec| &*spec.name));
    let more = layout.epsilon(*handmade) - BATCH_NORM_EPSILON;
    let mut loaded =
        Loaded { layout, variables: Variables::new(), fresh: Vec::new(), unused: Vec::new() };
    let mut used = BTreeSet::new();
    for VariableSpec { name, shape, kind, owner } in &specs {
        let theirs = names.of(name).ok_or_else(no_layout)?;
        let is_last = *owner == Owner::Classifier && name.starts_with("classifier/linear");
        if is_last && classifier == Classifier::Fresh {
            used.insert(theirs);
            loaded.fresh.push(name.clone());
            continue;
        }
        let misfit = |detail: String| WeightsError::Misfit { detail };
        let Some(tensor) = weights.0.get(&theirs) else {
            return Err(misfit(format!("they have no {theirs}, which {name} would be")));
        };
        if !is_alike(tensor, shape) {
            return Err(misfit(format!(
                "{theirs} has shape {:?}, and {name} takes {:?}",
                tensor.shape,
                &shape[..]
            )));
        }
        let mut data = tensor.data.clone();
        if *kind == VariableKind::RunningVar {
            data.iter_mut().for_each(|variance| *variance += more);
        }
        if let Some(value) = data.iter().find(|value| !value.is_finite()) {
            return Err(misfit(format!("{theirs} has the value {value}")));
        }
        loaded.variables.insert(Variable::new(&**name, shape.clone(), data, kind.role()));
        used.insert(theirs);
    }
    loaded.unused = weights.0.keys().filter(|name| !used.contains(*name)).cloned().collect();
    Ok(loaded)
}

/// Whether shapes are the same, but for a 1×1 window of what is a matrix here.
fn is_alike(tensor: &Tensor, shape: &[usize]) -> bool {
    match tensor.shape.strip_prefix(shape) {
        Some(rest) => rest.is_empty() || shape.len() == 2 && rest == [1, 1],
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use adwp_models::zoo::Width;
    use adwp_models::{Sizes, Stem, Zoo};

    use super::*;

    fn network(name: &str, classes: usize) -> Blueprint {
        let sizes = Sizes {
            stem: Some(Stem::Imagenet),
            image: Some([3, 32, 32]),
            classes: Some(classes),
            width: Some(Width::PUBLISHED),
            ..Sizes::default()
        };
        Zoo::embedded().find(name).unwrap().network(sizes).unwrap()
    }

    fn names(layout: Layout, network: &Blueprint) -> Vec<(VariableSpec, String)> {
        let Blueprint::Handmade { network: handmade, .. } = network else { unreachable!() };
        let specs: Vec<_> = network.build(1, None).unwrap().graph.variables().collect();
        let names = Names::new(layout, *handmade, specs.iter().map(|spec| &*spec.name));
        let theirs = |spec: &VariableSpec| names.of(&spec.name).unwrap_or_default();
        let theirs: Vec<_> = specs.iter().map(theirs).collect();
        specs.into_iter().zip(theirs).collect()
    }

    /// Values that tell tensors apart, under the names of a layout.
    fn state_dict(layout: Layout, network: &Blueprint) -> StateDict {
        let mut tensors = BTreeMap::new();
        for (i, (spec, name)) in names(layout, network).into_iter().enumerate() {
            let data = vec![i as f32; spec.shape.elements()];
            let is_matrix = spec.shape.len() == 2 && !name.contains("classifier");
            let shape = [&spec.shape[..], if is_matrix { &[1, 1][..] } else { &[] }].concat();
            tensors.insert(name, Tensor { shape, data });
        }
        StateDict(tensors)
    }

    /// The first 64 bits of FNV-1a.
    fn fnv(text: &str) -> u64 {
        let mix = |hash: u64, byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3);
        text.bytes().fold(0xcbf2_9ce4_8422_2325, mix)
    }

    #[test]
    fn names_are_those_of_the_published_code() {
        use Layout::{EfficientNetPytorch, Timm, Torchvision};
        // All names of floats in `state_dict()` of torchvision 0.29, timm 1.0 and
        // efficientnet_lite_pytorch 0.1, sorted, each on a line.
        for (layout, name, count, hash) in [
            (Torchvision, "mobilenet-v2", 262, 0x1ba2_8393_d20e_7e8c),
            (Torchvision, "mobilenet-v3-large", 266, 0x5c26_9a18_0644_5b98),
            (Torchvision, "mobilenet-v3-small", 210, 0x72dc_e64c_350a_0ee5),
            (Torchvision, "efficientnet-b0", 311, 0x9028_c021_9b80_22ad),
            (Torchvision, "shufflenet-v2", 282, 0x657b_b647_a3c2_a5fa),
            (Timm, "mobilenet-v2", 262, 0x6b97_aaf1_bec6_8f2e),
            (Timm, "mobilenet-v3-large", 266, 0xcbd1_1b2f_4002_dabe),
            (Timm, "mobilenet-v3-small", 210, 0xf1ab_dd00_8b12_2014),
            (Timm, "efficientnet-b0", 311, 0x623d_e441_9951_6f51),
            (Timm, "efficientnet-lite0", 247, 0xecee_3742_a246_2c95),
            (EfficientNetPytorch, "efficientnet-lite0", 247, 0xcd09_fba1_830f_eb17),
        ] {
            let mut all: Vec<String> = names(layout, &network(name, 1000))
                .into_iter()
                .map(|(_, theirs)| theirs + "\n")
                .collect();
            all.sort_unstable();
            assert_eq!((all.len(), fnv(&all.concat())), (count, hash), "{layout:?} {name}");
        }
    }

    #[test]
    fn weights_get_their_places_and_variances_what_is_added_to_them() {
        let to = network("mobilenet-v3-small", 1000);
        let weights = state_dict(Layout::Torchvision, &to);
        let loaded = load(&weights, &to, Classifier::Taken).unwrap();
        assert_eq!(
            (loaded.layout, loaded.fresh.len(), loaded.unused.len()),
            (Layout::Torchvision, 0, 0)
        );
        for (i, (spec, _)) in names(Layout::Torchvision, &to).into_iter().enumerate() {
            let variable = loaded.variables.get(&spec.name).unwrap();
            let more = if spec.kind == VariableKind::RunningVar { 1e-3 - 1e-5 } else { 0.0 };
            assert_eq!(variable.shape, spec.shape);
            assert!(
                variable.data().unwrap().iter().all(|v| *v == i as f32 + more),
                "{}",
                spec.name
            );
        }
    }

    #[test]
    fn a_classifier_of_other_classes_is_fresh_and_what_does_not_fit_is_named() {
        let (theirs, ours) = (network("mobilenet-v2", 1000), network("mobilenet-v2", 7));
        let mut weights = state_dict(Layout::Torchvision, &theirs);
        weights.0.insert("aux.weight".into(), Tensor { shape: vec![1], data: vec![1.0] });
        let refused = load(&weights, &ours, Classifier::Taken).unwrap_err().to_string();
        assert!(refused.contains("classifier.1.weight has shape [1000, 1280]"), "{refused}");
        let loaded = load(&weights, &ours, Classifier::Fresh).unwrap();
        assert_eq!(loaded.fresh, ["classifier/linear/weight", "classifier/linear/bias"]);
        assert_eq!(loaded.unused, ["aux.weight"]);
        let other = load(&weights, &network("shufflenet-v2", 7), Classifier::Fresh).unwrap_err();
        assert!(other.to_string().contains("they have no conv1.0.weight"), "{other}");
        let cells = load(&weights, &network_of_cells(), Classifier::Fresh).unwrap_err();
        assert!(matches!(cells, WeightsError::NoLayout { .. }), "{cells}");

        weights.0.get_mut("features.0.0.weight").unwrap().data[3] = f32::NAN;
        let refused = load(&weights, &ours, Classifier::Fresh).unwrap_err().to_string();
        assert!(refused.contains("features.0.0.weight has the value NaN"), "{refused}");
        weights.0.remove("features.0.0.weight");
        let unknown = load(&weights, &ours, Classifier::Fresh).unwrap_err();
        assert!(matches!(unknown, WeightsError::Unknown { .. }), "{unknown}");
    }

    fn network_of_cells() -> Blueprint {
        Zoo::embedded().find("darts-v2").unwrap().published(Stem::Cifar).unwrap().unwrap()
    }
}
