//! The trust boundary of checkpoints: a reader of Python pickles that executes nothing.
//!
//! A pickle is a program for a small stack machine that may name any Python function to call. This machine
//! knows the opcodes in [`Machine::step`] and the names in [`super::globals`], and what it makes of them is
//! data: texts, numbers, lists, dictionaries, and descriptions of tensors. All else is an error that names the
//! opcode or the function. Values live in one table and refer to each other by number, so neither a cycle nor a
//! deep nest costs recursion, and the sizes of table, stack and memo are bounded.

use super::globals::{self, Global, Storage, TensorView};
use crate::error::{Error, Result};
use std::collections::HashMap;

/// Most values of a pickle, most entries of its stack and its memo. A checkpoint of a thousand tensors with its
/// optimizer has some 50,000.
const MAX_VALUES: usize = 2_000_000;

/// A value on the stack: small itself, or the number of a [`Node`].
#[derive(Clone, Copy, Debug)]
pub(super) enum Value {
    Int(i64),
    /// What nothing here reads: None, a truth value, a float, an integer past 64 bits.
    Other,
    Global(Global),
    Node(usize),
}

/// What a value refers to.
#[derive(Debug)]
pub(super) enum Node<'a> {
    Text(&'a str),
    Bytes,
    Tuple(Vec<Value>),
    List(Vec<Value>),
    Dict(Vec<(Value, Value)>),
    Storage(Storage<'a>),
    Tensor(TensorView),
    /// An object of an allowed type that nothing here reads: a device, a namespace of arguments.
    Inert,
}

/// All values of a pickle, and the one that it gives.
pub(super) struct Pickle<'a> {
    nodes: Vec<Node<'a>>,
    pub root: Value,
}

impl<'a> Pickle<'a> {
    /// Runs a pickle to its end.
    pub fn read(code: &'a [u8]) -> Result<Pickle<'a>> {
        Ok(Pickle::read_first(code)?.0)
    }

    /// Runs the pickle that the bytes begin with to its end, and says where that is.
    pub fn read_first(code: &'a [u8]) -> Result<(Pickle<'a>, usize)> {
        let mut machine = Machine {
            code,
            at: 0,
            stack: Vec::new(),
            marks: Vec::new(),
            memo: HashMap::new(),
            table: Pickle { nodes: Vec::new(), root: Value::Other },
        };
        loop {
            let at = machine.at;
            match machine.step() {
                Ok(None) => {}
                Ok(Some(root)) => return Ok((Pickle { root, ..machine.table }, machine.at)),
                Err(e) => return Err(e.context(format_args!("pickle, byte {at}"))),
            }
        }
    }

    /// All storages that it names.
    pub fn storages(&self) -> impl Iterator<Item = &Storage<'a>> {
        self.nodes
            .iter()
            .filter_map(|node| if let Node::Storage(storage) = node { Some(storage) } else { None })
    }

    /// What a value refers to; nothing for the small ones.
    pub fn node(&self, value: Value) -> Option<&Node<'a>> {
        if let Value::Node(i) = value { self.nodes.get(i) } else { None }
    }

    /// The value as a text.
    pub fn text(&self, value: Value) -> Option<&'a str> {
        if let Some(Node::Text(text)) = self.node(value) { Some(text) } else { None }
    }

    /// The members of a tuple.
    pub fn tuple(&self, value: Value) -> Option<&[Value]> {
        if let Some(Node::Tuple(all)) = self.node(value) { Some(all) } else { None }
    }

    /// The members of a dictionary, in their order.
    pub fn dict(&self, value: Value) -> Option<&[(Value, Value)]> {
        if let Some(Node::Dict(all)) = self.node(value) { Some(all) } else { None }
    }
}

struct Machine<'a> {
    code: &'a [u8],
    at: usize,
    stack: Vec<Value>,
    /// Heights of the stack at the marks.
    marks: Vec<usize>,
    memo: HashMap<u32, Value>,
    table: Pickle<'a>,
}

fn bad(what: impl Into<String>) -> Error {
    Error::format(what)
}

