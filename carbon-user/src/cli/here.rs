//! `--here`: the place of this machine, by the metadata service of its cloud.

use super::options::{Measuring, yes_or_no};
use crate::provider::metadata;
use clap::Args;

/// Whether the cloud is asked.
#[derive(Args, Clone, Debug, Default, PartialEq, Eq)]
pub struct HereArgs {
    /// Take the region that the metadata service of this machine's cloud tells as the place, with its PUE; where none tells one,
    /// --zone holds, and that is said.
    #[arg(long, env = "CARBON_HERE", num_args = 0..=1, require_equals = true, default_value = "false",
          default_missing_value = "true", value_name = "BOOL", value_parser = yes_or_no)]
    pub here: bool,
    /// With --here: where the metadata service is, if not at its own address.
    #[arg(long, value_name = "URL")]
    pub metadata_url: Option<String>,
}

impl HereArgs {
    /// Asks once, and at most three services for 0.8 s each; gives what must be said where none answers. Not for the loop that
    /// closes windows.
    pub(super) fn find(&self, measuring: &mut Measuring, offline: bool) -> Option<String> {
        if !self.here {
            return None;
        }
        match metadata::region(offline, self.metadata_url.as_deref()) {
            Ok(region) => {
                measuring.set_zone(region.name());
                None
            }
            Err(error) => Some(format!("where this machine is cannot be told: {error}")),
        }
    }
}
