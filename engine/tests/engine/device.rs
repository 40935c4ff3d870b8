//! What the tests compute on: the CPU, or the first CUDA device where `ADWP_TEST_DEVICE` is `cuda`.

use adwp_engine::{Device, cuda};

/// How close a CUDA device has to come in `f32`, where a test asks more of the CPU: it sums in
/// another order.
const CUDA: f64 = 1e-4;

thread_local! {
    // One for each test, which libtest runs on a thread of its own: what others ask of a device at
    // the same time is not waited for.
    static DEVICE: Device = match is_cuda() {
        true => {
            let device = cuda::Device::open(0);
            device.unwrap_or_else(|e| panic!("ADWP_TEST_DEVICE=cuda: {e}")).into()
        }
        false => Device::cpu(2).unwrap(),
    };
}

fn is_cuda() -> bool {
    match std::env::var("ADWP_TEST_DEVICE").as_deref() {
        Ok("cuda") => true,
        Ok("cpu") | Err(_) => false,
        Ok(other) => panic!("ADWP_TEST_DEVICE={other}: there are cpu and cuda"),
    }
}

pub(crate) fn device() -> Device {
    DEVICE.with(Device::clone)
}

/// The tolerance of a comparison on [`device`], from that on the CPU.
pub(crate) fn tolerance(cpu: f64) -> f64 {
    if is_cuda() { cpu.max(CUDA) } else { cpu }
}
