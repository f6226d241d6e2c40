//! The typed values of a GGUF file, read without trusting a length in it.
//!
//! Nothing is allocated by a number of the file: texts and lists stay in the file's bytes, and a
//! length is compared with the bytes that are left before anything is read.

use anyhow::{Context, bail};

/// What to do with a file that isn't whole, or is no GGUF file at all.
pub(crate) const BYTE_SPLIT: &str = "if it is part of a file that was split by bytes \
                                     (NAME.gguf.part1of2, NAME.gguf-split-a), join all parts in \
                                     order first: cat PARTS > NAME.gguf";

/// `size` of the file's `bytes`, from byte `start` on.
pub(crate) fn slice(bytes: &[u8], start: u64, size: u64) -> anyhow::Result<&[u8]> {
    let end = start.saturating_add(size);
    let range = usize::try_from(start)?..usize::try_from(end)?;
    bytes.get(range).with_context(|| {
        format!(
            "bytes {start} to {end} are needed, the file ends at byte {}: not a whole GGUF file; \
             {BYTE_SPLIT}",
            bytes.len()
        )
    })
}

/// A value of the metadata.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Value<'a> {
    /// Of any of the eight integer types.
    Integer(i128),
    /// 32 bits.
    F32(f32),
    /// 64 bits.
    F64(f64),
    /// True or false.
    Bool(bool),
    /// UTF-8 in a file that keeps to the format.
    Text(&'a [u8]),
    /// Values of one type.
    List(List<'a>),
}

impl Value<'_> {
    /// Whether two files say the same, bit by bit: a NaN is the same as itself.
    pub fn is_same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::F32(a), Self::F32(b)) => a.to_bits() == b.to_bits(),
            (Self::F64(a), Self::F64(b)) => a.to_bits() == b.to_bits(),
            _ => self == other,
        }
    }
}

/// A list, whose values are read when they are asked for.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct List<'a> {
    kind: Kind,
    length: u64,
    values: Cursor<'a>,
}

impl<'a> List<'a> {
    /// Number of values.
    pub fn len(&self) -> u64 {
        self.length
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// The values, in order.
    pub fn iter(&self) -> impl Iterator<Item = Value<'a>> + use<'a> {
        let (mut values, kind) = (self.values, self.kind);
        // All were checked when the list was read.
        (0..self.length).map_while(move |_| values.value(kind).ok())
    }
}

/// GGUF's types of values (`enum gguf_type` in ggml's `gguf.h`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    U8,
    I8,
    U16,
    I16,
    U32,
    I32,
    F32,
    Bool,
    Text,
    List,
    U64,
    I64,
    F64,
}

impl Kind {
    fn of(number: u32) -> anyhow::Result<Self> {
        Ok(match number {
            0 => Self::U8,
            1 => Self::I8,
            2 => Self::U16,
            3 => Self::I16,
            4 => Self::U32,
            5 => Self::I32,
            6 => Self::F32,
            7 => Self::Bool,
            8 => Self::Text,
            9 => Self::List,
            10 => Self::U64,
            11 => Self::I64,
            12 => Self::F64,
            other => bail!("there is no type of values {other}"),
        })
    }

    /// Bytes of a value; `None` where they differ.
    fn bytes(self) -> Option<u64> {
        match self {
            Self::U8 | Self::I8 | Self::Bool => Some(1),
            Self::U16 | Self::I16 => Some(2),
            Self::U32 | Self::I32 | Self::F32 => Some(4),
            Self::U64 | Self::I64 | Self::F64 => Some(8),
            Self::Text | Self::List => None,
        }
    }
}

/// A place in a file's bytes, from which values are read.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
    /// Whether lengths and counts have 64 bits; version 1 has 32.
    wide: bool,
}

impl<'a> Cursor<'a> {
    pub(crate) fn new(bytes: &'a [u8], wide: bool) -> Self {
        Self { bytes, at: 0, wide }
    }

