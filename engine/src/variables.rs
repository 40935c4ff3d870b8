use std::collections::HashMap;

use rand::Rng;

use crate::storage::Storage;
use crate::{EngineError, Graph, Init, Leaf, Owner, Result, Shape};

/// What a variable is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Learned by gradient descent, counted as a parameter.
    Parameter,
    /// A running statistic of a BatchNorm: stored and exported, never counted or trained.
    Statistic,
}

/// What a graph needs a variable for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum VariableKind {
    /// The value of a parameter node.
    Parameter {
        /// First values.
        init: Init,
    },
    /// The running mean of a BatchNorm, at first 0.
    RunningMean,
    /// The running variance of a BatchNorm, at first 1.
    RunningVar,
}

impl VariableKind {
    /// Whether it is learned or measured.
    pub fn role(self) -> Role {
        match self {
            Self::Parameter { .. } => Role::Parameter,
            Self::RunningMean | Self::RunningVar => Role::Statistic,
        }
    }

    /// The values that it has before the first step. Those of a parameter are drawn; statistics
    /// take nothing from the generator.
    pub fn first_values(self, shape: &Shape, rng: &mut impl Rng) -> Vec<f32> {
        match self {
            Self::Parameter { init } => init,
            Self::RunningMean => Init::Constant(0.0),
            Self::RunningVar => Init::Constant(1.0),
        }
        .draw(shape, rng)
    }
}

/// A variable that a graph needs.
#[derive(Clone, Debug, PartialEq)]
pub struct VariableSpec {
    /// As in [`Variable::name`].
    pub name: String,
    /// The extents that the graph expects.
    pub shape: Shape,
    /// What it is for.
    pub kind: VariableKind,
    /// The section of the network that it belongs to.
    pub owner: Owner,
}

/// One named tensor that outlives a step.
#[derive(Clone, Debug, PartialEq)]
pub struct Variable {
    /// Name of the parameter node, or of the BatchNorm node followed by `/running_mean` or
    /// `/running_var`.
    pub name: String,
    /// Extents, the outermost first.
    pub shape: Shape,
    /// Whether gradient descent changes it.
    pub role: Role,
    values: Storage,
}

impl Variable {
    /// A variable with these values, row-major.
    ///
    /// # Panics
    /// When there are more or fewer values than `shape` has elements.
    pub fn new(
        name: impl Into<String>,
        shape: impl Into<Shape>,
        data: Vec<f32>,
        role: Role,
    ) -> Self {
        let (name, shape) = (name.into(), shape.into());
        assert_eq!(
            data.len(),
            shape.elements(),
            "values of the variable {name:?} of shape {shape}"
        );
        Self { name, shape, role, values: Storage::new(data) }
    }

    /// Its values, row-major; read from the device where that alone has them.
    ///
    /// # Errors
    /// [`EngineError::Cuda`] when the device cannot be read.
    pub fn data(&self) -> Result<&[f32]> {
        self.values.host()
    }

    /// [`Self::data`] where an earlier call has brought the values to the host, and nothing has
    /// taken them away since.
    ///
    /// # Panics
    /// When nobody did that.
    pub(crate) fn on_host(&self) -> &[f32] {
        self.values.on_host().expect("the values were brought to the host before")
    }
}

/// Everything a network owns between steps: its parameters and BatchNorm statistics, by name, in
/// the order they were added.
///
/// Programs of several graphs (training, evaluation, the α step) share one set.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Variables {
    entries: Vec<Variable>,
    index: HashMap<String, usize>,
}

impl Variables {
    /// No variables.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds what `graph` owns and is not there yet: parameters drawn from their [`Init`],
    /// statistics at mean 0 and variance 1.
    ///
    /// Draws in the order of the graph's nodes, so the same graph and generator give the same
    /// values.
    pub fn initialize(&mut self, graph: &Graph, rng: &mut impl Rng) -> Result<()> {
        for VariableSpec { name, shape, kind, .. } in graph.variables() {
            match self.index.get(&name) {
                Some(&i) => self.expect_shape(i, &shape)?,
                None => {
                    let data = kind.first_values(&shape, rng);
                    self.insert(Variable::new(name, shape, data, kind.role()));
                }
            }
        }
        Ok(())
    }

