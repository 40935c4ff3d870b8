//! State dicts as `torch.save` writes them: a pickled dictionary of views of storages, and the
//! storages. candle reads the pickles, which runs nothing that they name; it knows the form of today
//! alone, a zip archive, and expects arguments of tensors to be as they should.

use std::collections::{BTreeMap, HashMap};
use std::io::{BufRead, Cursor, Read};
use std::sync::Arc;

use candle_core::pickle::{Object, Stack};
use zip::ZipArchive;

use crate::tensor::{Element, Tensor};

/// What a file of before PyTorch 1.6 begins with: its magic number, pickled.
pub(crate) const LEGACY: [u8; 15] =
    [0x80, 2, 0x8a, 10, 0x6c, 0xfc, 0x9c, 0x46, 0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19, b'.'];

/// Most bytes of a pickle: names and shapes, no values.
const MOST_PICKLED: u64 = 64 << 20;

/// Most elements of a tensor.
const MOST_ELEMENTS: usize = 1 << 29;

type Result<T> = std::result::Result<T, String>;

/// A part of a storage that is read as a tensor.
struct View {
    storage: String,
    element: Element,
    offset: usize,
    shape: Vec<usize>,
    strides: Vec<usize>,
}

/// The tensors of the archive that today's `torch.save` writes; `nested` are the keys of a larger
/// dictionary that the weights may be under.
pub(crate) fn zipped(bytes: &[u8], nested: &[&str]) -> Result<BTreeMap<String, Tensor>> {
    let mut archive = ZipArchive::new(Cursor::new(bytes)).map_err(|e| e.to_string())?;
    let names: Vec<String> =
        archive.file_names().filter_map(|name| Some(name.ok()?.into_owned())).collect();
    let pickled = names.iter().find_map(|name| name.strip_suffix("data.pkl"));
    let folder = pickled.ok_or("it is a zip archive without data.pkl, so none of torch.save")?;
    let mut entry = |name: &str, most: u64| -> Result<Vec<u8>> {
        let fail = |e: &dyn std::fmt::Display| format!("{name}: {e}");
        let entry = archive.by_name(name).map_err(|e| fail(&e))?;
        let mut content = Vec::new();
        entry.take(most).read_to_end(&mut content).map_err(|e| fail(&e))?;
        Ok(content)
    };
    if let Ok(order) = entry(&format!("{folder}byteorder"), 16)
        && order != b"little"
    {
        return Err("its numbers are big-endian".to_owned());
    }
    let object = unpickle(&mut &entry(&format!("{folder}data.pkl"), MOST_PICKLED)?[..])?;
    let mut storages: HashMap<String, Arc<[u8]>> = HashMap::new();
    tensors(&object, nested, |storage| {
        if let Some(found) = storages.get(storage) {
            return Ok(Arc::clone(found));
        }
        let content: Arc<[u8]> = entry(&format!("{folder}data/{storage}"), u64::MAX)?.into();
        storages.insert(storage.to_owned(), Arc::clone(&content));
        Ok(content)
    })
}

/// The tensors of a file of before PyTorch 1.6: magic number, version, machine, dictionary and names
/// of storages, each pickled, and the storages, each with how many elements it has.
pub(crate) fn legacy(bytes: &[u8], nested: &[&str]) -> Result<BTreeMap<String, Tensor>> {
    let mut rest = &bytes[LEGACY.len()..];
    for _version_and_machine in 0..2 {
        unpickle(&mut rest)?;
    }
    let object = unpickle(&mut rest)?;
    let Object::List(names) = unpickle(&mut rest)? else {
        return Err("no names of storages follow its pickled dictionary".to_owned());
    };
    let mut storages = HashMap::new();
    for name in &names {
        let Object::Unicode(name) = name else { return Err("a storage has no name".to_owned()) };
        let cut = || format!("it ends within the storage {name}");
        let (length, after) = rest.split_first_chunk::<8>().ok_or_else(cut)?;
        let element = bytes_of(&object, name).ok_or_else(|| {
            format!("of the storage {name} it does not say what its elements are")
        })?;
        let length = usize::try_from(i64::from_le_bytes(*length)).ok();
        let length = length.and_then(|length| length.checked_mul(element)).ok_or_else(cut)?;
        let (content, after) = after.split_at_checked(length).ok_or_else(cut)?;
        storages.insert(name.clone(), content);
        rest = after;
    }
    tensors(&object, nested, |storage| {
        storages.get(storage).copied().ok_or_else(|| format!("the storage {storage} is missing"))
    })
}