impl<'a> Machine<'a> {
    /// One opcode. The value of the pickle when it was the last.
    fn step(&mut self) -> Result<Option<Value>> {
        let opcode = self.byte()?;
        match opcode {
            0x80 => {
                // PROTO: the opcodes themselves are checked one by one.
                self.byte()?;
            }
            0x95 => {
                self.bytes(8)?; // FRAME: a hint for readers of streams
            }
            b'.' => return self.pop().map(Some),
            b'(' => self.marks.push(self.stack.len()),
            b'0' => {
                self.pop()?;
            }
            b'1' => {
                self.pop_mark()?;
            }
            b'2' => {
                let top = self.top()?;
                self.push(top)?;
            }

            b'N' | 0x88 | 0x89 => self.push(Value::Other)?,
            b'K' => {
                let n = self.byte()?;
                self.push(Value::Int(n.into()))?;
            }
            b'M' => {
                let n = u16::from_le_bytes(self.array()?);
                self.push(Value::Int(n.into()))?;
            }
            b'J' => {
                let n = i32::from_le_bytes(self.array()?);
                self.push(Value::Int(n.into()))?;
            }
            0x8a => {
                let len = self.byte()?.into();
                self.long(len)?;
            }
            0x8b => {
                let len = self.length4()?;
                self.long(len)?;
            }
            b'G' => {
                self.bytes(8)?;
                self.push(Value::Other)?;
            }

            b'X' => {
                let len = self.length4()?;
                self.push_text(len)?;
            }
            0x8c => {
                let len = self.byte()?.into();
                self.push_text(len)?;
            }
            0x8d => {
                let len = self.length8()?;
                self.push_text(len)?;
            }
            b'C' => {
                let len = self.byte()?.into();
                self.push_bytes(len)?;
            }
            b'B' => {
                let len = self.length4()?;
                self.push_bytes(len)?;
            }
            // Python 2's strings, which are names more often than not.
            b'U' => {
                let len = self.byte()?.into();
                self.push_string(len)?;
            }
            b'T' => {
                let len = self.length4()?;
                self.push_string(len)?;
            }
            0x8e | 0x96 => {
                let len = self.length8()?;
                self.push_bytes(len)?;
            }

            b')' => self.push_node(Node::Tuple(Vec::new()))?,
            0x85..=0x87 => {
                let members = self.pop_many((opcode - 0x84).into())?;
                self.push_node(Node::Tuple(members))?;
            }
            b't' => {
                let members = self.pop_mark()?;
                self.push_node(Node::Tuple(members))?;
            }
            b']' => self.push_node(Node::List(Vec::new()))?,
            b'l' => {
                let members = self.pop_mark()?;
                self.push_node(Node::List(members))?;
            }
            b'a' => {
                let member = self.pop()?;
                self.append(&[member])?;
            }
            b'e' => {
                let members = self.pop_mark()?;
                self.append(&members)?;
            }
            b'}' => self.push_node(Node::Dict(Vec::new()))?,
            b'd' => {
                let members = self.pop_mark()?;
                self.push_node(Node::Dict(Vec::new()))?;
                self.set_items(&members)?;
            }
            b's' => {
                let members = self.pop_many(2)?;
                self.set_items(&members)?;
            }
            b'u' => {
                let members = self.pop_mark()?;
                self.set_items(&members)?;
            }
            0x8f => self.push_node(Node::Inert)?, // EMPTY_SET
            0x90 => {
                self.pop_mark()?; // ADDITEMS
                self.top()?;
            }
            0x91 => {
                self.pop_mark()?; // FROZENSET
                self.push_node(Node::Inert)?;
            }

            b'q' => {
                let key = self.byte()?.into();
                self.memoize(key)?;
            }
            b'r' => {
                let key = u32::from_le_bytes(self.array()?);
                self.memoize(key)?;
            }
            0x94 => self.memoize(self.memo.len() as u32)?, // At most MAX_VALUES.
            b'h' => {
                let key = self.byte()?.into();
                self.recall(key)?;
            }
            b'j' => {
                let key = u32::from_le_bytes(self.array()?);
                self.recall(key)?;
            }

            b'c' => {
                let (module, name) = (self.line()?, self.line()?);
                self.push(Value::Global(globals::find(module, name)?))?;
            }
            0x93 => {
                let names = self.pop_many(2)?;
                let [module, name] = [names[0], names[1]].map(|v| self.table.text(v));
                let (module, name) = module.zip(name).ok_or_else(|| bad("a function's name is no text"))?;
                self.push(Value::Global(globals::find(module, name)?))?;
            }
            b'R' | 0x81 => {
                let call = self.pop_many(2)?;
                let Value::Global(function) = call[0] else {
                    return Err(bad("a call of what is no function"));
                };
                let arguments =
                    self.table.tuple(call[1]).ok_or_else(|| bad("a call without a tuple of arguments"))?;
                match globals::call(function, arguments, &self.table)? {
                    globals::Made::Node(node) => self.push_node(node)?,
                    globals::Made::Value(value) => self.push(value)?,
                }
            }
            b'b' => {
                // BUILD: the state of an object, of which nothing here reads any.
                self.pop()?;
                let top = self.top()?;
                if !matches!(self.table.node(top), Some(Node::Dict(_) | Node::Inert | Node::Tensor(_))) {
                    return Err(bad("a state for what is no object"));
                }
            }
            b'Q' => {
                let id = self.pop()?;
                let storage = globals::storage(id, &self.table)?;
                self.push_node(Node::Storage(storage))?;
            }
            other => {
                return Err(bad(format!("opcode {other:#04x} is not one that a checkpoint needs: refused")));
            }
        }
        Ok(None)
    }

