use adwp_engine::Candidate;
use rand::{Rng, RngExt};
use serde::{Deserialize, Serialize};

use crate::cells::{CellPlan, stack};
use crate::discrete::OUTPUT;
use crate::genotype::parse;
use crate::pair::{Pair, check_pairs};
use crate::{
    CellGenotype, CellKind, CellSite, Discrete, Genotype, Heads, Hypernetwork, HypernetworkOptions,
    INPUTS, ModelError, NODES, Operation, Skeleton, edge,
};

use super::{Choices, Decision, Features, Space, Term, alike};

/// For each intermediate node the K pairs it may sum, sorted.
pub type IntensiveCell = Vec<Vec<Pair>>;

const SCHEMA: &str = "adwp/space/1";

/// The intensive space O* (section 3.1.2): for every intermediate node of normal and reduction
/// cells the K most likely pairs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IntensiveSpace {
    schema: String,
    /// Candidates in normal cells.
    pub normal: IntensiveCell,
    /// Candidates in reduction cells.
    pub reduction: IntensiveCell,
}

impl IntensiveSpace {
    /// A space from its candidates, checked as [`Self::from_json`] checks.
    pub fn new(normal: IntensiveCell, reduction: IntensiveCell) -> Result<Self, ModelError> {
        let space = Self { schema: SCHEMA.to_owned(), normal, reduction };
        space.validate()?;
        Ok(space)
    }

    /// Takes the `k` most probable connecting pairs of every intermediate node.
    ///
    /// `probabilities` holds the softmax of each edge, `[EDGES, operations]` row-major. Ties go to
    /// the earlier pair.
    pub fn derive_cell(probabilities: &[f32], k: usize) -> IntensiveCell {
        (0..NODES)
            .map(|node| {
                let mut pairs: Vec<(f32, Pair)> = (0..node + 2)
                    .flat_map(|input| Operation::CONNECTING.map(|op| Pair { input, op }))
                    .map(|pair| {
                        (
                            probabilities
                                [edge(node, pair.input) * Operation::ALL.len() + pair.op.index()],
                            pair,
                        )
                    })
                    .collect();
                // A stable sort: equal probabilities keep the order of the pairs.
                pairs.sort_by(|a, b| b.0.total_cmp(&a.0));
                let mut chosen: Vec<Pair> =
                    pairs.into_iter().take(k).map(|(_, pair)| pair).collect();
                chosen.sort_unstable();
                chosen
            })
            .collect()
    }

    /// `k` pairs drawn evenly for every node: the space without a search, for comparison and tests.
    pub fn random(k: usize, rng: &mut impl Rng) -> Result<Self, ModelError> {
        let mut cell = || {
            let probabilities: Vec<f32> =
                (0..crate::EDGES * Operation::ALL.len()).map(|_| rng.random()).collect();
            Self::derive_cell(&probabilities, k)
        };
        Self::new(cell(), cell())
    }

    /// The candidates of one kind of cell.
    pub fn cell(&self, kind: CellKind) -> &IntensiveCell {
        match kind {
            CellKind::Normal => &self.normal,
            CellKind::Reduction => &self.reduction,
        }
    }

    /// K: how many pairs each node chooses from.
    pub fn width(&self) -> usize {
        self.normal[0].len()
    }

    /// Reads `space.json`.
    pub fn from_json(text: &str) -> Result<Self, ModelError> {
        let space: Self = parse(text, "intensive space", SCHEMA)?;
        space.validate()?;
        Ok(space)
    }

    /// The text of `space.json`.
    pub fn to_json(&self) -> String {
        adwp_base::to_json(self)
    }

    fn validate(&self) -> Result<(), ModelError> {
        for (kind, cell) in [("normal", &self.normal), ("reduction", &self.reduction)] {
            let fail = |message: String| {
                Err(ModelError::Invalid(format!("intensive space: {kind}: {message}")))
            };
            if cell.len() != NODES {
                return fail(format!("{} nodes, expected {NODES}", cell.len()));
            }
            for (node, pairs) in cell.iter().enumerate() {
                check_pairs(node, pairs).or_else(fail)?;
                if pairs.len() < 2 || pairs.len() != self.normal[0].len() {
                    return fail(format!(
                        "node {node} has {} candidates; every node needs the same number, at \
                         least 2",
                        pairs.len()
                    ));
                }
            }
        }
        Ok(())
    }

