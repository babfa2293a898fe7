//! What taking DHCP over has changed, and what it would change: for `takeover` and for the command line, which asks
//! without a daemon.

use super::answer::{Takeover, TakeoverChange};
use super::error::ApiError;
use super::{Api, chain};
use crate::service::takeover::apply::Place;
use crate::service::takeover::{Plan, Wanted};

impl Api {
    pub(super) fn takeover(&self) -> Result<Takeover, ApiError> {
        let wanted = Wanted::of(&self.config.borrow());
        let plan = Place::beside(&self.config_path).look(&wanted);
        plan.map(Takeover::from).map_err(|error| ApiError::Takeover(chain(&error)))
    }
}

impl From<Plan> for Takeover {
    fn from(plan: Plan) -> Self {
        let changes = plan.steps.into_iter().map(|step| TakeoverChange {
            path: step.path,
            from: step.from,
            to: step.to,
            why: step.why.to_owned(),
        });
        let networks = plan.record.changed.into_iter().map(|changed| changed.network);
        Self { changes: changes.collect(), networks: networks.collect(), notices: plan.notices }
    }
}
