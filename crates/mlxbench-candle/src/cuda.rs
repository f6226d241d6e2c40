//! What candle leaves to its user on CUDA.

use std::sync::Arc;

use candle_core::cuda_backend::cudarc::driver::{
    CudaEvent, CudaStream, DriverError, PinnedHostSlice, result, sys,
};
use candle_core::{CudaDevice, Error, Result, Storage, Tensor};
use mlxbench_core::TokenId;

/// A point in the stream of the steps.
pub(crate) type Event = CudaEvent;

/// Sets what costs time around every launch. All work of this program is on one stream, but for the
/// copies of [`CopyStream`], which wait for it.
pub(crate) fn prepare(device: &CudaDevice) -> Result<()> {
    // Events that order several streams: cudarc makes and drops two with every tensor.
    // SAFETY: tensors are used on the stream that made them, and read elsewhere after an event of it.
    unsafe { device.disable_event_tracking() };
    // Without this the driver takes freed memory back whenever the host waits.
    let mut keep = u64::MAX;
    let threshold = sys::CUmemPool_attribute::CU_MEMPOOL_ATTR_RELEASE_THRESHOLD;
    let opened = device.cuda_stream().context().cu_device();
    // SAFETY: the device is open, its pool lives as long, and the attribute is a u64.
    unsafe {
        let pool = result::device::get_default_mem_pool(opened).map_err(driver)?;
        result::mem_pool::set_attribute(pool, threshold, (&raw mut keep).cast()).map_err(driver)
    }
}

/// Copies tokens to the host while steps go on.
#[derive(Debug)]
pub(crate) struct CopyStream {
    steps: Arc<CudaStream>,
    copies: Arc<CudaStream>,
    /// One token a row; made when the rows are known.
    host: Option<PinnedHostSlice<TokenId>>,
}

impl CopyStream {
    pub(crate) fn new(device: &CudaDevice) -> Result<Self> {
        let steps = device.cuda_stream();
        let copies = steps.context().new_stream().map_err(driver)?;
        Ok(Self {
            steps,
            copies,
            host: None,
        })
    }

    /// The end of all steps that were handed over so far.
    pub(crate) fn mark(&self) -> Result<Event> {
        self.steps.record_event(None).map_err(driver)
    }

    /// `tokens`, of shape `[batch]` in u32, once `made` has been reached.
    pub(crate) fn read(&mut self, tokens: &Tensor, made: &Event) -> Result<Vec<TokenId>> {
        let (storage, layout) = tokens.storage_and_layout();
        let (Storage::Cuda(storage), Some((start, end))) = (&*storage, layout.contiguous_offsets())
        else {
            return Err(Error::Msg("tokens aren't side by side on a GPU".into()));
        };
        let tokens = storage.as_cuda_slice::<TokenId>()?.slice(start..end);
        let mut host = match self.host.take().filter(|host| host.len() == end - start) {
            Some(host) => host,
            None => {
                let context = self.copies.context();
                // SAFETY: it is read after a copy to all of it.
                unsafe { context.alloc_pinned_with_flags(end - start, 0) }.map_err(driver)?
            }
        };
        self.copies.wait(made).map_err(driver)?;
        self.copies
            .memcpy_dtoh(&tokens, &mut host)
            .map_err(driver)?;
        // Waiting for the stream spins; waiting for the buffer's own event would sleep.
        self.copies.synchronize().map_err(driver)?;
        let read = host.as_slice().map_err(driver)?.to_vec();
        self.host = Some(host);
        Ok(read)
    }
}

fn driver(error: DriverError) -> Error {
    Error::wrap(error)
}
