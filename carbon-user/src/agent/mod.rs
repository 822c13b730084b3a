//! What the agent keeps between windows: sums that are published, the minute that is not written yet, and where a restart
//! goes on.
//!
//! Plain data and arithmetic, and one file: the loop that fills it, and the threads that write and serve it, are in
//! `cli`. One writer, the window loop, replaces the [`Published`] in its cell after each window; readers take what is
//! there and never wait for it.

pub mod backlog;
pub mod books;
pub mod minute;
mod private;
pub mod published;
pub mod refused;
pub mod resume;
pub mod runs;
pub mod shares;

pub use private::Alone;
pub use published::{DomainSums, DomainTotals, Governed, OwnCost, Published, Pushes, Who, WorkloadTotals};
pub use refused::{Cause, Refused, RefusedCounts};
