//! An ONNX file of any kind of network, decoded and checked.

use std::{
    collections::{BTreeMap, HashSet},
    fs::{self, File},
    io::Read,
    path::{Path, PathBuf},
};

use adwp_base::checksum;
use prost::Message;
use tract_onnx::pb::{
    GraphProto, ModelProto, TensorProto, TypeProto, ValueInfoProto, tensor_proto::DataType,
    type_proto,
};

use super::{
    check::{check_graph, standard_opset},
    external,
    input::COLOURS,
    tensors::{
        DeclaredDim, MAX_ELEMENTS, declared, listed_bytes, show, stored_bytes, tensors,
        tensors_of_nodes,
    },
    wire,
};
use crate::{DeployError, Result};

/// Bytes that the first field of a file lies in.
const HEAD: u64 = 16;

/// A decoded ONNX file.
///
/// Once loaded, these hold: the graph is in topological order, hence without cycles, and every
/// tensor a node reads exists; the weights in the file are as long as their dimensions say; weights
/// outside of the file lie in files of its folder that are long enough.
#[derive(Debug, Clone)]
pub struct OnnxFile {
    path: PathBuf,
    bytes: u64,
    external_bytes: u64,
    producer: String,
    graph: GraphProto,
    /// The model without its graph and its metadata.
    frame: ModelProto,
    opset: i64,
    metadata: BTreeMap<String, String>,
}

impl OnnxFile {
    /// Reads the file `path` and checks it.
    ///
    /// # Errors
    /// Names the file and says whether it is missing, unreadable, empty, too large, truncated,
    /// damaged, not ONNX, of an unsupported operator set, or inconsistent.
    pub fn load(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let unreadable = |source| DeployError::Unreadable { path: path.to_owned(), source };
        let metadata = fs::metadata(path).map_err(|source| match source.kind() {
            std::io::ErrorKind::NotFound => DeployError::Missing(path.to_owned()),
            _ => unreadable(source),
        })?;
        // A pipe or a device may never end.
        if !metadata.is_file() {
            let what =
                if metadata.is_dir() { "it is a directory" } else { "it is no regular file" };
            return Err(unreadable(std::io::Error::other(what)));
        }
        if metadata.len() > wire::MAX_MESSAGE {
            let detail = format!(
                "it has {} bytes, and a protocol buffer at most {}",
                metadata.len(),
                wire::MAX_MESSAGE
            );
            return Err(DeployError::NotOnnx { path: path.to_owned(), detail });
        }
        // What is no model at all is known by its start, however large it is.
        let mut file = File::open(path).map_err(unreadable)?;
        let mut bytes = Vec::new();
        file.by_ref().take(HEAD).read_to_end(&mut bytes).map_err(unreadable)?;
        wire::check_start(&bytes, path)?;
        bytes.reserve_exact(
            usize::try_from(metadata.len()).unwrap_or(0).saturating_sub(bytes.len()),
        );
        file.take(wire::MAX_MESSAGE).read_to_end(&mut bytes).map_err(unreadable)?;
        Self::from_bytes(&bytes, path)
    }

    /// Decodes and checks the bytes of an ONNX file. `path` is where they came from: it is named in
    /// errors, and the runtimes read it.
    ///
    /// # Errors
    /// As [`OnnxFile::load`].
    pub fn from_bytes(bytes: &[u8], path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref().to_owned();
        if bytes.is_empty() {
            return Err(DeployError::Empty(path));
        }
        wire::check(bytes, &path)?;
        // Text that is not UTF-8 is shown escaped; the decoder knows no other text.
        let decoded = ModelProto::decode(bytes)
            .or_else(|error| ModelProto::decode(&wire::escaped(bytes)[..]).map_err(|_| error));
        let mut proto = decoded.map_err(|error| DeployError::NotOnnx {
            path: path.clone(),
            detail: error.to_string(),
        })?;
        if is_damaged(bytes, &proto) {
            return Err(DeployError::Damaged(path));
        }
        let Some(graph) = proto.graph.take() else {
            return Err(DeployError::Truncated { path, detail: "it holds no graph".to_owned() });
        };
        let opset = standard_opset(&proto.opset_import, &path)?;
        let producer =
            format!("{} {}", proto.producer_name, proto.producer_version).trim().to_owned();
        let invalid = |detail| DeployError::InvalidGraph { path: path.clone(), detail };
        check_graph(&graph).map_err(invalid)?;
        let external_bytes = external::check(&graph, &proto, &path).map_err(invalid)?;
        let metadata = std::mem::take(&mut proto.metadata_props)
            .into_iter()
            .map(|entry| (entry.key, entry.value))
            .collect();
        Ok(Self {
            path,
            bytes: bytes.len() as u64,
            external_bytes,
            producer,
            graph,
            frame: proto,
            opset,
            metadata,
        })
    }

