//! Who used a device that is not a processor: what its energy is split by.

use super::WorkloadKey;

/// A process's use of a device in one window.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceRow {
    /// Whose; `None` where the process could not be given to a workload.
    pub key: Option<WorkloadKey>,
    /// Utilisation times time.
    pub busy_ns: u64,
    /// How long the process held the device.
    pub held_ns: u64,
    /// The part of the device that it is confined to, by its number.
    pub instance: Option<u32>,
    /// It shares a context with other processes (MPS).
    pub shared: bool,
    /// `busy_ns` is made up from the part of the device that it holds: the driver does not tell.
    pub modelled: bool,
}

/// A part of a device with units of its own (MIG).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceInstance {
    /// Its number.
    pub id: u32,
    /// Its name for users.
    pub uuid: String,
    /// How many parts of the device it has.
    pub slices: u32,
}

/// A device's use in one window.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeviceUsage {
    /// One for each process and part.
    pub rows: Vec<DeviceRow>,
    /// Busy time that no process was seen to cause.
    pub unknown_ns: u64,
    /// Time that was looked at.
    pub span_ns: u64,
    /// Parts of the device, where it is divided.
    pub instances: Vec<DeviceInstance>,
    /// Why processes could not be told, where that was so at any look.
    pub blind: Option<String>,
}

impl DeviceUsage {
    /// Whether anything ran on the device.
    pub fn is_idle(&self) -> bool {
        self.unknown_ns == 0 && self.rows.iter().all(|row| row.busy_ns == 0)
    }

    /// The longest that any process held it: a lower bound of how long it was held, exact where one holds it all along.
    pub fn held_ns(&self) -> u64 {
        self.rows.iter().map(|row| row.held_ns).max().unwrap_or(0)
    }
}
