//! The functions and types that a checkpoint may name, and what becomes of a call. None is executed.

use super::pickle::{Node, Pickle, Value};
use crate::error::{Error, Result};
use crate::tensor::DType;
use crate::weights::FileType;

/// Most axes that PyTorch gives a tensor.
const MAX_AXES: usize = 64;

/// An allowed name.
#[derive(Clone, Copy, Debug)]
pub(super) enum Global {
    /// `collections.OrderedDict` and the like.
    Dict,
    /// `torch._utils._rebuild_tensor_v2` and its predecessor, whose arguments begin alike.
    Tensor,
    /// `torch._utils._rebuild_parameter`: a tensor that is trained.
    Parameter,
    /// A storage's element type.
    Storage(Element),
    /// A type whose objects nothing here reads.
    Inert,
}

/// The element type of a storage: its PyTorch name, what we call it, bytes of an element.
#[derive(Clone, Copy, Debug)]
pub(super) struct Element {
    name: &'static str,
    known: Option<DType>,
    pub size: usize,
}

impl Element {
    pub fn file_type(self) -> FileType {
        self.known.map_or_else(|| FileType::Other(self.name.into()), FileType::Known)
    }
}

/// The elements of one or more tensors: one file of the archive.
#[derive(Clone, Copy, Debug)]
pub(super) struct Storage<'a> {
    /// Its name below `data/`.
    pub key: &'a str,
    pub element: Element,
    /// Number of elements, as the pickle has it.
    pub count: usize,
}

/// A tensor: a view of a storage. In elements.
#[derive(Clone, Debug)]
pub(super) struct TensorView {
    /// The node of its storage.
    pub storage: Value,
    pub offset: usize,
    pub shape: Vec<usize>,
    pub strides: Vec<usize>,
}

/// What a call gives.
pub(super) enum Made<'a> {
    Node(Node<'a>),
    Value(Value),
}

const fn known(name: &'static str, dtype: DType) -> Element {
    Element { name, known: Some(dtype), size: dtype.size() }
}

const fn other(name: &'static str, size: usize) -> Element {
    Element { name, known: None, size }
}

const STORAGES: [(&str, Element); 13] = [
    ("FloatStorage", known("float32", DType::F32)),
    ("HalfStorage", known("float16", DType::F16)),
    ("BFloat16Storage", known("bfloat16", DType::BF16)),
    ("DoubleStorage", known("float64", DType::F64)),
    ("LongStorage", known("int64", DType::I64)),
    ("IntStorage", known("int32", DType::I32)),
    ("CharStorage", known("int8", DType::I8)),
    ("ByteStorage", known("uint8", DType::U8)),
    ("BoolStorage", known("bool", DType::Bool)),
    ("ShortStorage", other("int16", 2)),
    ("ComplexFloatStorage", other("complex64", 8)),
    ("ComplexDoubleStorage", other("complex128", 16)),
    ("ComplexHalfStorage", other("complex32", 4)),
];

/// Types of arguments, optimizer states and the like, which stand beside the weights.
const INERT: [(&str, &str); 25] = [
    ("argparse", "Namespace"),
    ("torch", "Size"),
    ("torch", "device"),
    ("torch", "float32"),
    ("torch", "float16"),
    ("torch", "bfloat16"),
    ("torch", "float64"),
    ("torch", "int64"),
    ("builtins", "set"),
    ("__builtin__", "set"),
    ("builtins", "frozenset"),
    ("__builtin__", "frozenset"),
    ("builtins", "bytearray"),
    ("pathlib", "Path"),
    ("pathlib", "PosixPath"),
    ("pathlib", "WindowsPath"),
    ("numpy", "dtype"),
    ("numpy", "ndarray"),
    ("numpy.core.multiarray", "scalar"),
    ("numpy._core.multiarray", "scalar"),
    ("numpy.core.multiarray", "_reconstruct"),
    ("numpy._core.multiarray", "_reconstruct"),
    ("numpy.core.numeric", "_frombuffer"),
    ("numpy._core.numeric", "_frombuffer"),
    ("_codecs", "encode"),
];

