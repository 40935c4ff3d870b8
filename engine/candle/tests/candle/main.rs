//! The engine against candle: the same graphs, values and gradients, the engine in `f32` and candle
//! mostly in `f64`.

#[path = "../../../tests/engine/cases.rs"]
mod cases;
mod cells;
#[path = "../../../tests/engine/compare.rs"]
mod compare;
mod deployment;
#[path = "../../../tests/engine/device.rs"]
mod device;
mod errors;
#[path = "../../../tests/engine/networks.rs"]
mod networks;
mod operations;
mod whole;
