//! The weighted sum of all candidates of a node, as the networks of a search have it.

use adwp_engine::{Candidate, NodeId, Op};

use crate::blocks::{Builder, Dropped, Weights};
use crate::cells::{Realisation, Term};
use crate::generator::Generator;
use crate::{CellSite, ModelError};

/// What the candidates of a cell read.
#[derive(Clone, Copy)]
pub(crate) struct Mixed {
    /// What they are weighted with.
    pub(crate) probabilities: NodeId,
    /// Where their weights are predicted, what from and by which generating blocks.
    pub(crate) generated: Option<(NodeId, Generator)>,
}

/// Sums the candidates of every node, each times its probability.
pub(crate) struct Mixture<E> {
    dropped: Dropped,
    /// For each state where its candidates begin among the probabilities, read flat.
    first: Vec<usize>,
    /// Adds what the candidates of a cell read, or finds it.
    enter: E,
    /// That of the present cell.
    mixed: Option<Mixed>,
    /// Inputs `[batch]`: a mask for every operation that can be dropped.
    pub(crate) masks: Vec<NodeId>,
}

impl<E> Mixture<E> {
    pub(crate) fn new(dropped: Dropped, first: Vec<usize>, enter: E) -> Self {
        Self { dropped, first, enter, mixed: None, masks: Vec::new() }
    }

    fn mixed(&self) -> Mixed {
        self.mixed.expect("a cell is entered before its candidates")
    }
}

impl<E> Realisation for Mixture<E>
where
    E: FnMut(&mut Builder, CellSite) -> Result<Mixed, ModelError>,
{
    fn enter(&mut self, b: &mut Builder, site: CellSite) -> Result<(), ModelError> {
        self.mixed = Some((self.enter)(b, site)?);
        Ok(())
    }

    fn weights(&self, candidate: Candidate) -> Weights {
        let index = self.first[candidate.node] + candidate.place;
        match self.mixed().generated {
            None => Weights::Own,
            Some((probabilities, generator)) => {
                Weights::Generated { probabilities, index, generator }
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
        let values = terms.iter().map(|term| term.value);
        let inputs: Vec<NodeId> =
            std::iter::once(self.mixed().probabilities).chain(values).collect();
        let first = self.first[states.len()];
        let terms = terms.iter().map(|term| first + term.place).collect();
        Ok(b.graph.add(name, Op::WeightedSum { terms }, &inputs)?)
    }
}