    /// Where the file was read from.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The size of the file in bytes, with the weights that it keeps in other files.
    pub fn bytes(&self) -> u64 {
        self.bytes + self.external_bytes
    }

    /// The version of the standard operator set.
    pub fn opset(&self) -> i64 {
        self.opset
    }

    /// Who wrote the file: producer name and version.
    pub fn producer(&self) -> &str {
        &self.producer
    }

    /// Every metadata entry of the file, as it is written.
    pub fn metadata_props(&self) -> &BTreeMap<String, String> {
        &self.metadata
    }

    /// The decoded graph, its nodes in topological order.
    pub fn graph(&self) -> &GraphProto {
        &self.graph
    }

    /// Domain and name of every function that the file defines.
    pub(crate) fn functions(&self) -> impl Iterator<Item = (&str, &str)> {
        fn text(of: &Option<String>) -> &str {
            of.as_deref().unwrap_or_default()
        }
        self.frame.functions.iter().map(|of| (text(&of.domain), text(&of.name)))
    }

    /// An ONNX file of the nodes that tensor `name` depends on, whose output it is. Weights in
    /// other files stay there.
    pub(crate) fn cut_at(&self, name: &str) -> Vec<u8> {
        let mut needed = HashSet::from([name]);
        let mut nodes = Vec::new();
        for node in self.graph.node.iter().rev().filter(|node| !node.output.is_empty()) {
            if !node.output.iter().any(|output| needed.contains(output.as_str())) {
                continue;
            }
            needed.extend(node.input.iter().map(String::as_str));
            // A graph inside a node reads tensors that the node does not list.
            for inner in node
                .attribute
                .iter()
                .flat_map(|attribute| attribute.g.iter().chain(&attribute.graphs))
            {
                needed.extend(inner.node.iter().flat_map(|node| &node.input).map(String::as_str));
            }
            nodes.push(node.clone());
        }
        nodes.reverse();
        let initializer = self
            .graph
            .initializer
            .iter()
            .filter(|tensor| needed.contains(tensor.name.as_str()))
            .cloned()
            .collect();
        let tensor = type_proto::Tensor { elem_type: DataType::Float as i32, shape: None };
        let r#type = Some(TypeProto {
            value: Some(type_proto::Value::TensorType(tensor)),
            ..Default::default()
        });
        let output = vec![ValueInfoProto { name: name.to_owned(), r#type, ..Default::default() }];
        let (input, name) = (self.graph.input.clone(), self.graph.name.clone());
        let graph =
            GraphProto { node: nodes, initializer, input, output, name, ..Default::default() };
        ModelProto { graph: Some(graph), ..self.frame.clone() }.encode_to_vec()
    }

    /// Bytes of all tensors that the file stores: in `Constant` nodes, in graphs inside of nodes and
    /// in functions too. Of a sparse tensor what is stored of it counts.
    pub fn stored_bytes(&self) -> u64 {
        let mut bytes = listed_bytes(&self.graph.node);
        let mut add = |tensor: &TensorProto| {
            bytes = bytes.saturating_add(stored_bytes(tensor).unwrap_or_default());
        };
        tensors(&self.graph, &mut add);
        for function in &self.frame.functions {
            tensors_of_nodes(&function.node, &mut add);
        }
        let functions = self.frame.functions.iter().map(|function| listed_bytes(&function.node));
        functions.fold(bytes, u64::saturating_add)
    }

    /// The shape of every input that is no stored weight: what `given` says, else what the file
    /// says, where an open first dimension is 1.
    ///
    /// # Errors
    /// [`DeployError::OpenShape`] for an input whose shape is not determined,
    /// [`DeployError::Setting`] for a given shape that belongs to no input, contradicts the file,
    /// or is too large.
    pub fn input_shapes(
        &self,
        given: &BTreeMap<String, Vec<usize>>,
    ) -> Result<BTreeMap<&str, Vec<usize>>> {
        let wrong = |detail: String| DeployError::setting("input shape", detail);
        let stored: HashSet<_> =
            self.graph.initializer.iter().map(|tensor| tensor.name.as_str()).collect();
        let inputs: Vec<_> =
            self.graph.input.iter().filter(|input| !stored.contains(input.name.as_str())).collect();
        if let Some(name) =
            given.keys().find(|name| !inputs.iter().any(|input| input.name == **name))
        {
            let names: Vec<_> = inputs.iter().map(|input| input.name.as_str()).collect();
            return Err(wrong(format!(
                "{} has no input `{name}`; it has {}",
                self.path.display(),
                names.join(", ")
            )));
        }
        let mut shapes = BTreeMap::new();
        for input in inputs {
            let stated = declared(input).map(|(_, dims)| dims);
            let shape = match (given.get(&input.name), &stated) {
                (Some(shape), Some(dims)) => {
                    let fits = shape.len() == dims.len()
                        && shape
                            .iter()
                            .zip(dims)
                            .all(|(size, dim)| dim.is_none_or(|dim| dim == *size));
                    if !fits {
                        return Err(wrong(format!(
                            "input `{}` has shape {} in the file, {shape:?} was given: {} would fit",
                            input.name,
                            show(dims),
                            example(Some(dims))
                        )));
                    }
                    shape.clone()
                }
                (Some(shape), None) => shape.clone(),
                (None, stated) => {
                    let open = || DeployError::OpenShape {
                        path: self.path.clone(),
                        input: input.name.clone(),
                        shape: stated
                            .as_ref()
                            .map_or_else(|| "no shape".to_owned(), |dims| show(dims)),
                        example: example(stated.as_deref()),
                    };
                    let dims = stated.as_ref().ok_or_else(open)?.iter().enumerate();
                    let sizes = dims.map(|(index, dim)| dim.or((index == 0).then_some(1)));
                    sizes.collect::<Option<Vec<_>>>().ok_or_else(open)?
                }
            };
            let fits = shape
                .iter()
                .try_fold(1_u64, |product, &size| product.checked_mul(size.max(1) as u64));
            if fits.is_none_or(|product| product > MAX_ELEMENTS) {
                return Err(wrong(format!("{shape:?} has too many elements")));
            }
            shapes.insert(input.name.as_str(), shape);
        }
        Ok(shapes)
    }
}

