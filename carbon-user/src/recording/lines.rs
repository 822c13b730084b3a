//! The lines, as they are written. Keys of windows are short, since they come every second.

use crate::checkpoint::DomainEntry;
use crate::window::counts::COUNTERS_MAX;
use serde::{Deserialize, Serialize};

/// A line.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Line {
    #[serde(rename = "head")]
    Head(HeadLine),
    #[serde(rename = "w")]
    Window(WindowLine),
    #[serde(rename = "end")]
    End(EndLine),
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct HeadLine {
    pub(super) schema: String,
    pub(super) node: String,
    pub(super) start: String,
    pub(super) accounting: String,
    pub(super) attribution: String,
    pub(super) static_policy: String,
    pub(super) zone: String,
    #[serde(default)]
    pub(super) zone_assumed: bool,
    pub(super) pue: f64,
    /// CPUs online, and watts of a busy one by a table.
    pub(super) packages: Vec<(u32, Option<f64>)>,
    pub(super) state: Vec<DomainEntry>,
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct WindowLine {
    /// Number, from 1.
    pub(super) n: u64,
    /// Start, length, width of the edges and suspension, nanoseconds.
    pub(super) t: [u64; 4],
    /// Idle, interrupts and steal, missed, overflow (ns), missed switches, lost events, clamped, own (ns).
    pub(super) a: [u64; 8],
    /// The numbers of workloads begin anew with this line.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) anew: bool,
    /// Workloads that were not named before.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) k: Vec<KeyLine>,
    /// Domains that were not named before.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) m: Vec<DomainLine>,
    /// Packages.
    pub(super) p: usize,
    /// Tables of CPU time: the window's own, then those of domains that cover another span. Of each row the workload's
    /// number and its nanoseconds by package, one after the other.
    pub(super) u: Vec<Vec<u64>>,
    /// Use of a device, and the number of the table that it stands in the place of.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) g: Vec<(usize, DeviceLine)>,
    /// Domain, microjoules, length of its span (ns), gap, table, share of the time awake.
    pub(super) x: Vec<(usize, u64, u64, GapForm, usize, Option<f64>)>,
    /// What cgroups hold.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) c: Vec<ClaimLine>,
    /// Who says what they asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) q: Option<String>,
    /// Kinds of events that were counted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) e: Vec<String>,
    /// Workload's number, package, and events of each kind.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) f: Vec<(u64, u16, [u64; COUNTERS_MAX])>,
    /// Domains that could not be read, and why.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) y: Vec<(usize, String)>,
}

/// Whether energy of the span is missing, or of how long a part of it (ns).
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(untagged)]
pub(super) enum GapForm {
    Whole(bool),
    Part(u64),
}

/// Id of the cgroup, how many workloads it stands for, what it asked for, bytes of memory.
pub(super) type ClaimLine = (u64, u64, Option<u64>, Option<u64>);

/// Id of the cgroup, whether kernel threads, run, path.
pub(super) type KeyLine = (u64, bool, Option<u64>, Option<String>);

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct DomainLine {
    pub(super) kind: String,
    pub(super) device: String,
    pub(super) source: String,
    pub(super) quality: String,
    pub(super) bounds: Option<(f64, f64)>,
    pub(super) package: u16,
    pub(super) idle_w: Option<f64>,
}

/// Workload's number, where it is known whose the process is; busy and held (ns); part of the device; whether it shares a
/// context; whether the busy time is modelled.
pub(super) type DeviceRowLine = (Option<u64>, u64, u64, Option<u32>, bool, bool);

/// Who used a device that is not a processor.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct DeviceLine {
    pub(super) rows: Vec<DeviceRowLine>,
    pub(super) unknown_ns: u64,
    pub(super) span_ns: u64,
    /// Parts of the device: number, name, slices.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) instances: Vec<(u32, String, u32)>,
    /// Why processes could not be told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) blind: Option<String>,
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct EndLine {
    pub(super) windows: u64,
    pub(super) end: String,
    pub(super) accounting: String,
    pub(super) notes: Vec<String>,
    pub(super) paths: Vec<(u64, String)>,
}
