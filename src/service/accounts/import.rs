//! Takes over a list of people: first what would become of each line, then all of it in one transaction.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};

use super::manage::{EditError, Search, Slip};
use super::sheet::{Column, Sheet, SheetLine, as_text, login_name};
use super::{Accounts, check_new, generate, is_taken_by_systems, password};
use crate::service::jobs::{Cancelled, Task, Unit};
use crate::store::accounts::{AccountChange, AccountRow, AccountStep, NewAccount};
use crate::types::time::parse_date;
use crate::types::{ClassName, FullName, PasswordHash, Role, Secret, UserName, limits};

/// What becomes of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Fate {
    /// A new account.
    Add,
    /// An account that is there changes.
    Change,
    /// An account that is there is as the line says.
    Same,
    /// Nothing, and the reason says why.
    Refused,
}

impl Fate {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Add => "add",
            Self::Change => "change",
            Self::Same => "same",
            Self::Refused => "refused",
        }
    }
}

/// One line of a list and its fate.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LineFate {
    /// In the file, from 1.
    pub line: u64,
    pub fate: Fate,
    pub name: String,
    pub full_name: String,
    pub classes: Vec<ClassName>,
    /// What changes, or why it is refused.
    pub says: String,
}

/// What a list does not say of people.
#[derive(Clone, Debug, Default)]
pub struct Defaults {
    /// For those whose line names no class.
    pub class: Option<ClassName>,
    pub role: Role,
}

/// What a list would do, and how.
#[derive(Debug)]
pub struct Plan {
    pub lines: Vec<LineFate>,
    pub new_classes: Vec<ClassName>,
    pub ignored: Vec<String>,
    drafts: Vec<Draft>,
}

/// A line that does something.
#[derive(Debug)]
enum Draft {
    Add(NewAccount, Given),
    Change(AccountRow, AccountChange),
}

/// The password that a line gives.
#[derive(Debug)]
enum Given {
    Nothing,
    Password(Secret),
    Hash(PasswordHash),
}

/// What came of an import.
#[derive(Debug)]
pub struct Imported {
    pub plan: Plan,
    /// The passwords that were made up.
    pub slips: Vec<Slip>,
}

/// New accounts with their hashes, and the passwords that were made up.
type Hashed = (Vec<NewAccount>, Vec<(UserName, Secret)>);

