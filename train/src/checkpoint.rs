use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::Read;
use std::path::Path;

use adwp_base::{Checksum, read_bytes, unchecked};
use adwp_engine::optim::{Adam, Sgd};
use adwp_engine::{Role, Shape, Variable, Variables};
use safetensors::{Dtype, SafeTensors, View};
use serde_json::{Map, Value};

use crate::{Result, TrainError, write_atomic};

/// The values of one tensor of a checkpoint.
#[derive(Clone, Debug, PartialEq)]
pub struct TensorData {
    /// Extents.
    pub shape: Vec<usize>,
    /// Row-major.
    pub data: Vec<f32>,
}

/// Named tensors and a JSON object, written as one safetensors file: checkpoints and
/// `weights.safetensors`. The file has a checksum of them all, which is checked when it is read.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Checkpoint {
    /// Tensors by name.
    pub tensors: BTreeMap<String, TensorData>,
    /// Everything else.
    pub values: Map<String, Value>,
}

/// The safetensors metadata keeps its keys in a hash map; one key makes the bytes of the file
/// repeatable.
const METADATA_KEY: &str = "adwp";
const SCHEMA: &str = "adwp/checkpoint/1";

/// Key of the settings of the run, as far as they decide what the file holds.
const SETTINGS: &str = "settings";

/// Most bytes of the header that [`Checkpoint::settings`] reads: no file has one as large.
const MOST_HEADER: u64 = 64 << 20;

/// Values whose bytes are counted at a time.
const CHUNK: usize = 4096;

struct Bytes<'a>(&'a TensorData);

impl View for Bytes<'_> {
    fn dtype(&self) -> Dtype {
        Dtype::F32
    }

    fn shape(&self) -> &[usize] {
        &self.0.shape
    }

    fn data(&self) -> Cow<'_, [u8]> {
        self.0.data.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<u8>>().into()
    }

    fn data_len(&self) -> usize {
        self.0.data.len() * size_of::<f32>()
    }
}

impl Checkpoint {
    /// Adds all variables under `variables/` (statistics under `statistics/`).
    ///
    /// # Errors
    /// [`TrainError::Engine`] when they cannot be read from the device.
    pub fn put_variables(&mut self, variables: &Variables) -> Result<()> {
        self.put_set("", variables)
    }

    /// Adds a second set of variables, whose names may be those of the first: like
    /// [`Self::put_variables`], with `set` before each key.
    ///
    /// # Errors
    /// Those of [`Self::put_variables`].
    pub fn put_set(&mut self, set: &str, variables: &Variables) -> Result<()> {
        for variable in variables.iter() {
            let tensor =
                TensorData { shape: variable.shape.to_vec(), data: variable.data()?.to_vec() };
            self.tensors.insert(key(set, variable.role, &variable.name), tensor);
        }
        Ok(())
    }

    /// Overwrites `variables` with what [`Self::put_variables`] stored; every one must be there in
    /// its shape.
    pub fn take_variables(&mut self, variables: &mut Variables, path: &Path) -> Result<()> {
        self.take_set("", variables, path)
    }

    /// Overwrites `variables` with what [`Self::put_set`] stored; every one must be there in its
    /// shape.
    ///
    /// # Errors
    /// Those of [`Self::take_variable`].
    pub fn take_set(&mut self, set: &str, variables: &mut Variables, path: &Path) -> Result<()> {
        let expected: Vec<(String, Role, Shape)> =
            variables.iter().map(|v| (v.name.clone(), v.role, v.shape.clone())).collect();
        for (name, role, shape) in expected {
            variables.insert(self.take_variable(set, name, role, shape, path)?);
        }
        Ok(())
    }

    /// Takes out one variable that [`Self::put_set`] stored, or with `set` empty
    /// [`Self::put_variables`]; `path` is for messages.
    ///
    /// # Errors
    /// [`TrainError::Damaged`] when it is not there, or not in its shape.
    pub fn take_variable(
        &mut self,
        set: &str,
        name: String,
        role: Role,
        shape: Shape,
        path: &Path,
    ) -> Result<Variable> {
        let key = key(set, role, &name);
        let damaged = |reason: String| TrainError::Damaged { path: path.to_owned(), reason };
        let tensor = self.tensors.remove(&key).ok_or_else(|| damaged(format!("it lacks {key}")))?;
        if tensor.shape[..] != shape[..] {
            return Err(damaged(format!(
                "{key} has shape {:?}, expected {:?}",
                tensor.shape,
                &shape[..]
            )));
        }
        Ok(Variable::new(name, shape, tensor.data, role))
    }

