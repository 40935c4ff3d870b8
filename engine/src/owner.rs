use std::fmt;

/// The section of a network that a node of a [`Graph`](crate::Graph) belongs to.
///
/// Builders set it and print the names of nodes from it; readers group nodes by it and never parse
/// a name: what a candidate costs, which parameters are its own, which operations are timed
/// together. A program computes the same whatever it is. Cells are counted from the image, and the
/// states of a cell from its inputs on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Owner {
    /// Images, labels, the loss, and whatever a network without sections has.
    #[default]
    Network,
    /// A stage of what comes before the first cell; each ends where a cell can read.
    Stem {
        /// Position among the stages.
        stage: usize,
    },
    /// What brings an input of a cell to the size of its states.
    Input {
        /// The cell.
        cell: usize,
        /// Position among its inputs.
        input: usize,
    },
    /// An operation that a node of a cell can choose.
    Candidate(Candidate),
    /// What a node makes of its candidates.
    Node {
        /// The cell.
        cell: usize,
        /// The state that it gives.
        node: usize,
    },
    /// What a cell makes of its nodes, and the parameters that all of it reads.
    Cell {
        /// The cell.
        cell: usize,
    },
    /// From the last cell to the logits.
    Classifier,
    /// The classifier that only training has.
    Auxiliary,
    /// A classifier that reads a cell before the last.
    Exit {
        /// The cell.
        cell: usize,
    },
}

/// An operation on one state of a cell, and where it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Candidate {
    /// The cell.
    pub cell: usize,
    /// The state that its node gives.
    pub node: usize,
    /// Position among the candidates of the node.
    pub place: usize,
    /// The state that it reads.
    pub input: usize,
    /// Name of the operation.
    pub operation: &'static str,
}

impl Owner {
    /// The candidate that it is.
    pub fn candidate(self) -> Option<Candidate> {
        match self {
            Self::Candidate(candidate) => Some(candidate),
            Self::Network
            | Self::Stem { .. }
            | Self::Input { .. }
            | Self::Node { .. }
            | Self::Cell { .. }
            | Self::Classifier
            | Self::Auxiliary
            | Self::Exit { .. } => None,
        }
    }

    /// The cell that it is a part of.
    pub fn cell(self) -> Option<usize> {
        match self {
            Self::Input { cell, .. }
            | Self::Candidate(Candidate { cell, .. })
            | Self::Node { cell, .. }
            | Self::Cell { cell } => Some(cell),
            Self::Network
            | Self::Stem { .. }
            | Self::Classifier
            | Self::Auxiliary
            | Self::Exit { .. } => None,
        }
    }
}

impl fmt::Display for Owner {
    /// What the names of its nodes begin with.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Network => f.write_str("network"),
            Self::Stem { .. } => f.write_str("stem"),
            Self::Input { cell, input } => write!(f, "cell{cell}/input{input}"),
            Self::Candidate(Candidate { cell, node, input, operation, .. }) => {
                write!(f, "cell{cell}/node{node}/{operation}@{input}")
            }
            Self::Node { cell, node } => write!(f, "cell{cell}/node{node}"),
            Self::Cell { cell } => write!(f, "cell{cell}"),
            Self::Classifier => f.write_str("classifier"),
            Self::Auxiliary => f.write_str("auxiliary"),
            Self::Exit { cell } => write!(f, "exit{cell}"),
        }
    }
}