/// Why nothing was imported.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    #[error(transparent)]
    Edit(#[from] EditError),
    #[error(transparent)]
    Cancelled(#[from] Cancelled),
}

impl Plan {
    pub fn count(&self, fate: Fate) -> usize {
        self.lines.iter().filter(|line| line.fate == fate).count()
    }
}

/// What a line says, read.
struct Wanted {
    full_name: Option<FullName>,
    classes: Option<Vec<ClassName>>,
    role: Option<Role>,
    note: Option<String>,
    expires_at: Option<crate::types::Moment>,
    given: Given,
}

impl Accounts {
    /// What `sheet` would do. Nothing is written.
    pub fn plan(&self, sheet: &Sheet, defaults: &Defaults) -> Result<Plan, EditError> {
        let all = self.list(&Search { limit: usize::MAX, ..Search::default() })?.accounts;
        let known: HashMap<UserName, AccountRow> =
            all.into_iter().map(|account| (account.name.clone(), account)).collect();
        let classes: BTreeSet<ClassName> = self.classes()?.into_iter().map(|class| class.name).collect();
        let length = self.0.config.borrow().accounts.password_length;
        let mut called = HashMap::new();
        for account in known.values() {
            *called.entry(account.full_name.clone()).or_default() += 1;
        }
        let (named, new_classes) = (HashMap::new(), BTreeSet::new());
        let mut planner = Planner { known, called, classes, defaults, length, named, new_classes };
        let mut plan = Plan {
            lines: Vec::new(),
            new_classes: Vec::new(),
            ignored: sheet.ignored.clone(),
            drafts: Vec::new(),
        };
        for line in &sheet.lines {
            let (fate, draft) = planner.line(line);
            plan.lines.push(fate);
            plan.drafts.extend(draft);
        }
        plan.new_classes = planner.new_classes.into_iter().collect();
        Ok(plan)
    }

    /// Takes a list over, all of it; the answer has the passwords that were made up. Lines that are refused must be wanted
    /// to be left out.
    ///
    /// Hashing the passwords takes most of the time. It is done first, a few at a time, while others may go on changing
    /// accounts; if one of those changes matters to the list, nothing is imported.
    pub fn import(
        &self,
        sheet: &Sheet,
        defaults: &Defaults,
        leave_out_refused: bool,
        task: &Task,
    ) -> Result<Imported, ImportError> {
        let mut plan = self.plan(sheet, defaults)?;
        let refused = plan.count(Fate::Refused);
        if refused > 0 && !leave_out_refused {
            return Err(EditError::LinesRefused(refused).into());
        }
        let (mut adds, mut changes) = (Vec::new(), Vec::new());
        for draft in plan.drafts.drain(..) {
            match draft {
                Draft::Change(account, change) => changes.push(AccountStep::Set { uid: account.uid, change }),
                Draft::Add(new, given) => adds.push((new, given)),
            }
        }
        task.phase_in(Unit::People, "hashing passwords", u64::try_from(adds.len()).unwrap_or(u64::MAX))?;
        let (adds, told) = self.with_hashes(adds, task)?;
        let _editing = self.editing()?;
        if self.plan(sheet, defaults)?.lines != plan.lines {
            return Err(EditError::Meanwhile.into());
        }
        let class =
            |name: &ClassName| AccountStep::AddClass { name: name.clone(), note: String::new(), quota: None };
        let classes = plan.new_classes.iter().map(class);
        let steps: Vec<AccountStep> =
            classes.chain(changes).chain(adds.into_iter().map(AccountStep::Add)).collect();
        task.phase_in(Unit::People, "writing", 0)?;
        self.apply(&steps)?;
        tracing::info!(added = plan.count(Fate::Add), changed = plan.count(Fate::Change), "list imported");
        let slips = told
            .into_iter()
            .map(|(name, password)| Ok(Slip { account: self.account(&name)?, password }))
            .collect::<Result<_, EditError>>()?;
        Ok(Imported { plan, slips })
    }

    /// Gives each new account its hash, and answers with the passwords that were made up, in the order of the list.
    fn with_hashes(&self, adds: Vec<(NewAccount, Given)>, task: &Task) -> Result<Hashed, ImportError> {
        let next = Mutex::new(adds.into_iter().enumerate());
        let done = Mutex::new(Vec::new());
        let work = || {
            loop {
                let Some((at, (mut new, given))) = lock(&next).next() else { return Ok(()) };
                task.go_on()?;
                let told = self.with_hash(&mut new, given)?;
                task.advance(1);
                lock(&done).push((at, new, told));
            }
        };
        std::thread::scope(|scope| {
            let threads: Vec<_> = (0..limits::HASHES_AT_ONCE).map(|_| scope.spawn(work)).collect();
            let join = |thread: std::thread::ScopedJoinHandle<'_, Result<(), ImportError>>| {
                thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
            };
            // All are waited for, and the first that failed is told.
            threads.into_iter().map(join).fold(Ok(()), Result::and)
        })?;
        let mut done = done.into_inner().unwrap_or_else(PoisonError::into_inner);
        done.sort_by_key(|(at, ..)| *at);
        let mut hashed = (Vec::new(), Vec::new());
        for (_, new, told) in done {
            hashed.1.extend(told.map(|password| (new.name.clone(), password)));
            hashed.0.push(new);
        }
        Ok(hashed)
    }

    /// The password, if it was made up.
    fn with_hash(&self, new: &mut NewAccount, given: Given) -> Result<Option<Secret>, EditError> {
        let (hash, told) = match given {
            Given::Hash(hash) => (hash, None),
            Given::Password(password) => (self.0.local.hash(&password).map_err(EditError::Refused)?, None),
            Given::Nothing => {
                let password = generate::password().map_err(EditError::Random)?;
                let hash = generate::hash(&password).map_err(EditError::Random)?;
                new.must_change = true;
                (hash, Some(password))
            }
        };
        new.hash = Some(hash);
        Ok(told)
    }

    /// Keeps what came of the import that was job `job` until its slips are printed.
    pub fn keep_import(&self, job: u64, imported: Imported) {
        let mut kept = lock(&self.0.imports);
        kept.push((job, (self.0.clock)().up, imported));
        let over = kept.len().saturating_sub(limits::IMPORTS_KEPT);
        kept.drain(..over);
    }

    /// What came of the import that was job `job`, if that is not long ago.
    pub fn imported<T>(&self, job: u64, read: impl FnOnce(&Imported) -> T) -> Option<T> {
        let kept = lock(&self.0.imports);
        kept.iter().find(|(kept, ..)| *kept == job).map(|(.., imported)| read(imported))
    }

    /// Forgets passwords that were made up long ago.
    pub(super) fn forget_imports(&self) {
        let now = (self.0.clock)().up;
        lock(&self.0.imports).retain(|(_, at, _)| now.since(*at) < limits::IMPORTS_KEPT_FOR);
    }

    /// All accounts, or those of a class, as a list that [`Self::plan`] reads. It has no passwords, and no cell that a
    /// spreadsheet takes for a formula.
    pub fn export(&self, class: Option<&ClassName>) -> Result<String, EditError> {
        let accounts = match class {
            Some(class) => self.members(class)?,
            None => self.list(&Search { limit: usize::MAX, ..Search::default() })?.accounts,
        };
        let mut writer = csv::WriterBuilder::new().delimiter(b';').from_writer(Vec::new());
        let mut put = |cells: [&str; 6]| {
            writer
                .write_record(cells.map(|cell| as_text(cell).into_owned()))
                .expect("a list in memory takes every record of six cells");
        };
        put(["name", "full name", "class", "role", "note", "expires"]);
        for account in &accounts {
            let classes: Vec<&str> = account.classes.iter().map(|(name, _)| name.as_str()).collect();
            let expires = account.expires_at.map(crate::types::Moment::date).unwrap_or_default();
            put([
                account.name.as_str(),
                account.full_name.as_str(),
                &classes.join(", "),
                account.role.as_str(),
                &account.note,
                &expires,
            ]);
        }
        let bytes = writer.into_inner().expect("a list in memory has nothing to flush");
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

struct Planner<'a> {
    known: HashMap<UserName, AccountRow>,
    /// How many accounts there are of each full name.
    called: HashMap<FullName, usize>,
    classes: BTreeSet<ClassName>,
    defaults: &'a Defaults,
    length: u32,
    /// Names of earlier lines, and in which.
    named: HashMap<UserName, u64>,
    new_classes: BTreeSet<ClassName>,
}

impl Planner<'_> {
    fn line(&mut self, line: &SheetLine) -> (LineFate, Option<Draft>) {
        let full_name = full_name(line);
        let mut fate = LineFate {
            line: line.number,
            fate: Fate::Refused,
            name: line.get(Column::Name).unwrap_or_default().to_owned(),
            full_name: full_name.clone().unwrap_or_default(),
            classes: Vec::new(),
            says: String::new(),
        };
        match self.draft(line, full_name.as_deref(), &mut fate) {
            Ok(draft) => (fate, draft),
            Err(why) => {
                fate.says = why;
                (fate, None)
            }
        }
    }

    fn draft(
        &mut self,
        line: &SheetLine,
        full_name: Option<&str>,
        fate: &mut LineFate,
    ) -> Result<Option<Draft>, String> {
        let name = self.name(line, full_name)?;
        name.as_str().clone_into(&mut fate.name);
        if let Some(earlier) = self.named.insert(name.clone(), line.number) {
            return Err(format!("line {earlier} has the same name `{name}`"));
        }
        let wanted = self.wanted(line, full_name, &name)?;
        let classes = match (&wanted.classes, &self.defaults.class) {
            (Some(classes), _) => classes.clone(),
            (None, Some(class)) => vec![class.clone()],
            (None, None) => Vec::new(),
        };
        for class in &classes {
            self.class(class)?;
        }
        fate.classes.clone_from(&classes);
        if let Some(account) = self.known.get(&name) {
            if !matches!(wanted.given, Given::Nothing) {
                return Err(format!("there is an account `{name}`; a list gives passwords to new ones only"));
            }
            let change = change(account, &wanted, &classes);
            fate.says = says(&change);
            fate.fate = if fate.says.is_empty() { Fate::Same } else { Fate::Change };
            let draft = (fate.fate == Fate::Change).then(|| Draft::Change(account.clone(), change));
            self.new_classes.extend(classes.into_iter().filter(|class| !self.classes.contains(class)));
            return Ok(draft);
        }
        self.new_classes.extend(classes.iter().filter(|class| !self.classes.contains(*class)).cloned());
        fate.fate = Fate::Add;
        let new = NewAccount {
            name,
            full_name: wanted.full_name.unwrap_or_default(),
            note: wanted.note.unwrap_or_default(),
            role: wanted.role.unwrap_or(self.defaults.role),
            hash: None,
            must_change: false,
            enabled: true,
            expires_at: wanted.expires_at,
            quota: None,
            classes,
        };
        Ok(Some(Draft::Add(new, wanted.given)))
    }

    /// The name to log in with: the one that is given, else one made of what the person is called.
    fn name(&self, line: &SheetLine, full_name: Option<&str>) -> Result<UserName, String> {
        if let Some(given) = line.get(Column::Name) {
            let name: UserName = given.to_lowercase().parse().map_err(|_| {
                given.parse::<UserName>().map_or_else(|bad| bad.to_string(), |name| name.to_string())
            })?;
            if is_taken_by_systems(name.as_str())
                || name.as_str().parse().is_ok_and(|class: ClassName| self.classes.contains(&class))
            {
                return Err(format!(
                    "`{name}` is the name of a class or of a part of the system; choose another"
                ));
            }
            return Ok(name);
        }
        let full_name = full_name.ok_or("the line names nobody")?;
        let base = login_name(full_name);
        // Two of the same name who are there already cannot be told apart by it.
        let called = full_name.parse().ok().and_then(|name: FullName| self.called.get(&name));
        if called.is_some_and(|many| *many > 1) {
            return Err(format!(
                "several accounts are called `{full_name}`; add a column `name` that says which"
            ));
        }
        // The same person in a newer list keeps the account that an earlier one made.
        let free = |name: &UserName| {
            let same = self.known.get(name).is_none_or(|account| account.full_name.as_str() == full_name);
            let class = name.as_str().parse().is_ok_and(|class: ClassName| self.classes.contains(&class));
            same && !class && !self.named.contains_key(name) && !is_taken_by_systems(name.as_str())
        };
        let numbered = (1..=limits::SAME_NAMES).map(|number| {
            let tail = if number == 1 { String::new() } else { number.to_string() };
            let end = base.len().min(limits::USER_NAME - tail.len());
            format!("{}{tail}", base.get(..end).unwrap_or_default())
        });
        numbered.filter_map(|name| name.parse().ok()).find(free).ok_or_else(|| {
            format!("no name to log in with can be made of `{full_name}`; add a column `name`")
        })
    }

    /// A class must not be called as an account or a group of systems is.
    fn class(&self, class: &ClassName) -> Result<(), String> {
        let account = |name: &UserName| self.known.contains_key(name) || self.named.contains_key(name);
        if class.as_str().parse().is_ok_and(|name| account(&name)) || is_taken_by_systems(class.as_str()) {
            return Err(format!(
                "`{class}` is the name of an account or of a part of the system, and no class"
            ));
        }
        Ok(())
    }

    fn wanted(&self, line: &SheetLine, full_name: Option<&str>, name: &UserName) -> Result<Wanted, String> {
        let given = match (line.get(Column::Password), line.get(Column::Hash)) {
            (Some(_), Some(_)) => return Err("the line gives a password and a hash; remove one".to_owned()),
            (Some(text), None) => {
                let secret: Secret =
                    text.parse().map_err(|bad: crate::types::person::BadSecret| bad.to_string())?;
                check_new(name.as_str(), None, &secret, self.length)?;
                Given::Password(secret)
            }
            (None, Some(text)) => Given::Hash(password::accept(text).map_err(|bad| bad.to_string())?),
            (None, None) => Given::Nothing,
        };
        Ok(Wanted {
            full_name: full_name
                .map(str::parse)
                .transpose()
                .map_err(|bad: crate::types::person::BadFullName| bad.to_string())?,
            classes: line.get(Column::Class).map(class_names).transpose()?,
            role: line.get(Column::Role).map(role).transpose()?,
            note: line.get(Column::Note).map(ToOwned::to_owned),
            expires_at: line
                .get(Column::Expires)
                .map(parse_date)
                .transpose()
                .map_err(|bad| bad.to_string())?,
            given,
        })
    }
}