    /// Adds one tensor of an optimiser's history for each parameter.
    pub fn put_slots(&mut self, name: &str, slots: &[&[f32]]) {
        for (i, slot) in slots.iter().enumerate() {
            self.tensors.insert(
                format!("{name}/{i:06}"),
                TensorData { shape: vec![slot.len()], data: slot.to_vec() },
            );
        }
    }

    /// Takes out what [`Self::put_slots`] stored.
    pub fn take_slots(&mut self, name: &str) -> Vec<Vec<f32>> {
        let prefix = format!("{name}/");
        let names: Vec<String> = self
            .tensors
            .range(prefix.clone()..)
            .map(|(k, _)| k.clone())
            .take_while(|k| k.starts_with(&prefix))
            .collect();
        names.iter().filter_map(|name| self.tensors.remove(name)).map(|t| t.data).collect()
    }

    /// Adds the history of SGD that has updated the same parameters with every step.
    ///
    /// # Errors
    /// [`TrainError::Engine`] when it cannot be read from the device.
    pub fn put_velocity(&mut self, sgd: &Sgd) -> Result<()> {
        let slots: Vec<&[f32]> = sgd.velocity()?.into_values().collect();
        self.put_slots("velocity", &slots);
        Ok(())
    }

    /// Puts back what [`Self::put_velocity`] stored of these parameters, named in the order of
    /// `variables`.
    ///
    /// # Errors
    /// [`TrainError::Damaged`] when it is that of more or fewer parameters.
    pub fn take_velocity<'n>(
        &mut self,
        sgd: &mut Sgd,
        variables: &Variables,
        parameters: impl Iterator<Item = &'n str>,
        path: &Path,
    ) -> Result<()> {
        let positions: Vec<usize> =
            parameters.map(|name| Ok(variables.position(name)?)).collect::<Result<_>>()?;
        let slots = self.take_slots("velocity");
        // Before the first step there is none.
        if !slots.is_empty() && slots.len() != positions.len() {
            let (found, expected) = (slots.len(), positions.len());
            let reason = format!("it has the momentum of {found} parameters, expected {expected}");
            return Err(TrainError::Damaged { path: path.to_owned(), reason });
        }
        sgd.restore(positions.into_iter().zip(slots));
        Ok(())
    }

    /// Adds the history of Adam.
    ///
    /// # Errors
    /// [`TrainError::Engine`] when it cannot be read from the device.
    pub fn put_adam(&mut self, adam: &Adam) -> Result<()> {
        for (name, slots) in adam.state()? {
            self.put_slots(name, &slots);
        }
        self.values.insert("adam_steps".into(), adam.steps().into());
        Ok(())
    }

    /// Puts back what [`Self::put_adam`] stored.
    ///
    /// # Errors
    /// [`TrainError::Damaged`] when the count of its steps is not there.
    pub fn take_adam(&mut self, adam: &mut Adam, path: &Path) -> Result<()> {
        let steps = self.value("adam_steps", path)?;
        adam.restore(steps, |name| self.take_slots(name));
        Ok(())
    }

    /// Writes the file atomically.
    pub fn write(&self, path: &Path) -> Result<()> {
        write_atomic(path, &self.to_bytes(path)?)
    }

    /// The bytes of the file; errors name `path`.
    ///
    /// # Errors
    /// [`TrainError::Damaged`] where tensors have other values than extents.
    pub fn to_bytes(&self, path: &Path) -> Result<Vec<u8>> {
        let mut values = self.values.clone();
        values.insert("schema".into(), SCHEMA.into());
        values.insert(Checksum::KEY.into(), self.checksum().to_string().into());
        let metadata =
            HashMap::from([(METADATA_KEY.to_owned(), Value::Object(values).to_string())]);
        let tensors = self.tensors.iter().map(|(name, t)| (name, Bytes(t)));
        safetensors::serialize(tensors, Some(metadata))
            .map_err(|e| TrainError::Damaged { path: path.to_owned(), reason: e.to_string() })
    }

    /// Reads a file that [`Self::write`] wrote.
    ///
    /// # Errors
    /// [`TrainError::Damaged`] when it is cut off or something else, or its checksum is that of
    /// another content.
    pub fn read(path: &Path) -> Result<Self> {
        let bytes = read_bytes(path, u64::MAX)?;
        let damaged = |reason: String| TrainError::Damaged { path: path.to_owned(), reason };
        let (_, metadata) =
            SafeTensors::read_metadata(&bytes).map_err(|e| damaged(e.to_string()))?;
        let text = metadata
            .metadata()
            .as_ref()
            .and_then(|m| m.get(METADATA_KEY))
            .ok_or_else(|| damaged("it was not written by adwp".into()))?;
        let mut values: Map<String, Value> =
            serde_json::from_str(text).map_err(|e| damaged(e.to_string()))?;
        let schema = values.remove("schema");
        if schema != Some(SCHEMA.into()) {
            return Err(damaged(format!("its schema is {schema:?}, expected {SCHEMA:?}")));
        }
        let found = values.remove(Checksum::KEY);
        let file = SafeTensors::deserialize(&bytes).map_err(|e| damaged(e.to_string()))?;
        let mut tensors = BTreeMap::new();
        for (name, view) in file.iter() {
            if view.dtype() != Dtype::F32 {
                return Err(damaged(format!("{name} is not f32")));
            }
            let (chunks, _) = view.data().as_chunks::<4>();
            let data = chunks.iter().map(|&bytes| f32::from_le_bytes(bytes)).collect();
            tensors.insert(name.to_owned(), TensorData { shape: view.shape().to_vec(), data });
        }
        let read = Self { tensors, values };
        match (found, read.checksum().to_string()) {
            (None, _) => unchecked::remember(path),
            (Some(found), counted) if found == counted => {}
            (Some(found), counted) => {
                let reason = format!("its checksum is {found}, what it holds has {counted:?}");
                return Err(damaged(reason));
            }
        }
        Ok(read)
    }

    /// The checksum of all that it holds, names and extents included.
    fn checksum(&self) -> Checksum {
        let mut sum = Checksum::default();
        let mut values = Value::Object(self.values.clone());
        values.sort_all_objects();
        let mut add = |bytes: &[u8]| sum = sum.and(bytes);
        // With lengths before them, no two contents are one sequence of bytes.
        let length = |length: usize| (length as u64).to_le_bytes();
        let values = values.to_string();
        add(&length(values.len()));
        add(values.as_bytes());
        let mut bytes = Vec::with_capacity(CHUNK * size_of::<f32>());
        for (name, TensorData { shape, data }) in &self.tensors {
            add(&length(name.len()));
            add(name.as_bytes());
            add(&length(shape.len()));
            shape.iter().for_each(|&extent| add(&length(extent)));
            for chunk in data.chunks(CHUNK) {
                bytes.clear();
                bytes.extend(chunk.iter().flat_map(|value| value.to_le_bytes()));
                add(&bytes);
            }
        }
        sum
    }

    /// Adds the settings of the run, for [`Self::settings`].
    pub fn put_settings(&mut self, settings: &str) {
        self.values.insert(SETTINGS.into(), settings.into());
    }

    /// The settings that the file of a path was made with, without reading its tensors; none where
    /// it says nothing of them. A file that is damaged is found to be so when it is read.
    pub fn settings(path: &Path) -> Option<String> {
        if !path.is_file() {
            return None;
        }
        let mut file = File::open(path).ok()?;
        let mut length = [0; 8];
        file.read_exact(&mut length).ok()?;
        let length = u64::from_le_bytes(length);
        if length > MOST_HEADER {
            return None;
        }
        let mut header = Vec::new();
        file.take(length).read_to_end(&mut header).ok()?;
        let header: Value = serde_json::from_slice(&header).ok()?;
        let values = header.get("__metadata__")?.get(METADATA_KEY)?.as_str()?;
        let values: Map<String, Value> = serde_json::from_str(values).ok()?;
        Some(values.get(SETTINGS)?.as_str()?.to_owned())
    }

    /// A number or string of [`Self::values`], parsed.
    pub fn value<T: serde::de::DeserializeOwned>(&self, key: &str, path: &Path) -> Result<T> {
        let damaged = |reason: String| TrainError::Damaged { path: path.to_owned(), reason };
        let value = self.values.get(key).ok_or_else(|| damaged(format!("it lacks {key:?}")))?;
        serde_json::from_value(value.clone()).map_err(|e| damaged(format!("{key}: {e}")))
    }
}