/// The allowed thing of that name.
pub(super) fn find(module: &str, name: &str) -> Result<Global> {
    if module == "torch"
        && let Some((_, element)) = STORAGES.iter().find(|(storage, _)| *storage == name)
    {
        return Ok(Global::Storage(*element));
    }
    match (module, name) {
        ("collections", "OrderedDict" | "defaultdict") | ("builtins" | "__builtin__", "dict") => {
            Ok(Global::Dict)
        }
        ("torch._utils", "_rebuild_tensor" | "_rebuild_tensor_v2") => Ok(Global::Tensor),
        ("torch._utils", "_rebuild_parameter" | "_rebuild_parameter_with_state") => Ok(Global::Parameter),
        _ if INERT.contains(&(module, name)) => Ok(Global::Inert),
        _ => Err(Error::format(format!(
            "{module}.{name} is not among the names that a checkpoint of weights may use: refused"
        ))),
    }
}

/// What a call of it with these arguments is taken for.
pub(super) fn call<'a>(function: Global, arguments: &[Value], table: &Pickle<'a>) -> Result<Made<'a>> {
    match function {
        // A defaultdict's argument is what it gives for keys it has not.
        Global::Dict => Ok(Made::Node(Node::Dict(Vec::new()))),
        Global::Tensor => Ok(Made::Node(Node::Tensor(tensor(arguments, table)?))),
        Global::Parameter => match arguments {
            [of, ..] if matches!(table.node(*of), Some(Node::Tensor(_))) => Ok(Made::Value(*of)),
            _ => Err(Error::format("a parameter of what is no tensor")),
        },
        Global::Inert => Ok(Made::Node(Node::Inert)),
        Global::Storage(element) => Err(Error::format(format!("a storage of {} is called", element.name))),
    }
}

/// `(storage, offset, size, strides, ...)`
fn tensor(arguments: &[Value], table: &Pickle<'_>) -> Result<TensorView> {
    let bad = |what: &str| Error::format(format!("a tensor whose {what}"));
    let [storage, offset, size, strides, ..] = *arguments else { return Err(bad("arguments are too few")) };
    if !matches!(table.node(storage), Some(Node::Storage(_))) {
        return Err(bad("first argument is no storage"));
    }
    let offset = natural(offset).ok_or_else(|| bad("offset is no natural number"))?;
    let numbers = |value| table.tuple(value)?.iter().map(|&v| natural(v)).collect::<Option<Vec<usize>>>();
    let shape = numbers(size).ok_or_else(|| bad("shape is no tuple of natural numbers"))?;
    let strides = numbers(strides).ok_or_else(|| bad("strides are no tuple of natural numbers"))?;
    if shape.len() != strides.len() || shape.len() > MAX_AXES {
        return Err(bad("shape and strides do not fit together"));
    }
    Ok(TensorView { storage, offset, shape, strides })
}

/// `("storage", type, key, location, count)`, and before PyTorch 1.6 a view, which is None since 0.4.
pub(super) fn storage<'a>(id: Value, table: &Pickle<'a>) -> Result<Storage<'a>> {
    let bad = || Error::format("a storage without kind, type, key, location and count");
    let [kind, element, key, _, count, ref view @ ..] = *table.tuple(id).ok_or_else(bad)? else {
        return Err(bad());
    };
    if !matches!(view, [] | [Value::Other]) {
        return Err(Error::unsupported("a view of a storage, as PyTorch had before 0.4"));
    }
    let (Some("storage"), Value::Global(Global::Storage(element))) = (table.text(kind), element) else {
        return Err(bad());
    };
    let key = table.text(key).ok_or_else(bad)?;
    Ok(Storage { key, element, count: natural(count).ok_or_else(bad)? })
}

fn natural(value: Value) -> Option<usize> {
    if let Value::Int(n) = value { usize::try_from(n).ok() } else { None }
}
