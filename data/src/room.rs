//! Memory for decoded images, which threads share.

use std::path::Path;
use std::sync::{Condvar, Mutex, PoisonError};

use crate::error::DataError;

/// More pixels than any photograph has, those of phones with 200 megapixels included.
pub(crate) const MOST_PIXELS: u64 = 1 << 28;
/// Bytes that decoded images may take at a time, those of all threads together. A small file can
/// claim as many pixels as any photograph; many such files, read by many threads, must not fill the
/// memory.
const MOST_DECODED: u64 = 4 * MOST_PIXELS;

/// Room for a decoded image, among those that other threads decode.
pub(crate) struct Room(u64);

static TAKEN: Mutex<u64> = Mutex::new(0);
static LEFT: Condvar = Condvar::new();

impl Room {
    /// Waits until there is room for an image of this size, each pixel of which is decoded to so
    /// many bytes.
    pub(crate) fn wait_for(
        path: &Path,
        (width, height): (u32, u32),
        bytes: u64,
    ) -> Result<Self, DataError> {
        if width == 0 || height == 0 {
            return Err(DataError::not_an_image(path, format!("it has {width}x{height} pixels")));
        }
        let pixels = u64::from(width) * u64::from(height);
        let limit = MOST_PIXELS.min(MOST_DECODED / bytes.max(1));
        if pixels > limit {
            return Err(DataError::TooManyPixels { path: path.to_owned(), width, height, limit });
        }
        let (bytes, taken) = (pixels * bytes, TAKEN.lock().unwrap_or_else(PoisonError::into_inner));
        let is_full = |taken: &mut u64| *taken + bytes > MOST_DECODED;
        *LEFT.wait_while(taken, is_full).unwrap_or_else(PoisonError::into_inner) += bytes;
        Ok(Self(bytes))
    }

    /// Bytes of the image.
    pub(crate) fn bytes(&self) -> usize {
        self.0 as usize
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        *TAKEN.lock().unwrap_or_else(PoisonError::into_inner) -= self.0;
        LEFT.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU64, Ordering};

    #[test]
    fn room_is_given_back_and_no_more_is_taken_than_there_is() {
        let path = Path::new("x");
        let most = 1 << 14;
        let limit = |size, bytes| match Room::wait_for(path, size, bytes) {
            Ok(_) => None,
            Err(DataError::TooManyPixels { limit, .. }) => Some(limit),
            Err(error) => panic!("{error}"),
        };
        assert_eq!(limit((16_320, 12_240), 3), None, "a phone's 200 megapixels");
        assert_eq!(limit((most, most), 4), None);
        assert_eq!(limit((most, most + 1), 3), Some(MOST_PIXELS));
        assert_eq!(limit((most, most), 8), Some(MOST_PIXELS / 2));
        assert!(matches!(Room::wait_for(path, (0, 5), 3), Err(DataError::NotAnImage { .. })));
        let (seen, most_seen) = (AtomicU64::new(0), AtomicU64::new(0));
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for _ in 0..50 {
                        let room = Room::wait_for(path, (most, most / 2), 3).unwrap();
                        let now = seen.fetch_add(room.0, Ordering::SeqCst) + room.0;
                        most_seen.fetch_max(now, Ordering::SeqCst);
                        std::thread::yield_now();
                        seen.fetch_sub(room.0, Ordering::SeqCst);
                    }
                });
            }
        });
        assert!(most_seen.into_inner() <= MOST_DECODED);
    }
}
