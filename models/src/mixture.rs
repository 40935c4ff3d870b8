//! The weighted sum of the candidates of a node, as the networks of a search have it.

use adwp_engine::{Candidate, NodeId, Op};

use crate::blocks::{Builder, Dropped, Weights};
use crate::cells::{Realisation, Term, nothing};
use crate::generator::Generator;
use crate::{CellSite, ModelError};

/// What the candidates of a cell read.
#[derive(Clone, Copy)]
pub(crate) struct Mixed {
    /// What they are weighted with.
    pub(crate) probabilities: NodeId,
    /// Where their weights are predicted, how.
    pub(crate) generated: Option<Generated>,
}

/// How the weights of candidates are predicted.
#[derive(Clone, Copy)]
pub(crate) struct Generated {
    /// What from.
    pub(crate) encoding: NodeId,
    /// Whether a generating block reads all of it, or the entry of its candidate alone.
    pub(crate) is_whole: bool,
    /// By which generating blocks.
    pub(crate) generator: Generator,
}

/// Sums the candidates of every node, each times its probability.
pub(crate) struct Mixture<P, E> {
    dropped: Dropped,
    /// Where a candidate is among the probabilities of its cell, counted flat.
    place: P,
    /// Adds what the candidates of a cell read, or finds it.
    enter: E,
    /// That of the present cell.
    mixed: Option<Mixed>,
    /// Inputs `[batch]`: a mask for every operation that can be dropped.
    pub(crate) masks: Vec<NodeId>,
}

impl<P, E> Mixture<P, E> {
    pub(crate) fn new(dropped: Dropped, place: P, enter: E) -> Self {
        Self { dropped, place, enter, mixed: None, masks: Vec::new() }
    }

    fn mixed(&self) -> Mixed {
        self.mixed.expect("a cell is entered before its candidates")
    }
}

impl<P, E> Realisation for Mixture<P, E>
where
    P: Fn(Candidate) -> usize,
    E: FnMut(&mut Builder, CellSite) -> Result<Mixed, ModelError>,
{
    fn enter(&mut self, b: &mut Builder, site: CellSite) -> Result<(), ModelError> {
        self.mixed = Some((self.enter)(b, site)?);
        Ok(())
    }

    fn weights(&self, candidate: Candidate) -> Weights {
        match self.mixed().generated {
            None => Weights::Own,
            Some(Generated { encoding, is_whole, generator }) => {
                let entry = (!is_whole).then(|| (self.place)(candidate));
                Weights::Generated { encoding, entry, generator }
            }
        }
    }

    fn drop(
        &mut self,
        b: &mut Builder,
        name: &str,
        y: NodeId,
        identity: bool,
        _: usize,
    ) -> Result<NodeId, ModelError> {
        if !identity || self.dropped == Dropped::Nothing {
            return Ok(y);
        }
        let mask = b.graph.input(format!("{name}/mask"), [b.graph[y].shape[0]])?;
        self.masks.push(mask);
        Ok(b.graph.add(format!("{name}/drop"), Op::DropPath, &[y, mask])?)
    }

    fn join(
        &mut self,
        b: &mut Builder,
        name: &str,
        terms: &[Term],
        states: &[NodeId],
    ) -> Result<NodeId, ModelError> {
        if terms.is_empty() {
            return nothing(b, name, states[0]);
        }
        let values = terms.iter().map(|term| term.value);
        let inputs: Vec<NodeId> =
            std::iter::once(self.mixed().probabilities).chain(values).collect();
        let terms = terms.iter().map(|term| (self.place)(term.candidate)).collect();
        Ok(b.graph.add(name, Op::WeightedSum { terms }, &inputs)?)
    }
}
