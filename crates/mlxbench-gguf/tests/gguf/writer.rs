//! A writer of GGUF files that can lie.

/// A value of the metadata.
#[derive(Clone, Debug)]
pub(crate) enum Field {
    U16(u16),
    U32(u32),
    I32(i32),
    U64(u64),
    F32(f32),
    F64(f64),
    Bool(bool),
    Text(String),
    /// Values of one type.
    List(Vec<Field>),
    /// GGUF's number of a type, and bytes.
    Raw(u32, Vec<u8>),
}

impl Field {
    pub(crate) fn text(text: &str) -> Self {
        Self::Text(text.into())
    }

    fn kind(&self) -> u32 {
        match self {
            Self::U16(_) => 2,
            Self::U32(_) => 4,
            Self::I32(_) => 5,
            Self::F32(_) => 6,
            Self::Bool(_) => 7,
            Self::Text(_) => 8,
            Self::List(_) => 9,
            Self::U64(_) => 10,
            Self::F64(_) => 12,
            Self::Raw(kind, _) => *kind,
        }
    }

    fn write(&self, bytes: &mut Vec<u8>) {
        match self {
            Self::U16(n) => bytes.extend(n.to_le_bytes()),
            Self::U32(n) => bytes.extend(n.to_le_bytes()),
            Self::I32(n) => bytes.extend(n.to_le_bytes()),
            Self::U64(n) => bytes.extend(n.to_le_bytes()),
            Self::F32(n) => bytes.extend(n.to_le_bytes()),
            Self::F64(n) => bytes.extend(n.to_le_bytes()),
            Self::Bool(flag) => bytes.push(u8::from(*flag)),
            Self::Text(text) => write_text(text, bytes),
            Self::List(values) => {
                bytes.extend(values.first().map_or(4, Self::kind).to_le_bytes());
                bytes.extend((values.len() as u64).to_le_bytes());
                values.iter().for_each(|value| value.write(bytes));
            }
            Self::Raw(_, raw) => bytes.extend(raw),
        }
    }
}

fn write_text(text: &str, bytes: &mut Vec<u8>) {
    bytes.extend((text.len() as u64).to_le_bytes());
    bytes.extend(text.as_bytes());
}

/// A tensor: its name, its shape with the slowest dimension first, ggml's number of its type, and
/// its blocks.
#[derive(Clone)]
pub(crate) struct Stored {
    pub(crate) name: String,
    pub(crate) shape: Vec<u64>,
    pub(crate) kind: u32,
    pub(crate) data: Vec<u8>,
}

/// The contents of a file.
#[derive(Clone, Default)]
pub(crate) struct Gguf {
    pub(crate) metadata: Vec<(String, Field)>,
    pub(crate) tensors: Vec<Stored>,
}

impl Gguf {
    /// Gives a key a value, which it may have had before.
    pub(crate) fn set(&mut self, key: &str, value: Field) {
        self.remove(key);
        self.metadata.push((key.into(), value));
    }

    pub(crate) fn remove(&mut self, key: &str) {
        self.metadata.retain(|(known, _)| known != key);
    }

    pub(crate) fn tensor(&mut self, name: &str) -> &mut Stored {
        let found = self.tensors.iter_mut().find(|tensor| tensor.name == name);
        found.unwrap_or_else(|| panic!("no tensor {name}"))
    }

    /// All that comes before the tensors' data.
    pub(crate) fn header(&self) -> Vec<u8> {
        let mut bytes = b"GGUF\x03\0\0\0".to_vec();
        bytes.extend((self.tensors.len() as u64).to_le_bytes());
        bytes.extend((self.metadata.len() as u64).to_le_bytes());
        for (key, value) in &self.metadata {
            write_text(key, &mut bytes);
            bytes.extend(value.kind().to_le_bytes());
            value.write(&mut bytes);
        }
        let mut offset = 0u64;
        for tensor in &self.tensors {
            write_text(&tensor.name, &mut bytes);
            bytes.extend((tensor.shape.len() as u32).to_le_bytes());
            for size in tensor.shape.iter().rev() {
                bytes.extend(size.to_le_bytes());
            }
            bytes.extend(tensor.kind.to_le_bytes());
            bytes.extend(offset.to_le_bytes());
            offset += (tensor.data.len() as u64).next_multiple_of(32);
        }
        bytes
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut bytes = self.header();
        for tensor in &self.tensors {
            bytes.resize(bytes.len().next_multiple_of(32), 0);
            bytes.extend(&tensor.data);
        }
        bytes
    }

    /// The parts that `llama-gguf-split` makes: the metadata in the first alone, `per_part` tensors
    /// in each.
    pub(crate) fn split(&self, per_part: usize) -> Vec<Self> {
        let chunks: Vec<&[Stored]> = self.tensors.chunks(per_part).collect();
        let part = |(number, tensors): (usize, &&[Stored])| {
            let mut part = Self::default();
            if number == 0 {
                part.metadata = self.metadata.clone();
            }
            part.tensors = tensors.to_vec();
            part.set("split.no", Field::U16(number as u16));
            part.set("split.count", Field::U16(chunks.len() as u16));
            part.set("split.tensors.count", Field::I32(self.tensors.len() as i32));
            part
        };
        chunks.iter().enumerate().map(part).collect()
    }
}
