//! A step whose position, cache slots and lengths are on the device: the same work, with the same memory,
//! for every position. The host keeps the plan and sends a few numbers ahead of each step.

use std::ops::Range;

use mlxbench_core::gemma::cache::Append;
use mlxbench_core::gemma::parts::Span;
use mlxbench_core::gemma::pass::Pass;
use tch::{Device, Kind, TchError, Tensor};

use crate::attention::{Entries, Form, Read};
use crate::backend::framework;
use crate::flash::Lengths;
use crate::framework::Torch;
use crate::network::{Ending, Network};
use crate::rope::Rope;
use crate::{mask, shim};

/// The shortest length that is read where lengths aren't exact; longer ones double.
const SHORTEST: usize = 256;

/// The memory that a step reads beside weights and caches.
#[derive(Debug)]
pub(crate) struct DeviceStep {
    /// The token of each row, of shape `[batch, 1]`, i64.
    tokens: Tensor,
    /// A line for each attention, of shape `[attentions, 4]`, i64: the token's position, its slot in the
    /// caches, the first entry that it reads and the end of those.
    lines: Tensor,
    /// For each attention whose lengths are exact, in their order, where its sequences start and how many
    /// entries each reads: see [`Lengths`]. i32.
    sequences: Tensor,
    /// One for each attention.
    buffers: Vec<Buffer>,
}

/// The caches of an attention's layers.
#[derive(Debug)]
struct Buffer {
    capacity: i64,
    /// Where lengths can be exact.
    exact: Option<Exact>,
}

/// A sequence for each row and key and value head of a cache.
#[derive(Debug)]
struct Exact {
    count: i64,
    /// 0, 1, 2 and so on, of shape `[count + 1]`, i32.
    query_starts: Tensor,
    /// Where this begins in the sequences of the step.
    at: i64,
}

impl Exact {
    /// How many numbers the step has for it: starts and counts.
    fn len(count: i64) -> i64 {
        2 * count + 1
    }

    /// Those numbers for a token that reads so.
    fn numbers(&self, capacity: i64, read: &Range<usize>) -> impl Iterator<Item = i32> {
        let (first, length, count) = (read.start as i64, read.len() as i32, self.count);
        let starts = (0..=count).map(move |sequence| (sequence * capacity + first) as i32);
        starts.chain((0..count).map(move |_| length))
    }
}

impl DeviceStep {
    /// For the context that the network was reset to, with so many rows.
    pub(crate) fn new(network: &Network, batch: usize) -> Result<Self, TchError> {
        let place = &network.place;
        let (of_layers, caches) = (network.decoder.of_layers(), network.decoder.caches());
        let attentions = of_layers.iter().max().map_or(0, |last| last + 1);
        let mut buffers = Vec::with_capacity(attentions);
        let mut sequences = 0;
        for attention in 0..attentions {
            let layer = of_layers.iter().position(|&of| of == attention);
            let layer = layer.expect("every attention is a layer's");
            let spec = &network.config.layers[layer].attention;
            let exact = match place.kernels.takes_lengths(spec) {
                true => {
                    let (count, at) = ((batch * spec.kv_heads) as i64, sequences);
                    sequences += Exact::len(count);
                    let query_starts = Tensor::f_arange(count + 1, (Kind::Int, place.device))?;
                    Some(Exact {
                        count,
                        query_starts,
                        at,
                    })
                }
                false => None,
            };
            buffers.push(Buffer {
                capacity: caches[layer].capacity(),
                exact,
            });
        }
        // A first token's, until there is another.
        let line = Tensor::f_from_slice(&[0_i64, 0, 0, 1])?;
        Ok(Self {
            tokens: Tensor::f_zeros([batch as i64, 1], (Kind::Int64, place.device))?,
            lines: line
                .f_repeat([attentions as i64, 1])?
                .f_to_device(place.device)?,
            sequences: Tensor::f_zeros([sequences], (Kind::Int, place.device))?,
            buffers,
        })
    }