    /// Adds a variable, or replaces the one of the same name.
    pub fn insert(&mut self, variable: Variable) {
        match self.index.get(&variable.name) {
            Some(&i) => self.entries[i] = variable,
            None => {
                self.index.insert(variable.name.clone(), self.entries.len());
                self.entries.push(variable);
            }
        }
    }

    /// Position of a variable, for repeated access.
    pub fn position(&self, name: &str) -> Result<usize> {
        self.index.get(name).copied().ok_or_else(|| EngineError::UnknownVariable(name.to_owned()))
    }

    /// Position of a variable, checked to have `shape`.
    pub fn expect(&self, name: &str, shape: &Shape) -> Result<usize> {
        let i = self.position(name)?;
        self.expect_shape(i, shape)?;
        Ok(i)
    }

    fn expect_shape(&self, i: usize, shape: &Shape) -> Result<()> {
        let found = &self.entries[i];
        if &found.shape == shape {
            return Ok(());
        }
        Err(EngineError::VariableShape {
            name: found.name.clone(),
            found: found.shape.clone(),
            expected: shape.clone(),
        })
    }

    /// The variable of that name.
    pub fn get(&self, name: &str) -> Result<&Variable> {
        Ok(&self.entries[self.position(name)?])
    }

    /// The values of the variable of that name, to be changed.
    ///
    /// # Errors
    /// [`EngineError::UnknownVariable`], and those of [`Variable::data`].
    pub fn get_mut(&mut self, name: &str) -> Result<&mut [f32]> {
        let i = self.position(name)?;
        self.data_mut(i)
    }

    /// The variable at a position that [`Self::position`] gave.
    pub fn at(&self, position: usize) -> &Variable {
        &self.entries[position]
    }

    /// The values at a position that [`Self::position`] gave, to be changed.
    ///
    /// # Errors
    /// Those of [`Variable::data`].
    pub fn data_mut(&mut self, position: usize) -> Result<&mut [f32]> {
        self.entries[position].values.host_mut()
    }

    /// The values at several positions, each named once, in the order of `positions`.
    ///
    /// # Errors
    /// Those of [`Variable::data`].
    pub(crate) fn several_mut(
        &mut self,
        positions: impl IntoIterator<Item = usize>,
    ) -> Result<Vec<&mut [f32]>> {
        let mut entries: Vec<Option<&mut Variable>> = self.entries.iter_mut().map(Some).collect();
        let take = |position: usize| {
            entries[position]
                .take()
                .expect("a variable is updated by one gradient")
                .values
                .host_mut()
        };
        positions.into_iter().map(take).collect()
    }

    /// The values at a position, wherever they are.
    pub(crate) fn storage_mut(&mut self, position: usize) -> &mut Storage {
        &mut self.entries[position].values
    }

    /// All variables, in the order they were added.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &Variable> {
        self.entries.iter()
    }

    /// Number of variables.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

impl Graph {
    /// Every variable that the graph needs, in node order.
    pub fn variables(&self) -> impl Iterator<Item = VariableSpec> + '_ {
        self.nodes().flat_map(|(_, node)| {
            let of = |name: String, shape: Shape, kind: VariableKind| VariableSpec {
                name,
                shape,
                kind,
                owner: node.owner,
            };
            match node.op.leaf() {
                Some(Leaf::Parameter(init)) => {
                    let kind = VariableKind::Parameter { init };
                    vec![of(node.name.clone(), node.shape.clone(), kind)]
                }
                None if node.op.keeps_statistics() => [
                    (node.running_mean(), VariableKind::RunningMean),
                    (node.running_var(), VariableKind::RunningVar),
                ]
                .map(|(name, kind)| of(name, [node.shape[1]].into(), kind))
                .into(),
                Some(Leaf::Input) | None => Vec::new(),
            }
        })
    }
}