/// The next pickled object.
fn unpickle(from: &mut impl BufRead) -> Result<Object> {
    let mut stack = Stack::empty();
    let read = stack.read_loop(from).and_then(|()| stack.finalize());
    read.map_err(|e| {
        format!("what is pickled in it cannot be read: {}", first_line(&e.to_string()))
    })
}

fn first_line(text: &str) -> &str {
    text.lines().next().unwrap_or_default()
}

fn tensors<S: AsRef<[u8]>>(
    object: &Object,
    nested: &[&str],
    mut storage: impl FnMut(&str) -> Result<S>,
) -> Result<BTreeMap<String, Tensor>> {
    let mut found = BTreeMap::new();
    for (name, view) in views(object, nested)? {
        let content = storage(&view.storage)?;
        found.insert(
            name.clone(),
            view.tensor(content.as_ref()).map_err(|e| format!("{name}: {e}"))?,
        );
    }
    Ok(found)
}

/// The views of the state dict, which is the object, or lies in it under one of the keys.
fn views(object: &Object, nested: &[&str]) -> Result<Vec<(String, View)>> {
    let Object::Dict(entries) = object else {
        return Err("it holds a whole model or program, no state dict".to_owned());
    };
    let views = |entries: &[(Object, Object)]| -> Result<Vec<(String, View)>> {
        let view = |(key, value): &(Object, Object)| match key {
            Object::Unicode(name) => {
                let view = view(value).transpose()?;
                Some(view.map(|view| (name.clone(), view)).map_err(|e| format!("{name}: {e}")))
            }
            _ => None,
        };
        entries.iter().filter_map(view).collect()
    };
    let found = views(entries)?;
    if !found.is_empty() {
        return Ok(found);
    }
    let inner = nested.iter().find_map(|wanted| {
        let is_wanted =
            |(key, _): &&(Object, Object)| matches!(key, Object::Unicode(key) if key == wanted);
        match entries.iter().find(is_wanted) {
            Some((_, Object::Dict(inner))) => Some(inner),
            _ => None,
        }
    });
    inner.map_or(Ok(Vec::new()), |inner| views(inner))
}

/// The name of a class that an object is an instance of, and what it was made with.
fn made(object: &Object) -> Option<(&str, &[Object])> {
    let Object::Reduce { callable, args } = object else { return None };
    let (Object::Class { class_name, .. }, Object::Tuple(args)) = (&**callable, &**args) else {
        return None;
    };
    Some((class_name, args))
}

/// The view that an object is; `None` where it is none of floats.
fn view(object: &Object) -> Result<Option<View>> {
    let Some((class, args)) = made(object) else { return Ok(None) };
    let args = match (class, args) {
        ("_rebuild_parameter", [tensor, ..]) => return view(tensor),
        (
            "_rebuild_from_type_v2",
            [Object::Class { class_name, .. }, _, Object::Tuple(args), ..],
        ) if class_name == "_rebuild_tensor_v2" => args,
        ("_rebuild_tensor_v2", args) => args,
        _ => return Ok(None),
    };
    let [Object::PersistentLoad(storage), offset, shape, strides, ..] = args else {
        return Err("it is a tensor in an unknown form".to_owned());
    };
    let (storage, class, more) = stored(storage).ok_or("it is a tensor of an unknown storage")?;
    let Some(element) = element(class) else { return Ok(None) };
    if more.iter().any(|more| *more != Object::None) {
        return Err("it is a view of a view, which files of before PyTorch 0.4 have".to_owned());
    }
    let view = (|| {
        let storage = storage.to_owned();
        let (offset, shape, strides) = (size(offset)?, sizes(shape)?, sizes(strides)?);
        (shape.len() == strides.len()).then_some(View { storage, element, offset, shape, strides })
    })();
    view.ok_or("its sizes are none".to_owned()).map(Some)
}