    /// The lengths that steps read: the first that is enough for an attention serves it. A length that is 0
    /// stands for exact ones.
    pub(crate) fn lengths(&self) -> Vec<i64> {
        let inexact = self.buffers.iter().filter(|buffer| buffer.exact.is_none());
        let Some(longest) = inexact.map(|buffer| buffer.capacity).max() else {
            return vec![0];
        };
        let doubled = (0..).map(|power| (SHORTEST as i64) << power);
        doubled
            .take_while(|&length| length < longest)
            .chain([longest])
            .collect()
    }

    /// Whether entries are read, if only to be hidden, that weren't written in this context.
    pub(crate) fn reads_beyond(&self) -> bool {
        self.buffers.iter().any(|buffer| buffer.exact.is_none())
    }

    /// Moves on by a token in each row, `previous`, of shape `[batch]`, and sends ahead what its step needs.
    /// Gives the length of [`DeviceStep::lengths`] that serves it.
    pub(crate) fn prepare(
        &self,
        network: &mut Network,
        previous: &Tensor,
    ) -> mlxbench_core::Result<i64> {
        let batch = previous.size1().map_err(framework)? as usize;
        let plan = network.decoder.plan(batch, 1)?;
        self.send(network, &plan, previous).map_err(framework)?;
        let inexact = plan.iter().zip(&self.buffers);
        let inexact = inexact.filter(|(_, buffer)| buffer.exact.is_none());
        let end = inexact.map(|(pass, _)| pass.append.read.end as i64).max();
        let mut lengths = self.lengths().into_iter();
        let enough = lengths.find(|&length| length >= end.unwrap_or(0));
        Ok(enough.expect("the last length is the longest cache's"))
    }

    fn send(
        &self,
        network: &mut Network,
        plan: &[Pass],
        previous: &Tensor,
    ) -> Result<(), TchError> {
        let of_layers = network.decoder.of_layers();
        let (_, caches) = network.decoder.parts();
        for (layer, cache) in caches.iter_mut() {
            cache.keep(&plan[of_layers[layer]].append)?;
        }
        let lines = plan.iter().flat_map(|pass| {
            let Append { write, read, .. } = &pass.append;
            [pass.positions.start, write.start, read.start, read.end].map(|at| at as i64)
        });
        let lines = Tensor::f_from_slice(&lines.collect::<Vec<i64>>())?;
        shim::copy(&self.lines, &lines.f_view([-1, 4])?)?;
        let sequences = plan.iter().zip(&self.buffers).flat_map(|(pass, buffer)| {
            let exact = buffer.exact.iter();
            exact.flat_map(|exact| exact.numbers(buffer.capacity, &pass.append.read))
        });
        let sequences = sequences.collect::<Vec<i32>>();
        if !sequences.is_empty() {
            shim::copy(&self.sequences, &Tensor::f_from_slice(&sequences)?)?;
        }
        shim::copy(&self.tokens, &previous.f_unsqueeze(1)?)
    }

    /// The step, for a length from [`DeviceStep::prepare`].
    pub(crate) fn run(&self, network: &mut Network, length: i64) -> mlxbench_core::Result<Ending> {
        let mut attentions = 0..;
        let spans = network.decoder.spans(|_, rope| {
            let at = attentions.next().expect("there is no end");
            self.span(at, rope, length, network.place.device)
        })?;
        network.run(&self.tokens, &spans).map_err(framework)
    }

