use super::check::{Refused, check, family};
use super::*;
use crate::proto::eeprom::Chip;
use crate::proto::eeprom::image::Image;
use crate::proto::eeprom::sample::image as made;
use crate::types::revision::Model;

const PI: MacAddr = MacAddr::new([0xdc, 0xa6, 0x32, 1, 2, 3]);
const BEFORE: &str = "[all]\nBOOT_UART=0\nBOOT_ORDER=0xf12\n";
const BUILT: Moment = Moment::from_secs(1_785_847_093);

fn at(secs: i64) -> Moment {
    Moment::from_secs(1_795_435_200 + secs)
}

fn report(config: &str, updated: Moment) -> Report {
    Report {
        built: Some(BUILT),
        updated: Some(updated),
        config: Some(config.into()),
        revision: None,
        signed: 0,
        board_version: 1,
    }
}

fn settings(text: &str) -> Settings {
    text.parse().expect("settings")
}

struct Lab {
    _folder: tempfile::TempDir,
    store: Store,
    eeproms: Eeproms,
    bootloader: Bootloader,
}

/// One client that has said what is in its EEPROM, and a bootloader for it.
fn lab() -> Lab {
    let folder = tempfile::tempdir().expect("a folder");
    let place = folder.path().join("tree/lib/firmware/raspberrypi/bootloader-2711/default");
    std::fs::create_dir_all(&place).expect("made");
    std::fs::write(place.join("pieeprom-2026-08-04.bin"), made(Chip::Bcm2711, "[all]\n")).expect("written");
    let bootloader = crate::service::images::bootloader::find(
        &folder.path().join("tree"),
        Chip::Bcm2711,
        crate::service::images::bootloader::Release::Default,
    )
    .expect("found");
    let store = Store::open(&folder.path().join("bramble.db")).expect("a store");
    let eeproms = Eeproms::open(folder.path(), &store).expect("opened");
    eeproms.reported(PI, &"boot-1".into(), report(BEFORE, at(-1000)), at(0));
    Lab { _folder: folder, store, eeproms, bootloader }
}

impl Lab {
    fn ask(&self, text: &str) -> Rollout {
        let (settings, entry) = (settings(text), self.eeproms.get(PI));
        let config = check(
            Chip::Bcm2711,
            entry.said.as_ref(),
            entry.rollout.as_ref(),
            &self.bootloader.image,
            Some(&settings),
        );
        let image =
            ImageVersion { name: "trixie".parse().expect("a name"), version: crate::types::Version::FIRST };
        let config = config.expect("it can be written");
        let wanted =
            Wanted { mac: PI, settings: Some(settings), config, image, bootloader: &self.bootloader };
        self.eeproms.roll_out(wanted, &self.store, at(10)).expect("prepared")
    }

    fn state(&self) -> (State, String) {
        let rollout = self.eeproms.get(PI).rollout.expect("a rollout");
        (rollout.state, rollout.why)
    }

    fn files(&self) -> usize {
        std::fs::read_dir(self.eeproms.folder.as_ref().expect("a folder")).expect("read").count()
    }

    fn text(&self, name: &str) -> Option<String> {
        match self.eeproms.answer(PI, name).expect("it concerns the EEPROM") {
            Some(Content::Text(text)) => Some(String::from_utf8(text).expect("text")),
            Some(Content::File { .. }) => panic!("a file"),
            None => None,
        }
    }
}

const ORDER: &str = "BOOT_ORDER=0xf21";