/// Key and class of a storage, and what follows its number of elements.
fn stored(id: &Object) -> Option<(&str, &str, &[Object])> {
    let Object::Tuple(id) = id else { return None };
    match &id[..] {
        [
            Object::Unicode(kind),
            Object::Class { class_name, .. },
            Object::Unicode(key),
            _,
            _,
            more @ ..,
        ] if kind == "storage" => Some((key, class_name, more)),
        _ => None,
    }
}

fn element(class: &str) -> Option<Element> {
    match class {
        "FloatStorage" => Some(Element::F32),
        "DoubleStorage" => Some(Element::F64),
        "HalfStorage" => Some(Element::F16),
        "BFloat16Storage" => Some(Element::Bf16),
        _ => None,
    }
}

fn size(object: &Object) -> Option<usize> {
    match object {
        Object::Int(size) => usize::try_from(*size).ok(),
        Object::Long(size) => usize::try_from(*size).ok(),
        _ => None,
    }
}

fn sizes(object: &Object) -> Option<Vec<usize>> {
    let Object::Tuple(sizes) = object else { return None };
    sizes.iter().map(size).collect()
}

/// Bytes of an element of a storage, wherever in an object it is.
fn bytes_of(object: &Object, storage: &str) -> Option<usize> {
    let all = |objects: &[Object]| objects.iter().find_map(|object| bytes_of(object, storage));
    match object {
        Object::PersistentLoad(id) => {
            let (_, class, _) = stored(id).filter(|(key, ..)| *key == storage)?;
            Some(match class {
                "DoubleStorage" | "LongStorage" | "ComplexFloatStorage" => 8,
                "FloatStorage" | "IntStorage" => 4,
                "HalfStorage" | "BFloat16Storage" | "ShortStorage" => 2,
                "ByteStorage" | "CharStorage" | "BoolStorage" => 1,
                _ => return None,
            })
        }
        Object::Tuple(objects) | Object::List(objects) => all(objects),
        Object::Dict(entries) => entries.iter().find_map(|(_, value)| bytes_of(value, storage)),
        Object::Reduce { callable, args } | Object::Build { callable, args } => {
            bytes_of(callable, storage).or_else(|| bytes_of(args, storage))
        }
        _ => None,
    }
}

impl View {
    fn tensor(&self, storage: &[u8]) -> Result<Tensor> {
        let Self { element, offset, shape, strides, .. } = self;
        let elements = shape.iter().try_fold(1_usize, |all, &size| all.checked_mul(size));
        let elements = elements.filter(|&all| all <= MOST_ELEMENTS).ok_or("it is too large")?;
        if elements == 0 {
            return Ok(Tensor { shape: shape.clone(), data: Vec::new() });
        }
        let reach = shape.iter().zip(strides).try_fold(*offset, |last, (size, stride)| {
            last.checked_add((size - 1).checked_mul(*stride)?)
        });
        let available = storage.len() / element.bytes();
        if reach.is_none_or(|last| last >= available) {
            return Err(format!("it reaches beyond its storage of {available} elements"));
        }
        let mut places = vec![*offset];
        for (&size, &stride) in shape.iter().zip(strides) {
            let along = |place: usize| (0..size).map(move |i| place + i * stride);
            places = places.into_iter().flat_map(along).collect();
        }
        let bytes = element.bytes();
        let values: Vec<u8> =
            places.iter().flat_map(|place| &storage[place * bytes..][..bytes]).copied().collect();
        Ok(Tensor { shape: shape.clone(), data: element.floats(&values) })
    }
}
