//! The table of per-layer embeddings on the CPU: its rows are the same there, so what comes out is, to the bit.

use mlxbench_core::backend::{Backend, DeviceSupport, Model, PER_LAYER_BY_HOST};
use mlxbench_core::{Device, Error, Placement, Precision, Result, Scheme};

use crate::Golden;

/// Compares every golden that has the table, on each device of this machine, with the table there and on the CPU;
/// returns how many pairs were compared.
///
/// # Errors
/// When a logit differs, when a model doesn't say where its table is, and when the backend fails.
pub fn same_wherever_the_table_is<B: Backend>(backend: &mut B) -> Result<usize> {
    let cases = [
        ("f32", Golden::all()?),
        ("bf16", Golden::all()?),
        ("q8-f32", Golden::quantised(Scheme::Q8)?),
        ("q4-bf16", Golden::quantised(Scheme::Q4)?),
    ];
    let mut devices = backend.devices();
    devices.retain(|known| known.device.way().is_none());
    let mut compared = 0;
    for (precision, goldens) in &cases {
        let precision: Precision = precision.parse()?;
        let can = |known: &&DeviceSupport| {
            // candle's rows of quantised tables are rounded to f16 on Metal.
            let rounded = known.device.kind() == "metal" && precision.scheme().is_some();
            let mut precisions = known.precisions.iter();
            !rounded && precisions.any(|of| of.precision == precision && of.unsupported.is_none())
        };
        let devices: Vec<&Device> = devices
            .iter()
            .filter(can)
            .map(|known| &known.device)
            .collect();
        let with_table = goldens
            .iter()
            .filter(|golden| golden.config.per_layer.is_some());
        for golden in with_table {
            for device in &devices {
                compare(backend, golden, device, precision)?;
                compared += 1;
            }
        }
    }
    Ok(compared)
}

fn compare<B: Backend>(
    backend: &mut B,
    golden: &Golden,
    device: &Device,
    precision: Precision,
) -> Result<()> {
    let mut run = |device: Device| {
        let placement = Placement { device, precision };
        let mut model = golden.load(backend, &placement)?;
        let (part, way) = PER_LAYER_BY_HOST;
        let by_host = model.kernels().get(part).is_some_and(|said| said == way);
        let bits = |logits: Vec<f32>| logits.into_iter().map(f32::to_bits).collect::<Vec<_>>();
        let logits = golden.teacher_forced(&mut model)?.into_iter();
        Ok::<_, Error>((by_host, logits.map(bits).collect::<Vec<_>>()))
    };
    let on_device = run(device.clone())?;
    let on_cpu = run(format!("{device}+ple-cpu").parse()?)?;
    let case = format!("{}, {device}, {precision}", golden.name);
    if (on_device.0, on_cpu.0) != (false, true) {
        let message = format!("{case}: a model doesn't say where its table is");
        return Err(Error::Invalid(message));
    }
    match on_device.1 == on_cpu.1 {
        true => Ok(()),
        false => Err(Error::Invalid(format!("{case}: the logits differ"))),
    }
}