/// Whether the file ends with a checksum of as many bytes as it has before, and of others. What
/// another program has made of a file that had one is of another length, or has it elsewhere.
fn is_damaged(bytes: &[u8], proto: &ModelProto) -> bool {
    let entries = proto.metadata_props.iter();
    let Some(entry) = entries.rev().find(|entry| entry.key == "adwp.checksum") else {
        return false;
    };
    let seal = ModelProto { metadata_props: vec![entry.clone()], ..ModelProto::default() };
    let sealed = bytes.strip_suffix(&seal.encode_to_vec()[..]);
    sealed.is_some_and(|sealed| checksum::contradicts(&entry.value, sealed))
}

/// A shape that an input with these dimensions can have: of one image where it has four of them.
fn example(stated: Option<&[DeclaredDim]>) -> String {
    let open = match stated {
        None => vec![1, 3, 224, 224],
        // The channels are last where they are known to be.
        Some([_, None, _, Some(last)]) if COLOURS.contains(last) => vec![1, 224, 224, *last],
        Some([_, _, _, _]) => vec![1, 3, 224, 224],
        Some(dims) => (0..dims.len()).map(|index| if index == 0 { 1 } else { 128 }).collect(),
    };
    let sizes = open
        .iter()
        .enumerate()
        .map(|(index, &size)| stated.and_then(|dims| dims[index]).unwrap_or(size).to_string());
    sizes.collect::<Vec<_>>().join("x")
}