#[test]
fn an_update_is_offered_once_and_applied_when_the_client_says_so() {
    let lab = lab();
    assert!(!lab.eeproms.is_offered(PI) && lab.text("pieeprom.sig").is_none(), "only when asked");
    let rollout = lab.ask(ORDER);
    assert_eq!(rollout.after.as_str(), "[all]\nBOOT_UART=0\nBOOT_ORDER=0xf21\n", "its other settings stay");
    assert!(lab.eeproms.is_offered(PI));
    let signature = lab.text("pieeprom.sig").expect("offered");
    assert_eq!(signature, format!("{}\nts: {}\ntarget-soc: 2711\n", rollout.sha256, at(10).secs()));
    let Some(Some(Content::File { mut file, len })) = lab.eeproms.answer(PI, "pieeprom.upd") else {
        panic!("no file")
    };
    let mut bytes = Vec::new();
    io::Read::read_to_end(&mut file, &mut bytes).expect("read");
    assert_eq!((bytes.len() as u64, hex(&sum(&bytes))), (len, rollout.sha256.clone()));
    assert_eq!(Image::parse(bytes).expect("an image").config(), rollout.after.as_str());
    let other = MacAddr::new([2, 0, 0, 0, 0, 9]);
    assert!(matches!(lab.eeproms.answer(other, "pieeprom.sig"), Some(None)), "nobody else");
    assert!(lab.eeproms.answer(PI, "start4.elf").is_none(), "other files are not its business");
    assert!(matches!(lab.eeproms.answer(PI, "RECOVERY.BIN"), Some(None)), "never from an image");

    lab.eeproms.sent(PI, "dc-a6-32-01-02-03/config.txt", at(20));
    assert_eq!(lab.state().0, State::Asked);
    lab.eeproms.sent(PI, "dc-a6-32-01-02-03/pieeprom.upd", at(21));
    assert_eq!(lab.state().0, State::Fetched);
    assert!(!lab.eeproms.is_offered(PI) && lab.text("pieeprom.sig").is_none(), "once");
    assert!(!lab.eeproms.is_tried(&settings(ORDER), "pieeprom-2026-08-04.bin"));
    lab.eeproms.reported(PI, &"boot-2".into(), report(rollout.after.as_str(), rollout.at), at(60));
    assert_eq!(lab.state(), (State::Applied, String::new()));
    assert!(lab.eeproms.is_tried(&settings(ORDER), "pieeprom-2026-08-04.bin"));
    assert_eq!(lab.files(), 1, "the thread that hears of it does not wait for the disk");
    lab.eeproms.save(&lab.store).expect("saved");
    assert_eq!(lab.files(), 0, "nobody waits for it any more");
}

/// Whether it was fetched, the start and the words of the report, and what becomes of it.
type Row<'a> = (bool, &'a str, &'a dyn Fn(&Rollout) -> Report, State, &'a str);

#[test]
fn what_did_not_work_says_how() {
    let others = report("[all]\nBOOT_UART=1\nBOOT_ORDER=0xf12\n", at(500));
    let after = |rollout: &Rollout| report(rollout.after.as_str(), rollout.at);
    #[rustfmt::skip]
    let rows: [Row<'_>; 7] = [
        (false, "boot-1", &|_| report(BEFORE, at(-1000)), State::Asked, ""),
        (false, "boot-2", &|_| report(BEFORE, at(-1000)), State::Failed, "it started again and did not ask for the file: it did not boot from the network, or its bootloader does not update itself"),
        (false, "boot-2", &|_| others.clone(), State::Failed, "its EEPROM was written by somebody else meanwhile; ask again"),
        (true, "boot-2", &|_| report(BEFORE, at(-1000)), State::Failed, "it took the file and did not write it: its EEPROM is write-protected, or the file did not arrive whole; look at its screen at the next start"),
        (true, "boot-2", &|rollout| report(BEFORE, rollout.at), State::Failed, "it was written, and other settings are in force: a condition in them, or somebody's hand"),
        (true, "boot-2", &|rollout| Report { updated: None, ..after(rollout) }, State::Applied, ""),
        (true, "boot-2", &|rollout| Report { config: None, ..after(rollout) }, State::Applied, ""),
    ];
    for (number, (fetched, boot_id, said, state, why)) in rows.into_iter().enumerate() {
        let lab = lab();
        let rollout = lab.ask(ORDER);
        if fetched {
            lab.eeproms.sent(PI, "pieeprom.upd", at(20));
        }
        lab.eeproms.reported(PI, &boot_id.into(), said(&rollout), at(60));
        assert_eq!(lab.state(), (state, why.to_owned()), "row {number}");
    }
}

