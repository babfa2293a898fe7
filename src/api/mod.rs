//! What people and programs can ask of the daemon: a table of methods, typed answers, refusals that say what to do.
//!
//! [`Api::call`] carries out one method and does not know who asks: the unix socket of the command line, or
//! ubus. It blocks (the store, the disk), so its callers give it a thread for that. Whatever takes long is a job, and
//! the method that starts it answers at once.

mod accounts;
mod actions;
mod adopt;
mod args;
mod backup;
mod catalogue;
mod clients;
mod eeprom;
mod homes;
mod image_forms;
mod image_life;
mod image_versions;
mod images;
mod modes;
mod overview;
mod plan;
mod screens;
mod service;
mod sessions;
pub mod takeover;
mod uploads;

pub mod answer;
pub mod error;
pub mod methods;
pub mod roles;

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::SystemTime;

use portable_atomic::AtomicU64;
use serde::Serialize;
use serde_json::{Value, json};
use tokio::sync::{mpsc, oneshot, watch};

use self::args::Args;
pub use self::error::{ApiError, Refusal};
pub use self::methods::{METHODS, Method};
use crate::config::Config;
use crate::config::problem::Problems;
use crate::service::accounts::Accounts;
use crate::service::backup::Backups;
use crate::service::clients::Clients;
use crate::service::eeprom::Eeproms;
use crate::service::events::Events;
use crate::service::health::Health;
use crate::service::homes::Homes;
use crate::service::images::Images;
use crate::service::images::catalogue::Catalogues;
use crate::service::images::library::Library;
use crate::service::jobs::Jobs;
use crate::service::leases::Now;
use crate::service::room::actions::Actions;
use crate::service::room::agents::Agents;
use crate::service::room::console::Consoles;
use crate::service::room::screens::Screens;
use crate::service::room::vitals::Vitals;
use crate::service::sessions::Sessions;
use crate::service::shares::Shares;
use crate::store::Store;
use crate::types::{Moment, chain};

/// Whether a method waits for a client or another server: then others do not wait for it.
pub fn waits_for_others(method: &str) -> bool {
    matches!(method, "screen_open" | "account_test")
}

/// Asks the daemon to load its configuration again, as SIGHUP does, and to say how that went.
pub type Reload = oneshot::Sender<Result<(), Problems>>;

/// Reads both clocks.
pub struct Clock(pub Box<dyn Fn() -> Now + Send + Sync>);

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Clock")
    }
}

/// Everything that methods look at or change.
#[derive(Debug)]
pub struct Api {
    pub store: Store,
    pub accounts: Accounts,
    pub clients: Arc<Clients>,
    pub events: Arc<Events>,
    pub images: Arc<Images>,
    pub library: Library,
    pub catalogues: Catalogues,
    pub jobs: Jobs,
    pub homes: Homes,
    pub shares: Shares,
    pub backups: Backups,
    pub health: Arc<Health>,
    pub sessions: Arc<Sessions>,
    pub actions: Arc<Actions>,
    pub agents: Arc<Agents>,
    pub vitals: Arc<Vitals>,
    pub consoles: Arc<Consoles>,
    pub eeproms: Arc<Eeproms>,
    pub screens: Arc<Screens>,
    pub clock: Clock,
    pub config: watch::Receiver<Arc<Config>>,
    /// The file that the configuration was read from.
    pub config_path: PathBuf,
    pub reload: mpsc::Sender<Reload>,
    pub started_at: Moment,
    /// Numbers what goes wrong on our side, so that an answer and a line of the log can be brought together.
    pub faults: AtomicU64,
}

impl Api {
    /// Carries out `method` and answers with the object that goes back to the caller.
    pub fn answer(&self, method: &str, params: Value) -> Value {
        match self.call(method, params) {
            Ok(answer) => json!({ "ok": answer }),
            Err(error) => json!({ "error": error.refusal() }),
        }
    }