    /// Keeps the `keep` most probable pairs of every node of every cell (section 3.2.2).
    ///
    /// `probabilities` holds for every cell the softmax over the candidates of each node, `[NODES,
    /// K]` row-major.
    pub fn discretize(
        &self,
        skeleton: &Skeleton,
        probabilities: &[Vec<f32>],
        keep: usize,
    ) -> Result<Genotype, ModelError> {
        let k = self.width();
        let cells = skeleton.cells().into_iter().zip(probabilities).map(|(site, probabilities)| {
            let nodes =
                self.cell(site.kind).iter().zip(probabilities.chunks_exact(k)).map(|(pairs, p)| {
                    let mut order: Vec<usize> = (0..k).collect();
                    order.sort_by(|&a, &b| p[b].total_cmp(&p[a]));
                    let mut chosen: Vec<Pair> =
                        order.into_iter().take(keep).map(|i| pairs[i]).collect();
                    chosen.sort_unstable();
                    chosen
                });
            CellGenotype { kind: site.kind, nodes: nodes.collect() }
        });
        Genotype::new(cells.collect())
    }

    /// An architecture of this space drawn evenly: `keep` of each node's candidates.
    pub fn random_genotype(
        &self,
        skeleton: &Skeleton,
        keep: usize,
        rng: &mut impl Rng,
    ) -> Result<Genotype, ModelError> {
        let mut draw = || (0..NODES * self.width()).map(|_| rng.random()).collect();
        let scores: Vec<Vec<f32>> = (0..skeleton.cells).map(|_| draw()).collect();
        self.discretize(skeleton, &scores, keep)
    }
}

/// Cells of the DARTS space whose nodes sum `keep` of some candidates, in networks of one size. The
/// decisions are those of the nodes of all cells, from the image on; where the cells of a kind are
/// alike, those of the first cell of each kind.
#[derive(Clone, Debug)]
pub struct Intensive {
    normal: IntensiveCell,
    reduction: IntensiveCell,
    skeleton: Skeleton,
    alike: bool,
    decisions: Vec<Decision>,
}

impl Intensive {
    /// An intensive space for networks of `skeleton`.
    ///
    /// # Errors
    /// When nodes have fewer candidates than they are to keep, or the sizes make no network.
    pub fn new(space: IntensiveSpace, skeleton: Skeleton, keep: usize) -> Result<Self, ModelError> {
        Self::of_cells([space.normal, space.reduction], skeleton, keep, false)
    }

    /// The original space: nodes choose from all operations on all earlier states.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn original(skeleton: Skeleton, keep: usize) -> Result<Self, ModelError> {
        Self::of_cells([every_pair(), every_pair()], skeleton, keep, false)
    }

    /// The space that DARTS and what followed it searched: the original one, with all normal cells
    /// of a network alike, and all reduction cells.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn alike(skeleton: Skeleton, keep: usize) -> Result<Self, ModelError> {
        Self::of_cells([every_pair(), every_pair()], skeleton, keep, true)
    }

    fn of_cells(
        [normal, reduction]: [IntensiveCell; 2],
        skeleton: Skeleton,
        keep: usize,
        alike: bool,
    ) -> Result<Self, ModelError> {
        skeleton.validate()?;
        let fewest = normal.iter().chain(&reduction).map(Vec::len).min().unwrap_or(0);
        if !(1..=fewest).contains(&keep) {
            return Err(ModelError::Invalid(format!(
                "a node cannot sum {keep} pairs: the first one has {fewest} to choose from"
            )));
        }
        let mut space = Self { normal, reduction, skeleton, alike, decisions: Vec::new() };
        let sites = space.deciding();
        let options = sites.iter().flat_map(|site| space.cell(site.kind).iter().map(Vec::len));
        space.decisions = options.map(|options| Decision { options, keep }).collect();
        Ok(space)
    }

    /// The cells that decisions are made for, in their order.
    fn deciding(&self) -> Vec<CellSite> {
        let mut sites = self.skeleton.cells();
        if self.alike {
            let mut kinds = Vec::new();
            sites.retain(|site| {
                let is_first = !kinds.contains(&site.kind);
                kinds.push(site.kind);
                is_first
            });
        }
        sites
    }

    /// The first of the decisions that a cell follows.
    fn place(&self, site: CellSite) -> usize {
        let decides = |deciding: &CellSite| match self.alike {
            true => deciding.kind == site.kind,
            false => deciding.index == site.index,
        };
        NODES * self.deciding().iter().position(decides).expect("a cell of the skeleton")
    }

    fn cell(&self, kind: CellKind) -> &IntensiveCell {
        match kind {
            CellKind::Normal => &self.normal,
            CellKind::Reduction => &self.reduction,
        }
    }

    /// The architecture of choices, which may keep more or fewer candidates than `keep`.
    ///
    /// # Errors
    /// When a candidate is chosen that there is not, or none.
    pub fn cells_of(&self, choices: &Choices) -> Result<Genotype, ModelError> {
        let cells = self.skeleton.cells().into_iter().map(|site| {
            let place = self.place(site);
            let node = |(node, candidates): (usize, &Vec<Pair>)| {
                let kept = choices.0.get(place + node).map_or(&[][..], Vec::as_slice);
                kept.iter().filter_map(|&option| candidates.get(option).copied()).collect()
            };
            let nodes = self.cell(site.kind).iter().enumerate().map(node).collect();
            CellGenotype { kind: site.kind, nodes }
        });
        Genotype::new(cells.collect())
    }
}

