//! How tokens come to the host.

use candle_core::{Device, Result, Tensor};
use mlxbench_core::TokenId;
use mlxbench_core::backend::Reads;

/// Brings tokens to the host as the device can.
#[derive(Debug)]
pub(crate) enum Readback {
    /// On the CPU, where a step is done when it was called.
    Immediate,
    /// By a copy on the stream of the steps, which waits for all of them.
    InOrder,
    /// By a copy on a stream of its own, behind an event that follows the token's step.
    #[cfg(feature = "cuda")]
    Own(crate::cuda::CopyStream),
}

/// What a read of tokens waits for.
#[derive(Debug, Default)]
pub(crate) struct Ready {
    #[cfg(feature = "cuda")]
    event: Option<crate::cuda::Event>,
}

impl Readback {
    pub(crate) fn new(device: &Device) -> Result<Self> {
        match device {
            Device::Cpu => Ok(Self::Immediate),
            #[cfg(feature = "cuda")]
            Device::Cuda(device) => crate::cuda::CopyStream::new(device).map(Self::Own),
            _ => Ok(Self::InOrder),
        }
    }

    /// What its reads wait for.
    pub(crate) fn reads(&self) -> Reads {
        match self {
            Self::Immediate => Reads::Immediate,
            Self::InOrder => Reads::InOrder,
            #[cfg(feature = "cuda")]
            Self::Own(_) => Reads::Own,
        }
    }

    /// Marks the end of all that was queued so far.
    pub(crate) fn mark(&self) -> Result<Ready> {
        match self {
            Self::Immediate | Self::InOrder => Ok(Ready::default()),
            #[cfg(feature = "cuda")]
            Self::Own(copies) => copies.mark().map(|event| Ready { event: Some(event) }),
        }
    }

    /// The tokens, of shape `[batch]` in u32 and made before `ready` was marked.
    pub(crate) fn read(
        &mut self,
        tokens: &Tensor,
        #[cfg_attr(not(feature = "cuda"), expect(unused_variables))] ready: &Ready,
    ) -> Result<Vec<TokenId>> {
        match self {
            #[cfg(feature = "cuda")]
            Self::Own(copies) => match &ready.event {
                Some(event) => copies.read(tokens, event),
                None => tokens.to_vec1(),
            },
            _ => tokens.to_vec1(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn on_the_cpu_tokens_are_there_when_they_were_made() {
        let mut readback = Readback::new(&Device::Cpu).unwrap();
        assert_eq!(readback.reads(), Reads::Immediate);
        let tokens = Tensor::new(&[7_u32, 8], &Device::Cpu).unwrap();
        let ready = readback.mark().unwrap();
        assert_eq!(readback.read(&tokens, &ready).unwrap(), [7, 8]);
    }
}