    fn bytes(&mut self, n: usize) -> Result<&'a [u8]> {
        let end = self.at.checked_add(n).filter(|&end| end <= self.code.len());
        let end = end.ok_or_else(|| bad(format!("{n} more bytes are announced, the pickle ends before")))?;
        let part = &self.code[self.at..end];
        self.at = end;
        Ok(part)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        let mut all = [0; N];
        all.copy_from_slice(self.bytes(N)?);
        Ok(all)
    }

    fn byte(&mut self) -> Result<u8> {
        self.array::<1>().map(|[b]| b)
    }

    fn length4(&mut self) -> Result<usize> {
        Ok(u32::from_le_bytes(self.array()?) as usize)
    }

    fn length8(&mut self) -> Result<usize> {
        usize::try_from(u64::from_le_bytes(self.array()?)).map_err(|_| bad("a length past the address space"))
    }

    fn line(&mut self) -> Result<&'a str> {
        let rest = &self.code[self.at..];
        let len = rest.iter().position(|&b| b == b'\n').ok_or_else(|| bad("a name without an end"))?;
        self.at += len + 1;
        std::str::from_utf8(&rest[..len]).map_err(|_| bad("a name that is no UTF-8 text"))
    }

    /// A little-endian two's complement number of any length.
    fn long(&mut self, len: usize) -> Result<()> {
        let digits = self.bytes(len)?;
        if len > 8 {
            return self.push(Value::Other);
        }
        let negative = digits.last().is_some_and(|&b| b >= 0x80);
        let mut all = [if negative { 0xFF } else { 0 }; 8];
        all[..len].copy_from_slice(digits);
        self.push(Value::Int(i64::from_le_bytes(all)))
    }

    fn push_text(&mut self, len: usize) -> Result<()> {
        let text = std::str::from_utf8(self.bytes(len)?).map_err(|_| bad("a text that is no UTF-8"))?;
        self.push_node(Node::Text(text))
    }

    fn push_string(&mut self, len: usize) -> Result<()> {
        match std::str::from_utf8(self.bytes(len)?) {
            Ok(text) => self.push_node(Node::Text(text)),
            Err(_) => self.push_node(Node::Bytes),
        }
    }

    fn push_bytes(&mut self, len: usize) -> Result<()> {
        self.bytes(len)?;
        self.push_node(Node::Bytes)
    }

    fn push(&mut self, value: Value) -> Result<()> {
        if self.stack.len() >= MAX_VALUES {
            return Err(bad(format!("more than {MAX_VALUES} values on the stack")));
        }
        self.stack.push(value);
        Ok(())
    }

    fn push_node(&mut self, node: Node<'a>) -> Result<()> {
        if self.table.nodes.len() >= MAX_VALUES {
            return Err(bad(format!("more than {MAX_VALUES} values")));
        }
        self.table.nodes.push(node);
        self.push(Value::Node(self.table.nodes.len() - 1))
    }

    /// Nothing reaches below the last mark.
    fn floor(&self) -> usize {
        self.marks.last().copied().unwrap_or(0)
    }

    fn top(&self) -> Result<Value> {
        let top = self.stack[self.floor()..].last();
        top.copied().ok_or_else(|| bad("the stack is empty"))
    }

    fn pop(&mut self) -> Result<Value> {
        let top = self.top()?;
        self.stack.pop();
        Ok(top)
    }

    fn pop_many(&mut self, n: usize) -> Result<Vec<Value>> {
        let from = self.stack.len().checked_sub(n).filter(|&from| from >= self.floor());
        Ok(self.stack.split_off(from.ok_or_else(|| bad("the stack is too short"))?))
    }

    fn pop_mark(&mut self) -> Result<Vec<Value>> {
        let mark = self.marks.pop().ok_or_else(|| bad("no mark on the stack"))?;
        Ok(self.stack.split_off(mark)) // Nothing goes below a mark while it stands.
    }

    fn memoize(&mut self, key: u32) -> Result<()> {
        let top = self.top()?;
        if self.memo.len() >= MAX_VALUES {
            return Err(bad(format!("more than {MAX_VALUES} remembered values")));
        }
        self.memo.insert(key, top);
        Ok(())
    }

    fn recall(&mut self, key: u32) -> Result<()> {
        let value = self.memo.get(&key).copied();
        self.push(value.ok_or_else(|| bad(format!("value {key} was never remembered")))?)
    }

    fn top_node(&mut self) -> Result<&mut Node<'a>> {
        let Value::Node(i) = self.top()? else { return Err(bad("members for what holds none")) };
        Ok(&mut self.table.nodes[i])
    }

    fn append(&mut self, members: &[Value]) -> Result<()> {
        match self.top_node()? {
            Node::List(all) => all.extend_from_slice(members),
            Node::Inert => {}
            _ => return Err(bad("members for what is no list")),
        }
        Ok(())
    }

    fn set_items(&mut self, members: &[Value]) -> Result<()> {
        let pairs = members.chunks_exact(2);
        if !pairs.remainder().is_empty() {
            return Err(bad("a key without a value"));
        }
        match self.top_node()? {
            Node::Dict(all) => all.extend(pairs.map(|pair| (pair[0], pair[1]))),
            Node::Inert => {}
            _ => return Err(bad("keys and values for what is no dictionary")),
        }
        Ok(())
    }
}