    fn span(
        &self,
        at: usize,
        rope: &Rope,
        length: i64,
        device: Device,
    ) -> Result<Span<Torch>, TchError> {
        let line = self.lines.f_select(0, at as i64)?;
        let column = |column| line.f_narrow(0, column, 1);
        let (position, slot) = (column(0)?, column(1)?);
        let Buffer { capacity, exact } = &self.buffers[at];
        let read = match exact {
            Some(exact) => {
                let numbers = |at, count| self.sequences.f_narrow(0, exact.at + at, count);
                Read::Exact(Lengths {
                    query_starts: exact.query_starts.shallow_clone(),
                    starts: numbers(0, exact.count + 1)?,
                    counts: numbers(exact.count + 1, exact.count)?,
                    most: *capacity,
                })
            }
            None => {
                let count = length.min(*capacity);
                let place = (Kind::Float, device);
                Read::First {
                    count,
                    mask: mask::of_entries(count, [&column(2)?, &column(3)?], place)?,
                }
            }
        };
        Ok(Span {
            // The plan stays on the host.
            append: Append {
                keep: None,
                write: 0..0,
                read: 0..0,
                read_position: 0,
            },
            mask: Form::OnDevice(Entries { slot, read }),
            rope: rope.gather(&position)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use mlxbench_conformance::Golden;
    use mlxbench_core::backend::ContextShape;
    use mlxbench_core::{Device, Dtype, Placement};

    use super::*;
    use crate::TchBackend;
    use crate::inference::inference;

    /// Tokens of a context.
    const CAPACITY: usize = 600;

    /// Ids of two rows at a position.
    fn ids(position: usize) -> Tensor {
        let row = |row: usize| (position * 7 + row * 31 + position / 9) as i64 % 32;
        Tensor::from_slice(&[row(0), row(1)])
    }

    /// The ordinary network, one of the same weights that steps on the device, and where both are.
    struct Pair {
        ordinary: Network,
        on_device: Network,
        step: DeviceStep,
        position: usize,
        /// The lengths that were read.
        lengths: Vec<i64>,
    }

    impl Pair {
        /// Both after a prompt of so many tokens.
        fn new(golden: &Golden, prompt: usize) -> Self {
            let placement = Placement {
                device: Device::cpu(),
                precision: Dtype::F32.into(),
            };
            let network = || {
                let model = golden.load(&mut TchBackend::default(), &placement);
                let mut network = model.unwrap().into_network();
                let shape = ContextShape {
                    batch: 2,
                    capacity: CAPACITY,
                    chunk: prompt,
                };
                network.decoder.reset(shape).unwrap();
                let columns: Vec<Tensor> = (0..prompt).map(ids).collect();
                network.fill(&Tensor::stack(&columns, 1)).unwrap();
                network
            };
            let (ordinary, on_device) = (network(), network());
            Self {
                step: DeviceStep::new(&on_device, 2).unwrap(),
                ordinary,
                on_device,
                position: prompt,
                lengths: Vec::new(),
            }
        }

        /// The largest difference of logits in the next `count` steps, as a share of the largest logit.
        fn difference(&mut self, count: usize) -> f64 {
            let steps = (0..count).map(|_| {
                let token = ids(self.position);
                let expected = self.ordinary.append(&token.unsqueeze(1)).unwrap();
                let length = self.step.prepare(&mut self.on_device, &token).unwrap();
                let got = self.step.run(&mut self.on_device, length).unwrap();
                assert_eq!(got.tokens, expected.tokens, "at {}", self.position);
                self.position += 1;
                self.lengths.push(length);
                let largest = |x: &Tensor| f64::try_from(x.abs().max()).unwrap();
                largest(&(got.logits - &expected.logits)) / largest(&expected.logits)
            });
            // What is no number is the largest.
            steps.max_by(f64::total_cmp).expect("there is a step")
        }

        fn rewind(&mut self, position: usize) {
            for network in [&mut self.ordinary, &mut self.on_device] {
                network.decoder.rewind(position).unwrap();
            }
            self.position = position;
        }
    }

    /// Compares steps after prompts of so many tokens, and the lengths that they read.
    fn compare(prompt: usize, count: usize, lengths: &[i64]) {
        inference(|| {
            for golden in Golden::all().unwrap() {
                let mut pair = Pair::new(&golden, prompt);
                let there = pair.difference(count);
                pair.rewind(pair.position - 3);
                let again = pair.difference(6);
                let near = there < 1e-4 && again < 1e-4;
                assert!(near, "{}: {there}, {again}", golden.name);
                pair.lengths.dedup();
                assert_eq!(pair.lengths, lengths, "{}", golden.name);
            }
        });
    }

    #[test]
    fn a_step_on_the_device_is_the_ordinary_step_around_a_window() {
        compare(2, 20, &[256]);
    }

    #[test]
    fn so_it_is_where_lengths_double_and_local_caches_drop_entries() {
        // A window of 4 to 9 and room for 256.
        compare(245, 30, &[256, 512]);
    }

    #[test]
    fn so_it_is_at_the_longest_length() {
        compare(500, 20, &[512, 600]);
    }
}