#[test]
fn it_outlives_a_restart_and_can_be_taken_back() {
    let lab = lab();
    let rollout = lab.ask(ORDER);
    lab.eeproms.save(&lab.store).expect("saved");
    let data = lab.eeproms.folder.as_ref().and_then(|folder| folder.parent()).expect("a folder").to_owned();
    std::fs::write(data.join("eeprom/.left.upd.new"), b"half").expect("written");
    let again = Eeproms::open(&data, &lab.store).expect("opened");
    assert_eq!(again.get(PI), lab.eeproms.get(PI));
    assert!(again.is_offered(PI) && !data.join("eeprom/.left.upd.new").exists());
    assert!(
        again.cancel(PI, &lab.store, at(30)).expect("cancelled")
            && !again.cancel(PI, &lab.store, at(30)).expect("nothing left")
    );
    assert!(!again.is_offered(PI));
    assert_eq!(again.get(PI).rollout, None);

    // What was written is written back from what was there before.
    lab.eeproms.sent(PI, "pieeprom.upd", at(20));
    assert!(!lab.eeproms.cancel(PI, &lab.store, at(3619)).expect("asked"), "it may be writing it");
    lab.eeproms.reported(PI, &"boot-2".into(), report(rollout.after.as_str(), rollout.at), at(60));
    let entry = lab.eeproms.get(PI);
    let back = check(Chip::Bcm2711, entry.said.as_ref(), entry.rollout.as_ref(), &lab.bootloader.image, None);
    assert_eq!(back.as_deref(), Ok(BEFORE));
    lab.eeproms.forget(PI);
    assert_eq!(lab.eeproms.get(PI), Entry::default());
}

#[test]
fn an_update_is_always_later_than_the_one_before() {
    let lab = lab();
    lab.eeproms.reported(PI, &"boot-1".into(), report(BEFORE, at(5000)), at(0));
    assert_eq!(lab.ask(ORDER).at, at(5001), "its clock was ahead of ours");
}

#[test]
fn who_is_given_nothing_is_told_why() {
    let image = Image::parse(made(Chip::Bcm2711, "[all]\n")).expect("an image");
    let said = |change: &dyn Fn(&mut Report)| {
        let mut report = report(BEFORE, at(-1000));
        change(&mut report);
        Said { at: at(0), boot_id: "boot-1".into(), report }
    };
    let config = |text: &'static str| move |report: &mut Report| report.config = Some(text.into());
    #[rustfmt::skip]
    let rows: Vec<(Option<Said>, &str, &str)> = vec![
        (None, ORDER, "it has not said what is in its EEPROM; start it once from an image of Bramble, and leave it on for a minute"),
        (Some(said(&|report| report.config = None)), ORDER, "its agent cannot read the settings of its EEPROM, and what they are must be known; the kernel of its image is too old"),
        (Some(said(&|report| report.signed = 9)), ORDER, "it starts signed systems only (secure boot): changed settings would not be valid; sign and write them with Raspberry Pi's own tools"),
        (Some(said(&|report| report.built = Some(Moment::from_secs(1_600_000_000)))), ORDER, "its bootloader is of 2020-09-13, and one from before 2021 does not update itself over the network; write it with a card (`bramble enrol-medium`)"),
        (Some(said(&config("ENABLE_SELF_UPDATE=0\nBOOT_ORDER=0xf2\n"))), ORDER, "its EEPROM has `ENABLE_SELF_UPDATE=0`, so it takes no update over the network; write it with a card (`bramble enrol-medium`)"),
        (Some(said(&config("FREEZE_VERSION=1\nBOOT_ORDER=0xf2\n"))), ORDER, "its EEPROM has `FREEZE_VERSION=1`, so it takes no update over the network; write it with a card (`bramble enrol-medium`)"),
        (Some(said(&|report| report.built = Some(at(0)))), ORDER, "its bootloader is of 2026-11-23, newer than that of the image (2026-08-04); take an image with a newer `rpi-eeprom`, or `--release latest`"),
        (Some(said(&|report| report.board_version = 2)), ORDER, "the board wants a newer bootloader than the image has; take an image with a newer `rpi-eeprom`"),
        (Some(said(&|_| {})), "PSU_MAX_CURRENT=3000", "a Pi 4 has no PSU_MAX_CURRENT"),
        (Some(said(&|_| {})), "BOOT_WATCHDOG_TIMEOUT=60", "the bootloader of the image does not know BOOT_WATCHDOG_TIMEOUT yet; take an image with a newer `rpi-eeprom`, or `--release latest`"),
        (Some(said(&config("[all]\n"))), "HDMI_DELAY=0", "with BOOT_ORDER as it is now (not set) it would never try the network again; ask for BOOT_ORDER=0xf21 too"),
        (Some(said(&config("BOOT_ORDER=0xf41\n"))), "HDMI_DELAY=0", "with BOOT_ORDER as it is now (0xf41) it would never try the network again; ask for BOOT_ORDER=0xf21 too"),
        (Some(said(&config("[all]\nBOOT_ORDER=0xf21\n"))), ORDER, "it has this bootloader and these settings"),
    ];
    for (said, text, why) in rows {
        let refused = check(Chip::Bcm2711, said.as_ref(), None, &image, Some(&settings(text)));
        assert_eq!(refused.map_err(|error| error.to_string()), Err(why.to_owned()));
    }
    #[rustfmt::skip]
    let rows = [
        (false, Some(Model::Pi4B), Err(Refused::NotAdopted)), (true, None, Err(Refused::NoModel)),
        (true, Some(Model::Pi3B), Err(Refused::NoEeprom(Model::Pi3B))), (true, Some(Model::Cm4), Err(Refused::Cm4)),
        (true, Some(Model::Pi400), Ok(Chip::Bcm2711)), (true, Some(Model::Cm5), Ok(Chip::Bcm2712)),
    ];
    for (adopted, model, expected) in rows {
        assert_eq!(family(adopted, model), expected, "{model:?}");
    }
}