impl Space for Intensive {
    fn name(&self) -> &'static str {
        if self.alike { alike::NAME } else { "intensive" }
    }

    fn decisions(&self) -> &[Decision] {
        &self.decisions
    }

    fn option(&self, candidate: Candidate) -> (usize, usize) {
        let Candidate { cell, node, input, operation, .. } = candidate;
        let is_it = |pair: &Pair| pair.input == input && pair.op.name() == operation;
        let site = self.skeleton.cells()[cell];
        let decision = self.place(site) + node - INPUTS;
        let option = self.cell(site.kind)[node - INPUTS].iter().position(is_it);
        (decision, option.expect("a pair of the space"))
    }

    fn terms(&self, node: usize) -> usize {
        self.decisions[node - INPUTS].keep
    }

    /// For each cell what its nodes compute of its inputs, written out and sorted: the order of the
    /// nodes is only an order of channels.
    fn key(&self, choices: &Choices) -> String {
        let mut kept = choices.0.iter();
        let cells = self.deciding().into_iter().map(|site| {
            let mut states = vec!["a".to_owned(), "b".to_owned()];
            for candidates in self.cell(site.kind) {
                let terms = kept.next().into_iter().flatten().map(|&option| candidates[option]);
                let mut terms: Vec<String> =
                    terms.map(|pair| format!("{}({})", pair.op, states[pair.input])).collect();
                terms.sort_unstable();
                states.push(terms.join("+"));
            }
            states[INPUTS..].sort_unstable();
            states[INPUTS..].join(",")
        });
        cells.collect::<Vec<_>>().join("/")
    }

    /// Its genotype, on one line; where cells are alike, the pairs of each kind.
    fn text(&self, choices: &Choices) -> String {
        let genotype = self.cells_of(choices).expect("choices of this space are a genotype");
        if self.alike {
            let cells = self.deciding().into_iter().map(|site| &genotype.cells[site.index]);
            return alike::text(cells);
        }
        serde_json::to_string(&genotype).expect("a genotype has only strings and numbers")
    }

    fn parse(&self, text: &str) -> Result<Choices, ModelError> {
        let genotype = match self.alike {
            true => alike::genotype(text, self.skeleton.cells)?,
            false => Genotype::from_json(text)?,
        };
        let choices = self.choices_of(&genotype)?;
        self.validate(&choices)?;
        Ok(choices)
    }

    /// The options; for every cell that decides how often each operation is kept and each of its
    /// inputs read; for each kind of cell the same over all of these.
    fn features(&self) -> Features {
        let mut f = Features::of(&self.decisions);
        let sites = self.deciding();
        let mut by_cell = Vec::with_capacity(sites.len());
        for site in &sites {
            let mut operations = vec![Vec::new(); Operation::CONNECTING.len()];
            let mut inputs = vec![Vec::new(); INPUTS];
            for (node, candidates) in self.cell(site.kind).iter().enumerate() {
                for (option, pair) in candidates.iter().enumerate() {
                    let kept = f.option(self.place(*site) + node, option);
                    let place = Operation::CONNECTING.iter().position(|op| *op == pair.op);
                    operations[place.expect("zero is no candidate")].push(kept);
                    if let Some(input) = inputs.get_mut(pair.input) {
                        input.push(kept);
                    }
                }
            }
            let counts = operations.iter().chain(&inputs).map(|kept| f.sum(kept));
            by_cell.push(counts.collect::<Vec<Term>>());
        }
        let mut by_kind = Vec::new();
        for kind in [CellKind::Normal, CellKind::Reduction] {
            for count in 0..Operation::CONNECTING.len() + INPUTS {
                let of_kind = sites.iter().zip(&by_cell).filter(|(site, _)| site.kind == kind);
                let terms: Vec<Term> = of_kind.map(|(_, counts)| counts[count]).collect();
                by_kind.push(f.sum(&terms));
            }
        }
        let options =
            self.decisions.iter().enumerate().flat_map(|(place, decision)| {
                (0..decision.options).map(move |option| (place, option))
            });
        let options = options.map(|(place, option)| f.option(place, option)).collect();
        f.group(options);
        if !self.alike {
            f.group(by_cell.concat());
        }
        f.group(by_kind);
        f
    }

    fn skeleton(&self) -> Skeleton {
        self.skeleton
    }

    fn genotype(&self, choices: &Choices) -> Result<Option<Genotype>, ModelError> {
        self.cells_of(choices).map(Some)
    }

    /// Those with this number of cells, pairs that their nodes can choose, and cells of a kind that
    /// are alike where they are to be.
    fn choices_of(&self, genotype: &Genotype) -> Result<Choices, ModelError> {
        let outside = || ModelError::Invalid("the genotype is not of this space".into());
        if genotype.cells.len() != self.skeleton.cells {
            return Err(outside());
        }
        let mut choices = Vec::with_capacity(self.decisions.len());
        for site in self.deciding() {
            let cell = &genotype.cells[site.index];
            for (candidates, pairs) in self.cell(cell.kind).iter().zip(&cell.nodes) {
                let option = |pair| candidates.iter().position(|candidate| candidate == pair);
                let options: Option<Vec<usize>> = pairs.iter().map(option).collect();
                let mut options = options.ok_or_else(outside)?;
                options.sort_unstable();
                choices.push(options);
            }
        }
        let choices = Choices(choices);
        if self.alike && sorted(self.cells_of(&choices)?) != sorted(genotype.clone()) {
            return Err(ModelError::Invalid(
                "the genotype is not of this space: its cells of a kind differ".into(),
            ));
        }
        Ok(choices)
    }

    fn build(
        &self,
        choices: &Choices,
        batch: usize,
        heads: Option<Heads>,
    ) -> Result<Discrete, ModelError> {
        Discrete::build(&self.cells_of(choices)?, &self.skeleton, batch, heads)
    }

    fn with_cells(&self, cells: usize) -> Result<Box<dyn Space>, ModelError> {
        let candidates = [&self.normal, &self.reduction].map(Clone::clone);
        let skeleton = Skeleton { cells, ..self.skeleton };
        let keep = self.decisions.first().map_or(1, |decision| decision.keep);
        Ok(Box::new(Self::of_cells(candidates, skeleton, keep, self.alike)?))
    }

    fn hypernetwork(
        &self,
        kept: &Choices,
        batch: usize,
        options: HypernetworkOptions,
    ) -> Result<Hypernetwork, ModelError> {
        let widths: Vec<usize> = self.decisions.iter().map(|of| of.options).collect();
        if widths.windows(2).any(|pair| pair[0] != pair[1]) {
            return Err(ModelError::Invalid(format!(
                "weights are predicted for nodes that have as many candidates each, which those of \
                 the space {} have not",
                self.name()
            )));
        }
        let genotype = self.cells_of(kept)?;
        let (decisions, option) = (self.decisions(), |candidate| self.option(candidate));
        Hypernetwork::of(
            decisions,
            self.skeleton(),
            option,
            NODES,
            batch,
            options,
            |b, mixture, images| {
                let plan = |site: CellSite| {
                    Ok(CellPlan { nodes: &genotype.cells[site.index].nodes, output: &OUTPUT })
                };
                Ok(stack(b, mixture, &self.skeleton, images, plan)?.last)
            },
        )
    }
}