/// The name of a variable's tensor.
fn key(set: &str, role: Role, name: &str) -> String {
    match role {
        Role::Parameter => format!("{set}variables/{name}"),
        Role::Statistic => format!("{set}statistics/{name}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn example() -> Checkpoint {
        let mut checkpoint = Checkpoint::default();
        checkpoint.put_slots("velocity", &[&[1.0, -0.0], &[f32::MIN_POSITIVE]]);
        checkpoint.values.insert("epoch".into(), 3.into());
        checkpoint.values.insert("loss".into(), 0.1.into());
        checkpoint.put_settings("seed = 7\n");
        checkpoint
    }

    #[test]
    fn a_checkpoint_comes_back_bit_for_bit_and_writes_the_same_bytes() {
        let dir = tempfile::tempdir().unwrap();
        let (a, b) = (dir.path().join("a"), dir.path().join("b"));
        example().write(&a).unwrap();
        let mut read = Checkpoint::read(&a).unwrap();
        assert_eq!(read, example());
        read.write(&b).unwrap();
        assert_eq!(fs::read(&a).unwrap(), fs::read(&b).unwrap());
        assert_eq!(read.take_slots("velocity"), [vec![1.0, -0.0], vec![f32::MIN_POSITIVE]]);
    }

    #[test]
    fn a_cut_off_checkpoint_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("checkpoint");
        example().write(&path).unwrap();
        let whole = fs::read(&path).unwrap();
        for len in 0..whole.len() {
            fs::write(&path, &whole[..len]).unwrap();
            assert!(
                matches!(Checkpoint::read(&path), Err(TrainError::Damaged { .. })),
                "{len} bytes"
            );
        }
    }
    #[test]
    fn a_bit_that_is_another_is_noticed_wherever_it_is() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("checkpoint");
        example().write(&path).unwrap();
        let whole = fs::read(&path).unwrap();
        let mut by_checksum = 0;
        for bit in 0..8 * whole.len() {
            let mut bytes = whole.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            fs::write(&path, &bytes).unwrap();
            match Checkpoint::read(&path) {
                Ok(read) => {
                    // All that can be lost is the key of the checksum, in a file of one value more.
                    let mut values = read.values;
                    values.retain(|_, value| !value.to_string().contains("crc32c"));
                    let read = Checkpoint { values, ..read };
                    assert_eq!(read, example(), "bit {bit}");
                }
                Err(TrainError::Damaged { reason, .. }) => {
                    by_checksum += usize::from(reason.contains("its checksum is"));
                }
                Err(e) => panic!("bit {bit}: {e}"),
            }
        }
        assert!(by_checksum > 8 * 12, "all bits of the values: {by_checksum}");
    }

    #[test]
    fn a_checkpoint_of_an_older_version_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("checkpoint");
        let metadata = r#"{"epoch":3,"schema":"adwp/checkpoint/1"}"#;
        let tensor = TensorData { shape: vec![1], data: vec![0.5] };
        let bytes = safetensors::serialize(
            [("a", Bytes(&tensor))],
            Some(HashMap::from([(METADATA_KEY.to_owned(), metadata.to_owned())])),
        );
        fs::write(&path, bytes.unwrap()).unwrap();
        let read = Checkpoint::read(&path).unwrap();
        assert_eq!((&read.tensors["a"], &read.values["epoch"]), (&tensor, &3.into()));
        assert_eq!(Checkpoint::settings(&path), None);
    }

    #[test]
    fn the_settings_are_read_without_the_tensors() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("checkpoint");
        example().write(&path).unwrap();
        assert_eq!(Checkpoint::settings(&path).as_deref(), Some("seed = 7\n"));
        let whole = fs::read(&path).unwrap();
        for length in [0, 7, 8, 50] {
            fs::write(&path, &whole[..length]).unwrap();
            assert_eq!(Checkpoint::settings(&path), None, "{length} bytes");
        }
        fs::write(&path, [&u64::MAX.to_le_bytes(), &whole[8..]].concat()).unwrap();
        assert_eq!(Checkpoint::settings(&path), None);
        assert_eq!(Checkpoint::settings(dir.path()), None);
    }
}