fn full_name(line: &SheetLine) -> Option<String> {
    if let Some(name) = line.get(Column::FullName) {
        return Some(name.to_owned());
    }
    let parts = [line.get(Column::FirstName), line.get(Column::LastName)];
    let name = parts.into_iter().flatten().collect::<Vec<_>>().join(" ");
    (!name.is_empty()).then_some(name)
}

/// `7b, Chess Club` is the classes `class-7b` and `chess-club`, and so is `Klasse 7b, chess-club`.
fn class_names(text: &str) -> Result<Vec<ClassName>, String> {
    let mut classes = BTreeSet::new();
    for part in text.split([',', ';', '|']).map(str::trim).filter(|part| !part.is_empty()) {
        classes
            .insert(class_name(part).ok_or_else(|| format!("no name of a class can be made of `{part}`"))?);
    }
    Ok(classes.into_iter().collect())
}

fn class_name(text: &str) -> Option<ClassName> {
    if let Ok(name) = text.parse() {
        return Some(name);
    }
    let name = login_name(text);
    let numbered = |name: &str| name.starts_with(|c: char| c.is_ascii_digit());
    let number = ["klasse-", "classe-", "class-"].iter().find_map(|word| name.strip_prefix(word));
    match number.unwrap_or(&name) {
        number if numbered(number) => format!("class-{number}").parse().ok(),
        _ => name.parse().ok(),
    }
}