/// For every node all pairs that connect.
fn every_pair() -> IntensiveCell {
    let every = |input| Operation::CONNECTING.map(|op| Pair { input, op });
    (0..NODES).map(|node| (0..node + INPUTS).flat_map(every).collect()).collect()
}

/// The same architecture with the pairs of each node in order.
fn sorted(mut genotype: Genotype) -> Genotype {
    for pairs in genotype.cells.iter_mut().flat_map(|cell| &mut cell.nodes) {
        pairs.sort_unstable();
    }
    genotype
}

/// Stability s(a, b) of two intensive spaces (equation 2): 1 - changed pairs / all pairs, over both
/// kinds of cells.
pub fn stability(a: &IntensiveSpace, b: &IntensiveSpace) -> f64 {
    let (mut kept, mut total) = (0, 0);
    for (a, b) in [(&a.normal, &b.normal), (&a.reduction, &b.reduction)] {
        for (a, b) in a.iter().zip(b) {
            total += b.len();
            kept += b.iter().filter(|pair| a.contains(pair)).count();
        }
    }
    kept as f64 / total as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Stem;
    use crate::space::features::tests as features;
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;

    #[test]
    fn stability_counts_changed_pairs() {
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let a = IntensiveSpace::random(6, &mut rng).unwrap();
        assert_eq!(stability(&a, &a), 1.0);
        let mut b = a.clone();
        let unused = (0..2)
            .flat_map(|input| Operation::CONNECTING.map(|op| Pair { input, op }))
            .find(|p| !a.normal[0].contains(p));
        b.normal[0][0] = unused.unwrap();
        assert_eq!(stability(&a, &b), 1.0 - 1.0 / 48.0);
    }

    #[test]
    fn deriving_takes_the_most_probable_and_never_zero() {
        let mut p = vec![0.0; crate::EDGES * 8];
        p[edge(1, 2) * 8 + Operation::Identity.index()] = 0.9;
        p[edge(1, 0) * 8 + Operation::Zero.index()] = 1.0;
        p[edge(1, 1) * 8 + Operation::MaxPool3x3.index()] = 0.8;
        let cell = IntensiveSpace::derive_cell(&p, 2);
        assert_eq!(
            cell[1],
            [
                Pair { input: 1, op: Operation::MaxPool3x3 },
                Pair { input: 2, op: Operation::Identity }
            ]
        );
        assert_eq!(
            cell[0],
            [
                Pair { input: 0, op: Operation::SepConv3x3 },
                Pair { input: 0, op: Operation::SepConv5x5 }
            ],
            "ties in order"
        );
    }

    #[test]
    fn json_round_trip_and_rejections() {
        let space = IntensiveSpace::random(6, &mut ChaCha8Rng::seed_from_u64(2)).unwrap();
        let text = space.to_json();
        assert_eq!(IntensiveSpace::from_json(&text).unwrap(), space);
        let changed = text.replacen("\"input\": 0", "\"input\": 1", 1);
        let damaged = IntensiveSpace::from_json(&changed).unwrap_err().to_string();
        assert!(damaged.contains("it was changed after it was written"), "{damaged}");
        // As an older version wrote it, without a checksum.
        let text = adwp_base::output::as_json(&space).unwrap();
        assert_eq!(IntensiveSpace::from_json(&text).unwrap(), space);
        let wrong = |from: &str, to: &str| {
            IntensiveSpace::from_json(&text.replacen(from, to, 1)).unwrap_err().to_string()
        };
        assert!(wrong("adwp/space/1", "adwp/space/9").contains("unknown schema"));
        assert!(wrong("\"normal\"", "\"normall\"").contains("normall"));
        assert!(wrong("\"input\": 0", "\"input\": 7").contains("not before it"));
    }

    const SKELETON: Skeleton =
        Skeleton { stem: Stem::Cifar, cells: 4, channels: 2, classes: 2, image: [1, 8, 8] };

    fn intensive() -> Intensive {
        let space = IntensiveSpace::random(5, &mut ChaCha8Rng::seed_from_u64(3)).unwrap();
        Intensive::new(space, SKELETON, 2).unwrap()
    }

    #[test]
    fn architectures_are_values() {
        let (space, mut rng) = (intensive(), ChaCha8Rng::seed_from_u64(4));
        let [a, b] = [(); 2].map(|()| space.sample(&mut rng));
        for choices in [&a, &b] {
            space.validate(choices).unwrap();
            assert_eq!(&space.parse(&space.text(choices)).unwrap(), choices);
            assert_eq!(&space.decode(&space.encode(choices)), choices);
            assert_eq!(space.choices_of(&space.cells_of(choices).unwrap()).unwrap(), *choices);
        }
        let distance = |a: &Choices, b: &Choices| {
            a.0.iter().zip(&b.0).flat_map(|(a, b)| a.iter().filter(|&o| !b.contains(o))).count()
        };
        let mutated = space.mutate(&a, &mut rng);
        space.validate(&mutated).unwrap();
        assert_eq!(distance(&a, &mutated), 1);
        let neighbours = space.neighbours(&a);
        assert_eq!(neighbours.len(), 16 * 2 * 3);
        assert!(neighbours.iter().all(|other| distance(&a, other) == 1));
        assert!(neighbours.contains(&mutated));
        let crossed = space.cross_over(&a, &b, &mut rng);
        assert!(crossed.0.iter().zip(a.0.iter().zip(&b.0)).all(|(c, (a, b))| c == a || c == b));
        assert!(crossed != a && crossed != b);
        let mut wrong = a.clone();
        wrong.0[3] = vec![1, 0];
        assert!(space.validate(&wrong).unwrap_err().to_string().contains("decision 3"));
        wrong.0[3] = vec![1, 5];
        assert!(space.validate(&wrong).is_err());
    }

    #[test]
    fn features_count_operations_and_inputs() {
        let space = intensive();
        features::check(&space, 2 * 16 * 5 + 4 * 9 + 2 * 9);
        let choices = space.sample(&mut ChaCha8Rng::seed_from_u64(5));
        let values = features::features(&space, &choices);
        let groups: Vec<usize> = space.features().groups().collect();
        assert_eq!(groups, [16 * 5, 16 * 5, 4 * 9, 2 * 9]);
        // Of four cells the second and the third reduce; each node keeps two pairs.
        let by_kind = &values[groups[..3].iter().sum()..];
        assert_eq!(by_kind[..7].iter().sum::<f64>(), 16.0);
        assert_eq!(by_kind[9..16].iter().sum::<f64>(), 16.0);
        let genotype = space.cells_of(&choices).unwrap();
        let firsts = genotype.cells[0].nodes.iter().flatten().filter(|pair| pair.input == 0);
        assert_eq!(values[groups[0] + groups[1] + 7], firsts.count() as f64);
    }

    #[test]
    fn the_order_of_nodes_is_only_an_order_of_channels() {
        let space = Intensive::original(SKELETON, 1).unwrap();
        // Two nodes that read the cell's inputs alone, in both orders; the others alike.
        let choices = |first: usize, second: usize| {
            Choices((0..16).map(|i| vec![[first, second, 0, 0][i % NODES]]).collect())
        };
        let key = |choices| space.key(&choices);
        assert_eq!(key(choices(1, 4)), key(choices(4, 1)));
        assert_ne!(key(choices(1, 4)), key(choices(1, 5)));
    }

    #[test]
    fn candidates_of_the_widest_network_stand_for_options() {
        let space = intensive();
        let widest = space.cells_of(&space.widest()).unwrap();
        for (_, node) in space.build(&space.widest(), 1, None).unwrap().graph.nodes() {
            let Some(candidate) = node.owner.candidate() else { continue };
            let (decision, option) = space.option(candidate);
            let pair = widest.cells[decision / NODES].nodes[decision % NODES][option];
            assert_eq!((pair.input, pair.op.name()), (candidate.input, candidate.operation));
        }
    }
}
