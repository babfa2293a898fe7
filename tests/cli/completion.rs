//! What shells offer, by the scripts that the program prints.

use std::process::Command;

use crate::{PROGRAM, text};

/// What bash offers after `line`, by the script that the program prints.
fn completed(line: &str) -> Vec<String> {
    let words: Vec<String> = line.split(' ').map(|word| format!("'{word}'")).collect();
    let script = format!(
        "eval \"$(\"$0\" completion bash)\"; COMP_WORDS=({}); COMP_CWORD={}; _bramble; printf '%s\\n' \"${{COMPREPLY[@]}}\"",
        words.join(" "),
        words.len() - 1
    );
    let output = Command::new("bash").args(["-c", &script, PROGRAM]).output().expect("bash");
    assert!(output.status.success(), "{}", text(&output.stderr));
    text(&output.stdout).lines().filter(|line| !line.is_empty()).map(str::to_owned).collect()
}

#[test]
fn bash_completes_commands_and_options() {
    assert_eq!(completed("bramble im"), ["image"]);
    assert_eq!(completed("bramble --json cli"), ["client"]);
    assert_eq!(completed("bramble client a"), ["adopt"]);
    assert_eq!(completed("bramble client adopt lab-01 --na"), ["--name"]);
    assert_eq!(completed("bramble image import x.img --sh"), ["--sha256"]);
    assert_eq!(completed("bramble completion b"), ["bash"]);
    assert!(completed("bramble job ").contains(&"cancel".to_owned()));
    assert_eq!(completed("bramble nonsense"), [""; 0]);
    assert_eq!(completed("bramble --json client adopt --js"), ["--json"]);
    let ash = Command::new(PROGRAM).args(["completion", "ash"]).output().expect("ran");
    assert_eq!(ash.status.code(), Some(2));
}

/// What zsh or fish offers after `line`; `None` where the shell is not installed, which is a failure in CI.
fn offered(shell: &str, line: &str) -> Option<String> {
    let script = match shell {
        // Its completion needs a terminal: the words are given by hand, and what it would offer is printed.
        "zsh" => format!(
            "compdef() {{ :; }}; _files() {{ :; }}; compadd() {{ print -rl -- $offered; }}; eval \"$($0 completion zsh)\"; \
             words=({line}); CURRENT=$#words; _bramble"
        ),
        _ => format!("$argv[1] completion fish | source; complete -C '{}'", line.replace("''", "")),
    };
    let output = Command::new(shell).args(["-c", &script, PROGRAM]).output();
    let Ok(output) = output else {
        assert!(std::env::var_os("BRAMBLE_REQUIRE_PEERS").is_none(), "{shell} is not installed");
        return None;
    };
    assert!(output.status.success() && output.stderr.is_empty(), "{shell}: {}", text(&output.stderr));
    Some(text(&output.stdout))
}

#[test]
fn zsh_and_fish_complete_commands_and_options() {
    for (shell, line, wanted, not) in [
        ("zsh", "bramble ''", "client", "adopt"),
        ("zsh", "bramble client ''", "adopt", "image"),
        ("zsh", "bramble --json image import x.img ''", "--sha256", "--room"),
        ("fish", "bramble ''", "client\tClients: the Pis of this network", "adopt"),
        ("fish", "bramble client ''", "adopt", "image"),
        ("fish", "bramble --json image import x.img --''", "--sha256", "--room"),
    ] {
        let Some(offered) = offered(shell, line) else { continue };
        assert!(offered.lines().any(|one| one.starts_with(wanted)), "{shell}, {line}: {offered}");
        assert!(!offered.lines().any(|one| one.starts_with(not)), "{shell}, {line}: {offered}");
    }
}
