//! Values that live on the host, on a CUDA device, or on both.

use std::fmt;
use std::sync::{Arc, OnceLock};

use crate::Result;
use crate::cuda::{self, Buffer};

/// A fixed number of values that outlive a step. They are copied between host and device only when
/// one side is asked for what the other has changed: training on a device reads nothing back until
/// a checkpoint is written.
///
/// At any time the values on the host, those on the device, or both are the current ones.
pub(crate) struct Storage {
    length: usize,
    /// Empty while only the device has the current values.
    host: OnceLock<Vec<f32>>,
    device: Option<DeviceCopy>,
}

#[derive(Debug)]
struct DeviceCopy {
    device: cuda::Device,
    buffer: Arc<Buffer>,
    /// Whether it has the current values; its memory is kept where it has not.
    is_current: bool,
}

impl Storage {
    /// Values on the host.
    pub(crate) fn new(values: Vec<f32>) -> Self {
        Self { length: values.len(), host: OnceLock::from(values), device: None }
    }

    /// Number of values.
    pub(crate) fn len(&self) -> usize {
        self.length
    }

    /// The current values; copied from the device, and kept, where the host has not got them.
    ///
    /// # Errors
    /// [`EngineError::Cuda`](crate::EngineError::Cuda) when the copy fails.
    pub(crate) fn host(&self) -> Result<&[f32]> {
        if let Some(values) = self.on_host() {
            return Ok(values);
        }
        let values = self.download()?;
        Ok(self.host.get_or_init(|| values))
    }

    /// The current values, where they are on the host already.
    pub(crate) fn on_host(&self) -> Option<&[f32]> {
        self.host.get().map(Vec::as_slice)
    }

    /// The current values, to be changed; a copy on the device is out of date from here on.
    ///
    /// # Errors
    /// Those of [`Self::host`].
    pub(crate) fn host_mut(&mut self) -> Result<&mut [f32]> {
        self.host()?;
        if let Some(copy) = &mut self.device {
            copy.is_current = false;
        }
        Ok(self.host.get_mut().expect("the line above brought them to the host"))
    }

    /// Memory of `device` with the current values, copied from the host where they have changed
    /// there. It stays the same memory until another device is asked for.
    ///
    /// # Errors
    /// [`EngineError::Cuda`](crate::EngineError::Cuda) when the device has no memory left, or the
    /// copy fails.
    pub(crate) fn on_device(&mut self, device: &cuda::Device) -> Result<&Arc<Buffer>> {
        if self.device.as_ref().is_some_and(|copy| !copy.device.is_same(device)) {
            self.host()?;
            self.device = None;
        }
        let copy = match &mut self.device {
            Some(copy) => copy,
            none => {
                let buffer = Arc::new(device.allocate(self.length * size_of::<f32>())?);
                none.insert(DeviceCopy { device: device.clone(), buffer, is_current: false })
            }
        };
        if !copy.is_current {
            copy.buffer.upload(
                self.host.get().expect("what is not current on the device is on the host"),
            )?;
            copy.is_current = true;
        }
        Ok(&copy.buffer)
    }

    /// Notes that the memory [`Self::on_device`] gave was written to: what the host has is out of
    /// date, and dropped.
    pub(crate) fn written_on_device(&mut self) {
        let copy =
            self.device.as_mut().expect("only memory that `on_device` gave can be written to");
        copy.is_current = true;
        self.host.take();
    }

    fn download(&self) -> Result<Vec<f32>> {
        let copy = self.device.as_ref().expect("what is not on the host is on a device");
        let mut values = vec![0.0; self.length];
        copy.buffer.download(&mut values)?;
        Ok(values)
    }
}

/// The clone is on the host alone.
///
/// # Panics
/// When only the device has the values, and fails: there is nothing to clone.
impl Clone for Storage {
    fn clone(&self) -> Self {
        match self.host() {
            Ok(values) => Self::new(values.to_vec()),
            Err(e) => panic!("values that only a device had are lost: {e}"),
        }
    }
}

/// Equal where both sides can be read and have the same values, wherever they are.
impl PartialEq for Storage {
    fn eq(&self, other: &Self) -> bool {
        matches!((self.host(), other.host()), (Ok(a), Ok(b)) if a == b)
    }
}

impl fmt::Debug for Storage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.host() {
            Ok(values) => values.fmt(f),
            Err(e) => write!(f, "{} values on a device: {e}", self.length),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_on_the_host_are_changed_in_place_and_cloned() {
        let mut storage = Storage::new(vec![1.0, 2.0]);
        let before = storage.clone();
        storage.host_mut().unwrap()[1] = 3.0;
        assert_eq!(storage.host().unwrap(), [1.0, 3.0]);
        assert_eq!((before.host().unwrap(), before.len()), (&[1.0, 2.0][..], 2));
        assert!(storage != before && storage == Storage::new(vec![1.0, 3.0]));
        assert_eq!(format!("{storage:?}"), "[1.0, 3.0]");
    }

    #[test]
    fn values_follow_to_where_they_are_asked_for() {
        // The same switch as that of the tests in `tests/engine`.
        if std::env::var("ADWP_TEST_DEVICE").as_deref() != Ok("cuda") {
            return;
        }
        let [first, second] = [(); 2].map(|()| cuda::Device::open(0).unwrap());
        let mut storage = Storage::new(vec![1.0, 2.0]);
        let address = storage.on_device(&first).unwrap().address();
        storage.host_mut().unwrap()[0] = 5.0;
        let buffer = storage.on_device(&first).unwrap();
        assert_eq!(buffer.address(), address, "the memory stays where it is");
        buffer.upload(&[5.0_f32, 7.0]).unwrap();
        storage.written_on_device();
        assert_eq!(storage.clone().host().unwrap(), [5.0, 7.0]);
        storage.written_on_device();
        storage.on_device(&second).unwrap();
        assert_eq!(storage.host().unwrap(), [5.0, 7.0]);
    }
}