    pub fn call(&self, method: &str, params: Value) -> Result<Value, ApiError> {
        let Some(row) = methods::find(method) else {
            let known = METHODS.iter().map(|method| method.name).collect::<Vec<_>>().join(", ");
            let shown = method.chars().take(crate::types::limits::NAME_SHOWN).collect();
            return Err(ApiError::NoSuchMethod { method: shown, known });
        };
        let args = Args::new(row, params);
        Ok(match row.name {
            "status" => value(self.status()?),
            "health" => value(self.health()),
            "check" => value(self.check()),
            "overview" => value(self.overview(&args)?),
            "events" => value(self.events(&args)?),
            "client_list" => value(self.client_list()),
            "client_get" => value(self.client_get(&args)?),
            "client_adopt" => value(self.client_adopt(&args)?),
            "client_forget" => value(self.client_forget(&args)?),
            "room_list" => value(self.room_list()),
            "mode_set" => value(self.mode_set(&args)?),
            "screen_open" => value(self.screen_open(&args)?),
            "screen_list" => value(self.screen_list()),
            "screen_close" => value(self.screen_close(&args)?),
            "screen_allow" => value(self.screen_allow(&args)?),
            "plan" => value(self.plan(&args)?),
            "client_action" => value(self.client_action(&args)?),
            "action_list" => value(self.action_list()),
            "action_get" => value(self.action_get(&args)?),
            "action_stop" => value(self.action_stop(&args)?),
            "eeprom_list" => value(self.eeprom_list()),
            "eeprom_set" => value(self.eeprom_set(&args)?),
            "eeprom_undo" => value(self.eeprom_undo(&args)?),
            "enrol_medium" => value(self.enrol_medium(&args)?),
            "image_list" => value(self.image_list()?),
            "image_show" => value(self.image_show(&args)?),
            "image_import" => value(self.image_import(&args)?),
            "image_catalogue" => value(self.image_catalogue(&args)?),
            "image_catalogue_refresh" => value(self.image_catalogue_refresh()?),
            "device_list" => value(self.device_list()?),
            "image_desktop" => value(self.image_desktop(&args)?),
            "upload_begin" => value(self.upload_begin(&args)?),
            "upload_slice" => value(self.upload_slice(&args)?),
            "upload_list" => value(self.upload_list()?),
            "upload_cancel" => value(self.upload_cancel(&args)?),
            "image_remove" => value(self.image_remove(&args)?),
            "image_draft" => value(self.image_draft(&args)?),
            "image_discard" => value(self.image_discard(&args)?),
            "image_publish" => value(self.image_publish(&args)?),
            "image_maintain" => value(self.image_maintain(&args)?),
            "image_shell" => value(self.image_shell(&args)?),
            "image_run" => value(self.image_run(&args)?),
            "image_test" => value(self.image_test(&args)?),
            "image_promote" => value(self.image_promote(&args)?),
            "image_rollback" => value(self.image_rollback(&args)?),
            "image_clone" => value(self.image_clone(&args)?),
            "image_export" => value(self.image_export(&args)?),
            "image_exports" => value(self.image_exports()?),
            "image_export_remove" => value(self.image_export_remove(&args)?),
            "image_rename" => value(self.image_rename(&args)?),
            "image_pack" => value(self.image_pack(&args)?),
            "home_usage" => value(self.home_usage()?),
            "home_measure" => value(self.home_measure()?),
            "home_return" => value(self.home_return(&args)?),
            "home_backup" => value(self.home_backup(&args)?),
            "home_restore" => value(self.home_restore(&args)?),
            "share_list" => value(self.share_list()?),
            "session_list" => value(self.session_list(&args)?),
            "session_end" => value(self.session_end(&args)?),
            "account_list" => value(self.account_list(&args)?),
            "account_get" => value(self.account_get(&args)?),
            "account_test" => value(self.account_test(&args)?),
            "account_add" => value(self.account_add(&args)?),
            "account_set" => value(self.account_set(&args)?),
            "account_password" => value(self.account_password(&args)?),
            "account_remove" => value(self.account_remove(&args)?),
            "account_import" => self.account_import(&args)?,
            "account_imported" => value(self.account_imported(&args)?),
            "account_export" => value(self.account_export(&args)?),
            "class_list" => value(self.class_list()?),
            "class_add" => value(self.class_add(&args)?),
            "class_set" => value(self.class_set(&args)?),
            "class_remove" => value(self.class_remove(&args)?),
            "class_move" => value(self.class_move(&args)?),
            "job_list" => value(self.job_list()?),
            "job_status" => value(self.jobs.status(args.need_number("job")?)?),
            "job_output" => value(self.job_output(&args)?),
            "job_cancel" => value(self.job_cancel(&args)?),
            "takeover" => value(self.takeover()?),
            name => {
                return Err(self.fault(&format!("method `{name}` is in the table and is not carried out")));
            }
        })
    }

    /// Notes in the log what went wrong on our side.
    fn fault(&self, error: &str) -> ApiError {
        let request = self.faults.fetch_add(1, Ordering::Relaxed) + 1;
        tracing::error!(request, error, "a request could not be carried out");
        ApiError::Internal { request }
    }

    fn failed(&self, error: &(dyn std::error::Error + 'static)) -> ApiError {
        self.fault(&chain(error))
    }
}

fn value(answer: impl Serialize) -> Value {
    serde_json::to_value(answer).expect("answers are made of texts, numbers and lists")
}

#[expect(clippy::disallowed_methods, reason = "an answer says how old it is")]
fn now() -> Moment {
    Moment::from(SystemTime::now())
}
