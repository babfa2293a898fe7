//! A small school in the laboratory: two rooms, people in classes, some of them at work. For whoever wants to look at
//! Bramble at work (`bramble demo --stay`), for the pictures of the web pages, and for the answers their tests are held
//! against.
//!
//! Everything is set up as an administrator would, with the command line.

use std::fmt::Write as _;
use std::fs;
use std::io;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::mpsc::sync_channel;

use super::classroom::{Classroom, ClassroomError};
use super::net::Machine;
use super::pi::life::End;
use super::pi::seat::Seated;
use super::pi::{Board, News, Options, Up, power_on};
use super::sample::Release;
use super::server::Site;
use crate::types::{Secret, UserName};

/// Rooms and shares beside the `classroom` that every laboratory has.
const MORE: &str = "
config room 'library'
	option image 'sample'

config share 'materials'

config share 'homework'
	option access 'handin'
	list class 'class-7b'
";

/// Log-in name, full name, class, role.
const PEOPLE: [(&str, &str, &str, &str); 12] = [
    ("amira", "Amira Haddad", "class-7a", "pupil"),
    ("ben", "Ben Okafor", "class-7a", "pupil"),
    ("chloe", "Chloé Martin", "class-7a", "pupil"),
    ("dmitri", "Dmitri Wolf", "class-7b", "pupil"),
    ("elif", "Elif Yılmaz", "class-7b", "pupil"),
    ("farid", "Farid Rahimi", "class-7b", "pupil"),
    ("greta", "Greta Lindqvist", "class-7b", "pupil"),
    ("hugo", "Hugo Fernández", "chess", "pupil"),
    ("ines", "Inês Carvalho", "chess", "pupil"),
    ("jana", "Jana Novák", "class-7a", "pupil"),
    ("kofi", "Kofi Mensah", "class-7b", "pupil"),
    ("ms-weber", "Sabine Weber", "colleagues", "teacher"),
];

/// What everybody's password is.
const PASSWORD: &str = "bramble-demo";

/// Pis of the room called `library`; one of them has got no image yet, and one more Pi is not adopted.
const LIBRARY: u16 = 3;

/// People who are logged in.
const BUSY: usize = 5;

/// Why there is no school.
#[derive(Debug, thiserror::Error)]
pub enum SchoolError {
    #[error(transparent)]
    Classroom(#[from] ClassroomError),
    #[error(transparent)]
    Server(#[from] super::server::ServerError),
    #[error("the list of people cannot be written")]
    People(#[source] io::Error),
    #[error("`{0}` cannot log in: {1}")]
    LogIn(UserName, String),
}

/// The school, for as long as it is held.
#[derive(Debug)]
pub struct School {
    pub room: Classroom,
    /// Boards that came up, by number.
    pub ups: Vec<(usize, Box<Up>)>,
    pub seated: Vec<Seated>,
}

impl School {
    /// Sets everything up, boots `clients` Pis (five or more) and has people log in. `watch` hears the news of the boot.
    pub fn open(
        program: &Path,
        folder: &Path,
        clients: u16,
        watch: impl FnMut(Option<(usize, News)>) -> ControlFlow<()>,
    ) -> Result<Self, SchoolError> {
        let boards: Vec<Board> = (0..clients).map(Board::nth).collect();
        let mut site = Site::new(folder, Vec::new());
        MORE.clone_into(&mut site.more_bramble);
        let mut room = Classroom::with_site(program, site, boards)?;
        room.import_sample(Release::Trixie)?;
        enrol(&room)?;
        adopt(&room, clients)?;
        let outcomes = room.boot(Options { skip_walk: true }, watch)?;
        // Those that nobody adopted, or that have no image, do not come up; that is what they are for.
        let ups: Vec<(usize, Box<Up>)> =
            outcomes.into_iter().enumerate().filter_map(|(n, outcome)| Some((n, outcome.ok()?))).collect();
        let at_work: Vec<(usize, &Up)> = ups.iter().take(BUSY).map(|(n, up)| (*n, &**up)).collect();
        let who = |n: usize| {
            let (name, ..) = PEOPLE.get(n % PEOPLE.len()).copied().unwrap_or_default();
            (name.parse::<UserName>(), PASSWORD.parse::<Secret>())
        };
        let names: Vec<UserName> = at_work.iter().filter_map(|(n, _)| who(*n).0.ok()).collect();
        let seated = room.log_in(&at_work, |n| match who(n) {
            (Ok(name), Ok(secret)) => (name, secret),
            _ => unreachable!("the names above are names"),
        });
        let seated =
            seated.into_iter().zip(names).map(|(one, name)| one.map_err(|why| SchoolError::LogIn(name, why)));
        let seated = seated.collect::<Result<_, _>>()?;
        Ok(Self { room, ups, seated })
    }

    /// Leaves the Pis to themselves: each does what it is told, and boots again when it is told that. They live as long as the room
    /// that is given back.
    pub fn live(self) -> Result<Classroom, SchoolError> {
        let Self { room, ups, seated } = self;
        let mut seated = seated.into_iter();
        for (n, up) in ups {
            let (Some(machine), seated) = (room.machine(n).cloned(), seated.next()) else { continue };
            let thread = std::thread::Builder::new().name(format!("life-{n}"));
            thread.spawn(move || live(n, &machine, up, seated)).map_err(ClassroomError::PowerOn)?;
        }
        Ok(room)
    }
}

/// The life of one Pi, until it is switched off or the server is gone.
fn live(n: usize, machine: &Machine, mut up: Box<Up>, mut seated: Option<Seated>) {
    let board = up.board;
    while matches!(up.live(machine, seated.take()), Ok(End::Restart)) {
        // Nobody watches it.
        let (tell, _) = sync_channel(0);
        let options = Options { skip_walk: true };
        let Ok(boot) = power_on(board, machine.clone(), options, n, tell) else { return };
        match boot.join() {
            Ok(Ok(again)) => up = again,
            _ => return,
        }
    }
}

/// Everybody gets an account, by a list as schools have them.
fn enrol(room: &Classroom) -> Result<(), SchoolError> {
    let mut list = "login;full name;class;role;password\n".to_owned();
    for (name, full_name, class, role) in PEOPLE {
        writeln!(list, "{name};{full_name};{class};{role};{PASSWORD}")
            .expect("writing to a String cannot fail");
    }
    let path = room.server.site().folder.join("people.csv");
    fs::write(&path, list).map_err(SchoolError::People)?;
    room.server.tell(&["account", "import", "--apply", &path.to_string_lossy()])?;
    Ok(())
}

/// The last Pi stays a stranger, the one before it has neither room nor image.
fn adopt(room: &Classroom, clients: u16) -> Result<(), SchoolError> {
    let last = clients.saturating_sub(2);
    let library = last.saturating_sub(LIBRARY - 1);
    for (board, n) in room.boards.iter().zip(0..clients.saturating_sub(1)) {
        let mac = board.mac.to_string();
        let adopt = |name: String, room_name: Option<&str>| {
            let mut words = vec!["client", "adopt", mac.as_str(), "--name", name.as_str()];
            words.extend(room_name.into_iter().flat_map(|room| ["--room", room]));
            room.server.tell(&words)
        };
        if n == last {
            adopt("desk".to_owned(), None)?;
        } else if n >= library {
            adopt(format!("library-{:02}", n - library + 1), Some("library"))?;
        } else {
            adopt(format!("lab-{:02}", n + 1), Some("classroom"))?;
        }
    }
    Ok(())
}
