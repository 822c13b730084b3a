//! Who used a device that is not a processor, as its driver tells it.

use crate::units::CgroupId;
use std::time::Duration;

/// Holders kept per device and span; what goes beyond is in one row of no workload.
const HOLDERS_MAX: usize = 1024;

/// A process that has a device open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    /// Process id, as the host numbers it; 0 for the rest of a full table.
    pub pid: u32,
    /// Its cgroup when it was seen; `None` where it cannot be told.
    pub cgroup: Option<CgroupId>,
    /// Utilisation times time.
    pub busy: Duration,
    /// How long it held the device.
    pub held: Duration,
    /// The part of the device that it is confined to.
    pub instance: Option<u32>,
    /// It shares a context with others (MPS), so that its utilisation is the driver's estimate.
    pub shared: bool,
    /// The driver does not say how much it used: `busy` was made up from its share of the device.
    pub modelled: bool,
}

/// A part of a device with memory and units of its own (MIG).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Instance {
    /// The driver's number of it.
    pub id: u32,
    /// Its name for users.
    pub uuid: String,
    /// Parts of the device that it has.
    pub slices: u32,
}

/// Who used a device over a span of time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeviceUse {
    /// Length of the span.
    pub span: Duration,
    /// Processes; one for each process and instance.
    pub holders: Vec<Holder>,
    /// Time in which the device was busy and no process was seen on it.
    pub unknown: Duration,
    /// Parts of the device, where it is divided.
    pub instances: Vec<Instance>,
    /// Looks at the device at which its processes could not be told, and why the last time.
    pub blind: u64,
    /// Why.
    pub blind_reason: Option<String>,
}

impl DeviceUse {
    /// Adds what follows in time.
    pub fn add(&mut self, later: Self) {
        self.span = self.span.saturating_add(later.span);
        self.unknown = self.unknown.saturating_add(later.unknown);
        for holder in later.holders {
            self.add_holder(holder);
        }
        if !later.instances.is_empty() {
            self.instances = later.instances;
        }
        self.blind += later.blind;
        self.blind_reason = later.blind_reason.or_else(|| self.blind_reason.take());
    }

    /// Adds what one process used. A process that moved to another cgroup has a row in each.
    pub fn add_holder(&mut self, holder: Holder) {
        let same = |known: &&mut Holder| {
            (known.pid, known.cgroup, known.instance) == (holder.pid, holder.cgroup, holder.instance)
        };
        if let Some(known) = self.holders.iter_mut().find(same) {
            known.busy = known.busy.saturating_add(holder.busy);
            known.held = known.held.saturating_add(holder.held);
            known.shared |= holder.shared;
            known.modelled |= holder.modelled;
        } else if self.holders.len() < HOLDERS_MAX {
            self.holders.push(holder);
        } else {
            let rest = Holder { pid: 0, cgroup: None, instance: None, ..holder };
            match self.holders.iter_mut().find(|known| known.pid == 0) {
                Some(known) => known.busy = known.busy.saturating_add(rest.busy),
                None => self.holders.push(rest),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn holder(pid: u32, cgroup: u64, busy_ms: u64) -> Holder {
        Holder {
            pid,
            cgroup: Some(CgroupId(cgroup)),
            busy: Duration::from_millis(busy_ms),
            held: Duration::from_millis(10),
            instance: None,
            shared: false,
            modelled: false,
        }
    }

    #[test]
    fn spans_add_up_and_a_process_that_moved_has_two_rows() {
        let mut first = DeviceUse { span: Duration::from_secs(1), ..DeviceUse::default() };
        first.add_holder(holder(1, 7, 5));
        let mut second = DeviceUse { span: Duration::from_secs(2), ..DeviceUse::default() };
        second.add_holder(holder(1, 7, 3));
        second.add_holder(holder(1, 8, 4));
        first.add(second);
        assert_eq!(first.span, Duration::from_secs(3));
        assert_eq!(first.holders.iter().map(|row| row.busy.as_millis()).collect::<Vec<_>>(), [8, 4]);
    }

    #[test]
    fn a_full_table_keeps_the_sum() {
        let mut all = DeviceUse::default();
        for pid in 1..=2000 {
            all.add_holder(holder(pid, 1, 1));
        }
        assert_eq!(all.holders.len(), HOLDERS_MAX + 1);
        assert_eq!(all.holders.iter().map(|row| row.busy.as_millis()).sum::<u128>(), 2000);
    }
}