    pub(crate) fn at(&self) -> usize {
        self.at
    }

    pub(crate) fn take(&mut self, count: u64) -> anyhow::Result<&'a [u8]> {
        let taken = slice(self.bytes, self.at as u64, count)?;
        self.at += taken.len();
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> anyhow::Result<[u8; N]> {
        Ok(self.take(N as u64)?.try_into().expect("N bytes were taken"))
    }

    pub(crate) fn u32(&mut self) -> anyhow::Result<u32> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    pub(crate) fn u64(&mut self) -> anyhow::Result<u64> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    /// A length, a count or a dimension.
    pub(crate) fn length(&mut self) -> anyhow::Result<u64> {
        match self.wide {
            true => self.u64(),
            false => Ok(self.u32()?.into()),
        }
    }

    /// A text, without the zeros that some writers end theirs with.
    pub(crate) fn text(&mut self) -> anyhow::Result<&'a [u8]> {
        let length = self.length()?;
        let mut text = self.take(length)?;
        while let [rest @ .., 0] = text {
            text = rest;
        }
        Ok(text)
    }

    /// The name of a key or a tensor, which is shown to people as it is.
    pub(crate) fn name(&mut self) -> anyhow::Result<&'a str> {
        let text = self.text()?;
        match std::str::from_utf8(text) {
            Ok(name) if !name.is_empty() && !name.contains(char::is_control) => Ok(name),
            _ => bail!(
                "`{}` at byte {} is no name",
                text[..text.len().min(40)].escape_ascii(),
                self.at - text.len()
            ),
        }
    }

    /// A type and a value of it.
    pub(crate) fn typed_value(&mut self) -> anyhow::Result<Value<'a>> {
        let kind = Kind::of(self.u32()?)?;
        self.value(kind)
    }

    fn value(&mut self, kind: Kind) -> anyhow::Result<Value<'a>> {
        Ok(match kind {
            Kind::U8 => Value::Integer(u8::from_le_bytes(self.array()?).into()),
            Kind::I8 => Value::Integer(i8::from_le_bytes(self.array()?).into()),
            Kind::U16 => Value::Integer(u16::from_le_bytes(self.array()?).into()),
            Kind::I16 => Value::Integer(i16::from_le_bytes(self.array()?).into()),
            Kind::U32 => Value::Integer(self.u32()?.into()),
            Kind::I32 => Value::Integer(i32::from_le_bytes(self.array()?).into()),
            Kind::U64 => Value::Integer(self.u64()?.into()),
            Kind::I64 => Value::Integer(i64::from_le_bytes(self.array()?).into()),
            Kind::F32 => Value::F32(f32::from_le_bytes(self.array()?)),
            Kind::F64 => Value::F64(f64::from_le_bytes(self.array()?)),
            Kind::Bool => match self.array()? {
                [0] => Value::Bool(false),
                [1] => Value::Bool(true),
                [other] => bail!("{other} is neither true nor false"),
            },
            Kind::Text => Value::Text(self.text()?),
            Kind::List => Value::List(self.list()?),
        })
    }

    fn list(&mut self) -> anyhow::Result<List<'a>> {
        let kind = Kind::of(self.u32()?)?;
        if kind == Kind::List {
            bail!("a list of lists, which no key of a Gemma is");
        }
        let length = self.length()?;
        let start = *self;
        match kind.bytes() {
            Some(size) => {
                let values = self.take(length.saturating_mul(size))?;
                if kind == Kind::Bool && values.iter().any(|&value| value > 1) {
                    bail!("a value is neither true nor false");
                }
            }
            None => {
                for number in 1..=length {
                    // Ends with the file's bytes, whatever the length says.
                    self.text()
                        .with_context(|| format!("value {number} of {length}"))?;
                }
            }
        }
        let values = Cursor {
            bytes: &start.bytes[start.at..self.at],
            at: 0,
            ..start
        };
        Ok(List {
            kind,
            length,
            values,
        })
    }
}
