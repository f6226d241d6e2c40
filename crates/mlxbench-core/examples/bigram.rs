//! A backend from start to end, as docs/adding-a-backend.md explains it: plain Rust on the CPU. Its "Gemma"
//! looks at the last token alone: its embedding times the table of embeddings. So it is measured, and the
//! check says that it computes something different.

use std::collections::BTreeMap;
use std::process::ExitCode;

use mlxbench_core::backend::{
    Backend, ContextShape, DeviceSupport, Identity, Model, PrecisionSupport, Product, Reads,
};
use mlxbench_core::probe::ProductShape;
use mlxbench_core::{
    Checkpoint, Device, Dtype, Error, GemmaConfig, Placement, Precision, Result, TokenBatch,
    TokenId, worker,
};

/// All that it can do.
const F32: Precision = Precision::plain(Dtype::F32);

/// A table of `columns` numbers a row, and `x W^T` by it.
struct Matrix {
    numbers: Vec<f32>,
    columns: usize,
}

impl Matrix {
    fn row(&self, index: usize) -> &[f32] {
        &self.numbers[index * self.columns..][..self.columns]
    }

    fn times(&self, x: &[f32]) -> Vec<f32> {
        let rows = self.numbers.chunks_exact(self.columns);
        rows.map(|row| row.iter().zip(x).map(|(w, x)| w * x).sum())
            .collect()
    }
}

pub(crate) struct PlainRust;

impl Backend for PlainRust {
    type Model = Bigram;
    type Product = Dense;

    fn identity(&self) -> Result<Identity> {
        Ok(Identity {
            backend: "bigram".into(),
            framework: "plain Rust".into(),
            version: env!("CARGO_PKG_VERSION").into(),
            libraries: BTreeMap::new(),
        })
    }

    fn devices(&self) -> Vec<DeviceSupport> {
        vec![DeviceSupport {
            device: Device::cpu(),
            description: None,
            precisions: vec![PrecisionSupport {
                precision: F32,
                unsupported: None,
            }],
        }]
    }

    fn set_threads(&mut self, _threads: Option<usize>) -> Result<usize> {
        Ok(1)
    }

    fn load(&mut self, checkpoint: &Checkpoint, placement: &Placement) -> Result<Bigram> {
        only_f32_on_the_cpu(placement)?;
        let config = checkpoint.config().clone();
        let numbers = checkpoint.tensor("model.embed_tokens.weight").to_vec();
        let table = Matrix {
            numbers,
            columns: config.hidden_size,
        };
        Ok(Bigram { config, table })
    }

    fn product(
        &mut self,
        shape: ProductShape,
        copies: usize,
        placement: &Placement,
    ) -> Result<Dense> {
        only_f32_on_the_cpu(placement)?;
        let matrix = || Matrix {
            numbers: vec![0.5; shape.elements() as usize],
            columns: shape.in_features,
        };
        Ok(Dense {
            copies: (0..copies).map(|_| matrix()).collect(),
            rows: vec![vec![0.25; shape.in_features]; shape.rows],
        })
    }
}

/// What can't be done is refused: computing it in another way would give the row a wrong name.
fn only_f32_on_the_cpu(placement: &Placement) -> Result<()> {
    match placement.device == Device::cpu() && placement.precision == F32 {
        true => Ok(()),
        false => Err(Error::Unsupported(format!("plain Rust has no {placement}"))),
    }
}

pub(crate) struct Dense {
    copies: Vec<Matrix>,
    rows: Vec<Vec<f32>>,
}

impl Product for Dense {
    fn multiply(&mut self, copy: usize) -> Result<()> {
        for row in &self.rows {
            std::hint::black_box(self.copies[copy].times(row));
        }
        Ok(())
    }

    fn synchronize(&mut self) -> Result<()> {
        Ok(())
    }
}

pub(crate) struct Bigram {
    config: GemmaConfig,
    table: Matrix,
}

/// Of each row of the batch, the logits and the token from which the next step continues.
pub(crate) struct Next {
    logits: Vec<Vec<f32>>,
    tokens: Vec<TokenId>,
}

impl Bigram {
    fn next(&self, last: impl Iterator<Item = TokenId>) -> Next {
        let logits: Vec<Vec<f32>> = last
            .map(|token| self.table.times(self.table.row(token as usize)))
            .collect();
        Next {
            tokens: logits.iter().map(|row| argmax(row)).collect(),
            logits,
        }
    }
}

fn argmax(logits: &[f32]) -> TokenId {
    let best = logits.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1));
    best.map_or(0, |(index, _)| index as TokenId)
}

impl Model for Bigram {
    type Output = Next;

    fn config(&self) -> &GemmaConfig {
        &self.config
    }

    fn reads(&self) -> Reads {
        Reads::Immediate
    }

    // A model that attends to earlier tokens makes its KV cache here.
    fn reset(&mut self, _context: ContextShape) -> Result<()> {
        Ok(())
    }

    fn prefill(&mut self, _tokens: &TokenBatch) -> Result<()> {
        Ok(())
    }

    fn forward(&mut self, tokens: &TokenBatch) -> Result<Next> {
        Ok(self.next(
            tokens
                .rows()
                .map(|row| *row.last().expect("a batch has tokens")),
        ))
    }

    fn step(&mut self, previous: &Next) -> Result<Next> {
        Ok(self.next(previous.tokens.iter().copied()))
    }

    fn force(&mut self, output: Next, ids: &[TokenId]) -> Result<Next> {
        Ok(Next {
            tokens: ids.to_vec(),
            ..output
        })
    }

    fn rewind(&mut self, _position: usize) -> Result<()> {
        Ok(())
    }

    fn read(&mut self, output: &Next) -> Result<Vec<TokenId>> {
        Ok(output.tokens.clone())
    }

    fn logits(&mut self, output: &Next) -> Result<Vec<f32>> {
        Ok(output.logits.concat())
    }

    fn synchronize(&mut self) -> Result<()> {
        Ok(())
    }
}

fn main() -> ExitCode {
    worker::serve(PlainRust)
}
