//! Clients at the command line: what one of them has of its own is given and taken away again.

use std::fs;

use serde_json::Value;

use super::images::system;
use crate::Site;

/// The section of the client in the configuration, option by option.
fn section(site: &Site) -> Vec<String> {
    let text = fs::read_to_string(site.path("bramble")).expect("a configuration");
    let (_, client) = text.split_once("config client").expect("a client");
    client.lines().map(|line| line.trim().replace("option ", "")).filter(|line| !line.is_empty()).collect()
}

/// What the web pages learn of it.
fn own(site: &Site) -> Value {
    let list: Value = serde_json::from_str(&site.told(&["client", "list", "--json"])).expect("JSON");
    list.pointer("/clients/0/own").cloned().expect("one client")
}

#[test]
fn room_image_and_address_are_given_and_taken_away() {
    let mut site = Site::new(46);
    let tree = system(&site);
    site.serve();
    site.told(&["image", "import", tree.to_str().expect("UTF-8"), "--name", "trixie"]);
    let adopt =
        |more: &[&str]| site.told(&[&["client", "adopt", "lab-01", "--name", "lab-01"], more].concat());
    adopt(&["--image", "trixie@1", "--ip", "127.77.0.146"]);
    let all =
        ["mac 'dc:a6:32:01:02:03'", "name 'lab-01'", "room 'lab'", "image 'trixie@1'", "ip '127.77.0.146'"];
    assert_eq!(section(&site), all);
    adopt(&["--image", "none"]);
    assert_eq!(section(&site), [all[0], all[1], all[2], all[4]], "only the image goes");
    adopt(&["--ip", "none"]);
    assert_eq!(section(&site), all[..3], "only the address goes");
    adopt(&["--room", "none"]);
    assert_eq!(section(&site), all[..2], "only the room goes");
    adopt(&["--room", "none"]);
    assert_eq!(section(&site), all[..2], "what is not there can be taken away");
}

#[test]
fn the_page_of_a_kiosk_is_given_and_taken_away() {
    let mut site = Site::new(47);
    site.serve();
    let room = "https://library.example/";
    site.told(&["room", "mode", "lab", "kiosk", "--page", room]);
    let told = site.told(&["client", "mode", "lab-01", "kiosk", "--page", "https://catalogue.example/"]);
    assert_eq!(told, "The mode is `kiosk`. No client that runs has to start again for it.\n");
    assert_eq!(own(&site)["page"], "https://catalogue.example/");
    site.told(&["client", "mode", "lab-01", "kiosk", "--page", "none"]);
    assert_eq!((&own(&site)["mode"], &own(&site)["page"]), (&"kiosk".into(), &Value::Null));
    let rooms: Value = serde_json::from_str(&site.told(&["room", "list", "--json"])).expect("JSON");
    assert_eq!(rooms["rooms"][0]["modes"]["kiosk_page"], room, "that of the room stays");
    let refused = site.refused(&["room", "mode", "lab", "kiosk", "--page", "none"]);
    let says = "nothing was changed, because the configuration would not be right";
    assert!(refused.contains(says) && refused.contains("kiosk_url"), "{refused}");
    site.told(&["room", "mode", "lab", "login"]);
    site.told(&["client", "mode", "lab-01", "room"]);
    assert_eq!((&own(&site)["mode"], &own(&site)["page"]), (&Value::Null, &Value::Null));
}

/// As from a script that does not wait, or from several administrators.
#[test]
fn many_are_adopted_and_forgotten_at_once() {
    const MANY: u8 = 16;
    let mut site = Site::new(77);
    site.serve();
    let mac = |n: u8| format!("b8:27:eb:00:00:{n:02x}");
    let at_once = |numbers: Vec<u8>, args: fn(&str, &str) -> Vec<String>| {
        std::thread::scope(|scope| {
            for n in numbers {
                let (site, args) = (&site, args(&mac(n), &format!("seat-{n:02}")));
                scope.spawn(move || site.told(&args.iter().map(String::as_str).collect::<Vec<_>>()));
            }
        });
    };
    let names = |site: &Site| -> Vec<String> {
        let list: Value = serde_json::from_str(&site.told(&["client", "list", "--json"])).expect("JSON");
        let clients = list["clients"].as_array().expect("a list");
        let mut names: Vec<String> =
            clients.iter().map(|client| client["name"].as_str().expect("a name").to_owned()).collect();
        names.sort();
        names
    };
    at_once((0..MANY).collect(), |mac, name| {
        ["client", "adopt", mac, "--name", name].map(str::to_owned).to_vec()
    });
    assert_eq!(names(&site).len(), usize::from(MANY) + 1);
    at_once((0..MANY).filter(|n| n % 2 == 0).collect(), |mac, _| {
        ["client", "forget", mac].map(str::to_owned).to_vec()
    });
    let mut left: Vec<String> = (0..MANY).filter(|n| n % 2 == 1).map(|n| format!("seat-{n:02}")).collect();
    left.insert(0, "lab-01".to_owned());
    assert_eq!(names(&site), left, "and nobody else was forgotten");
}
