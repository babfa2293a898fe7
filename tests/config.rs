//! The files that the package installs, held to the schema, and `bramble check` from file to message.

use std::fs;
use std::path::Path;

use bramble::config::load::load;
use bramble::config::schema;
use bramble::config::uci::Document;

const NETWORK: &str = "config interface 'lan'\n\toption device 'br-lan'\n\toption proto 'static'\n\toption ipaddr '192.168.1.1/24'\n";

/// Compares a file with what it should hold; `BRAMBLE_BLESS=1` writes it instead.
fn held_to(path: &str, expected: &str) {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    if std::env::var_os("BRAMBLE_BLESS").is_some() {
        fs::create_dir_all(file.parent().expect("a file is in a folder")).expect("the folder is made");
        fs::write(&file, expected).expect("the file is written");
    }
    let found = fs::read_to_string(&file).unwrap_or_default();
    assert!(
        found == expected,
        "{path} is not what the schema says; run `BRAMBLE_BLESS=1 cargo test --test config`"
    );
}

/// `uci_load_validate` of OpenWrt knows an option by its name, then its type, then its default.
#[test]
fn the_init_script_validates_the_options_of_the_schema() {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("openwrt/files/bramble.init");
    let script = fs::read_to_string(script).expect("the init script");
    let (_, validation) = script.split_once("validate_main() {").expect("a function");
    let (validation, _) = validation.split_once('}').expect("its end");
    let rows = validation.lines().filter_map(|line| line.trim().strip_prefix('\'')?.split('\'').next());
    let found: Vec<(&str, Option<&str>)> = rows
        .map(|row| {
            let name = row.split(':').next().unwrap_or_default();
            let default = row.rsplit_once(':').map(|(_, last)| last).filter(|_| row.matches(':').count() > 1);
            (name, default)
        })
        .collect();
    let main = schema::section("bramble").expect("a section");
    let expected: Vec<(&str, Option<&str>)> = main
        .options
        .iter()
        .map(|option| match option.default {
            schema::Absent::Value(value) => (option.name, Some(value)),
            schema::Absent::Required | schema::Absent::Unset => (option.name, None),
        })
        .collect();
    assert_eq!(found, expected, "openwrt/files/bramble.init, validate_main");
}

#[test]
fn the_default_file_comes_from_the_schema() {
    held_to("openwrt/files/bramble.config", &schema::default_file());
}

#[test]
fn the_default_file_is_right_as_it_is_and_with_every_line_that_it_shows() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("bramble");
    fs::write(folder.path().join("network"), NETWORK).expect("written");

    fs::write(&path, schema::default_file()).expect("written");
    let config = load(&path).unwrap_or_else(|problems| panic!("{problems}"));
    assert!(!config.enabled, "a new package serves nobody");
    assert_eq!(config.rooms.len() + config.clients.len(), 0);

    let shown: String = schema::default_file()
        .lines()
        .map(|line| {
            line.strip_prefix('#')
                .filter(|rest| rest.starts_with("config") || rest.starts_with('\t'))
                .unwrap_or(line)
        })
        .flat_map(|line| [line, "\n"])
        .collect();
    let external = shown.replace("'embedded'", "'external'").replace("'10.1.20.0/24'", "'192.168.2.0/24'");
    fs::write(&path, external.replace("option router '192.168.1.20'", "option router '192.168.2.20'"))
        .expect("written");
    let config = load(&path).unwrap_or_else(|problems| panic!("{problems}"));
    assert_eq!((config.rooms.len(), config.clients.len(), config.networks[0].relayed.len()), (1, 1, 1));
    let options: usize =
        Document::read(shown.as_bytes()).sections.iter().map(|section| section.options.len()).sum();
    assert_eq!(options, schema::SECTIONS.iter().map(|section| section.options.len()).sum::<usize>());
}

#[test]
fn problems_of_all_files_come_in_one_pass_in_the_order_of_files_and_lines() {
    let folder = tempfile::tempdir().expect("a folder");
    let at = |name: &str| folder.path().join(name).display().to_string();
    let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).expect("written");
    write(
        "bramble",
        "config bramble 'main'\n\toption data '/mnt/x'\n\toption enabled 'x'\nnonsense\n\toption log_level 'y'\n",
    );
    write(
        "network",
        "config interface 'lan'\n\toption proto 'static'\n\toption device 'br-lan'\n\toption ipaddr '1.2.3'\n",
    );
    write(
        "dhcp",
        "config dhcp 'lan'\n\toption interface 'lan'\n\toption start 'z'\n\tlist dhcp_option '6,x'\n\tset x\n",
    );
    write("system", "config system\n\toption zonename 'Europe/Berlin\n");
    let problems = load(Path::new(&at("bramble"))).expect_err("all are wrong");
    let (bramble, network, dhcp, system) = (at("bramble"), at("network"), at("dhcp"), at("system"));
    assert_eq!(
        problems.to_string(),
        format!(
            "{bramble}:3:17: main.enabled: `x` is neither on nor off; write `1` or `0`\n\
             {bramble}:4:1: not a UCI command; a line begins with `config`, `option`, `list` or `#`\n\
             {bramble}:5:19: main.log_level: `y` is not one of the choices; write `error` or `warn` or `info` or `debug` or `trace`\n\
             {network}:4:16: lan.ipaddr: `1.2.3` is not an IPv4 address; write one, such as `192.168.1.1`\n\
             {dhcp}:5:2: not a UCI command; a line begins with `config`, `option`, `list` or `#`\n\
             {system}:2:18: this quote is never closed; close it at the end of the value"
        ),
        "a network without an address has no pool or options to check"
    );
}

#[test]
fn a_missing_file_is_named_and_a_missing_dhcp_file_is_none() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("bramble");
    let problems = load(&path).expect_err("no file");
    assert_eq!(
        problems.to_string(),
        format!(
            "{}: there is no such file; install the package's own, or write one with `config bramble 'main'`",
            path.display()
        )
    );
    fs::write(&path, "config bramble 'main'\n\toption data '/mnt/x'\n").expect("written");
    let problems = load(&path).expect_err("no network");
    let network = folder.path().join("network").display().to_string();
    assert_eq!(
        problems.to_string(),
        format!(
            "{}:1:8: main.network: `lan` cannot be looked up: there is no file {network}; write one",
            path.display()
        )
    );
    fs::write(folder.path().join("network"), NETWORK).expect("written");
    load(&path).expect("dhcp and system may be missing");
}