#[test]
fn agents_that_come_and_go_do_not_grow_it() {
    let lab = lab();
    for n in 0..u32::try_from(limits::EEPROMS).expect("small") + 20 {
        let [_, a, b, c] = n.to_be_bytes();
        lab.eeproms.reported(
            MacAddr::new([2, 0, 0, a, b, c]),
            &"x".into(),
            report(BEFORE, at(0)),
            at(i64::from(n)),
        );
    }
    assert!(lab.eeproms.lock().of.len() <= limits::EEPROMS);
}

#[test]
fn what_one_client_is_offered_stays_while_the_updates_of_others_end() {
    use std::sync::atomic::{AtomicBool, Ordering};
    /// However the round ends, the one that tidies up ends with it.
    struct Over<'a>(&'a AtomicBool);
    impl Drop for Over<'_> {
        fn drop(&mut self) {
            self.0.store(true, Ordering::Relaxed);
        }
    }
    let (lab, over) = (lab(), AtomicBool::new(false));
    std::thread::scope(|scope| {
        let _over = Over(&over);
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                lab.eeproms.tidy();
            }
        });
        for n in 1..40 {
            // Each is another file.
            lab.eeproms.reported(PI, &"boot-1".into(), report(BEFORE, at(n * 100)), at(0));
            lab.ask(ORDER);
            let offered = lab.eeproms.answer(PI, "pieeprom.upd");
            assert!(matches!(offered, Some(Some(Content::File { .. }))), "round {n}");
        }
    });
}

#[test]
fn an_update_whose_end_is_never_told_can_be_forgotten() {
    let lab = lab();
    lab.ask(ORDER);
    lab.eeproms.sent(PI, "pieeprom.upd", at(20));
    assert!(!lab.eeproms.cancel(PI, &lab.store, at(3619)).expect("asked"), "it may be writing it");
    assert!(lab.eeproms.cancel(PI, &lab.store, at(3620)).expect("forgotten"));
    assert_eq!((lab.eeproms.get(PI).rollout, lab.files()), (None, 0));
}
