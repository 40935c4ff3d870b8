//! Images that need no data set.

use crate::onnx::ImageInput;

/// Images `[batch, channels, height, width]` of uniform noise in [-1, 1), or from 0 to 255 where
/// the model takes pixels; the same for the same shape on every machine.
pub fn noise(input: &ImageInput, batch: usize) -> Vec<f32> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let next = || {
        // Marsaglia's xorshift64: the values only have to be ordinary.
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        let value = (state >> 40) as f32 / (1_u64 << 23) as f32 - 1.0;
        if input.pixels() { 127.5 * (value + 1.0) } else { value }
    };
    std::iter::repeat_with(next).take(batch * input.image_len()).collect()
}
