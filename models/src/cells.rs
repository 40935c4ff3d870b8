//! The one traversal of cells. It walks over the nodes of a cell and their candidates, and asks a
//! [`Realisation`] what becomes of each: that alone tells a network of one architecture from a
//! mixture of all, and weights of its own from generated ones.

use adwp_engine::{Candidate, NodeId, Op, Owner};

use crate::blocks::{Builder, Weights};
use crate::wiring::CellWiring;
use crate::{CellKind, CellSite, ModelError, Skeleton};

/// An operation on an earlier state of its cell.
pub(crate) trait Choice: Copy {
    /// The state that it reads.
    fn input(self) -> usize;

    fn operation(self) -> &'static str;

    /// Whether it gives what it reads, but for the size.
    fn is_identity(self) -> bool;

    /// What the names of its nodes begin with.
    fn name(self, candidate: Candidate) -> String {
        Owner::Candidate(candidate).to_string()
    }

    /// Adds it to the graph; `None` where it gives nothing.
    fn build(
        self,
        b: &mut Builder,
        name: &str,
        x: NodeId,
        stride: usize,
        weights: Weights,
    ) -> Result<Option<NodeId>, ModelError>;
}

/// A value that a candidate gave.
pub(crate) struct Term {
    pub(crate) candidate: Candidate,
    pub(crate) value: NodeId,
}

/// What a network makes of the candidates that the traversal comes by.
pub(crate) trait Realisation {
    /// Adds what all of a cell reads, before anything else of it.
    fn enter(&mut self, _: &mut Builder, _: CellSite) -> Result<(), ModelError> {
        Ok(())
    }

    /// Where the weights of a candidate's convolutions come from.
    fn weights(&self, _: Candidate) -> Weights {
        Weights::Own
    }

    /// `y`, which a candidate called `name` gave, as its node takes it; `identity` and `stride` are
    /// the candidate's.
    fn drop(
        &mut self,
        b: &mut Builder,
        name: &str,
        y: NodeId,
        identity: bool,
        stride: usize,
    ) -> Result<NodeId, ModelError>;

    /// The value of the node after `states`, the inputs of its cell and the nodes before; `name` is
    /// that of a new operation.
    fn join(
        &mut self,
        b: &mut Builder,
        name: &str,
        terms: &[Term],
        states: &[NodeId],
    ) -> Result<NodeId, ModelError>;
}

/// The states of a cell: its `inputs`, then its nodes. What reads an input of a reduction cell has
/// stride 2.
pub(crate) fn states<C: Choice>(
    b: &mut Builder,
    realisation: &mut dyn Realisation,
    site: CellSite,
    inputs: &[NodeId],
    CellPlan { nodes, output }: &CellPlan<'_, C>,
) -> Result<Vec<NodeId>, ModelError> {
    let mut wired = Vec::with_capacity(nodes.len());
    let (cell, mut states) = (site.index, inputs.to_vec());
    for choices in nodes.iter() {
        let node = states.len();
        let mut terms = Vec::with_capacity(choices.len());
        let mut read = Vec::with_capacity(choices.len());
        for (place, choice) in choices.iter().enumerate() {
            let (input, operation) = (choice.input(), choice.operation());
            let candidate = Candidate { cell, node, place, input, operation };
            let reduces = site.kind == CellKind::Reduction && input < inputs.len();
            let (x, stride) = (states[input], if reduces { 2 } else { 1 });
            let value = b.owned(Owner::Candidate(candidate), |b, _| {
                let name = choice.name(candidate);
                let weights = realisation.weights(candidate);
                let Some(y) = choice.build(b, &name, x, stride, weights)? else { return Ok(None) };
                realisation.drop(b, &name, y, choice.is_identity(), stride).map(Some)
            })?;
            terms.extend(value.map(|value| Term { candidate, value }));
            read.extend(value.map(|_| (input, operation)));
        }
        wired.push(read);
        let owner = Owner::Node { cell, node };
        let value = b.owned(owner, |b, name| realisation.join(b, name, &terms, &states))?;
        states.push(value);
    }
    b.wiring.push(CellWiring {
        kind: site.kind,
        inputs: inputs.len(),
        nodes: wired,
        output: output.to_vec(),
    });
    Ok(states)
}

/// The value of a node that nothing leads to, as large as an input of its cell.
pub(crate) fn nothing(b: &mut Builder, name: &str, input: NodeId) -> Result<NodeId, ModelError> {
    Ok(b.graph.add(name, Op::Scale { factor: 0.0 }, &[input])?)
}

/// The nodes of a cell, and what it gives.
pub(crate) struct CellPlan<'a, C> {
    /// For each node its candidates.
    pub(crate) nodes: &'a [Vec<C>],
    /// The states that make its output. In a stack they are concatenated, and one of another size
    /// than the last node's is reduced.
    pub(crate) output: &'a [usize],
}

/// What a stack of cells gives.
pub(crate) struct Stacked {
    /// Output of the last cell.
    pub(crate) last: NodeId,
    /// Output of the cell that feeds the auxiliary classifier.
    pub(crate) auxiliary: NodeId,
}

/// The stack of the DARTS line: a stem, then cells that read the outputs of the two before.
pub(crate) fn stack<'a, C: Choice + 'a>(
    b: &mut Builder,
    realisation: &mut dyn Realisation,
    skeleton: &Skeleton,
    images: NodeId,
    plan: impl Fn(CellSite) -> Result<CellPlan<'a, C>, ModelError>,
) -> Result<Stacked, ModelError> {
    let mut previous = b.stem(skeleton.stem, images, skeleton.channels)?;
    let mut auxiliary = previous[1];
    for site in skeleton.cells() {
        let cell = site.index;
        let plan = plan(site)?;
        b.owned(Owner::Cell { cell }, |b, _| realisation.enter(b, site))?;
        let inputs = b.cell_inputs(cell, previous, site.channels)?;
        let states = states(b, realisation, site, &inputs, &plan)?;
        let output =
            b.owned(Owner::Cell { cell }, |b, name| concatenate(b, name, &states, plan.output))?;
        b.outputs.push(output);
        if cell == skeleton.auxiliary_cell() {
            auxiliary = output;
        }
        previous = [previous[1], output];
    }
    Ok(Stacked { last: previous[1], auxiliary })
}

/// Joins the states `of` a cell.
fn concatenate(
    b: &mut Builder,
    cell: &str,
    states: &[NodeId],
    of: &[usize],
) -> Result<NodeId, ModelError> {
    let last = *states.last().expect("a cell has inputs");
    let (size, channels) = (b.graph[last].shape[2..].to_vec(), b.channels(last));
    let mut output = Vec::with_capacity(of.len());
    for &state in of {
        let x = states[state];
        output.push(if b.graph[x].shape[2..] == size {
            x
        } else {
            let name = format!("{cell}/state{state}");
            b.factorized_reduction(&name, x, channels, Weights::Own)?
        });
    }
    Ok(b.graph.add(format!("{cell}/output"), Op::Concat, &output)?)
}