fn role(text: &str) -> Result<Role, String> {
    match login_name(text).as_str() {
        "teacher" | "lehrer" | "lehrerin" | "lehrkraft" | "staff" | "enseignant" | "enseignante"
        | "professeur" => Ok(Role::Teacher),
        "pupil" | "student" | "schueler" | "schuelerin" | "eleve" => Ok(Role::Pupil),
        _ => Err(format!("`{text}` is not a role; write `pupil` or `teacher`")),
    }
}

/// What a line changes of an account that is there; what the line does not say stays.
fn change(account: &AccountRow, wanted: &Wanted, classes: &[ClassName]) -> AccountChange {
    let full_name = wanted.full_name.clone().filter(|name| *name != account.full_name);
    let note = wanted.note.clone().filter(|note| *note != account.note);
    let role = wanted.role.filter(|role| *role != account.role);
    let expires_at = wanted.expires_at.map(Some).filter(|at| *at != account.expires_at);
    let mut has: Vec<&ClassName> = account.classes.iter().map(|(name, _)| name).collect();
    has.sort();
    let other = !classes.is_empty() && !has.into_iter().eq(classes);
    AccountChange {
        full_name,
        note,
        role,
        expires_at,
        classes: other.then(|| classes.to_vec()),
        ..AccountChange::default()
    }
}

fn says(change: &AccountChange) -> String {
    let parts = [
        change.full_name.as_ref().map(|_| "full name"),
        change.note.as_ref().map(|_| "note"),
        change.role.map(|_| "role"),
        change.expires_at.map(|_| "expiry"),
        change.classes.as_ref().map(|_| "classes"),
    ];
    parts.into_iter().flatten().collect::<Vec<_>>().join(", ")
}
