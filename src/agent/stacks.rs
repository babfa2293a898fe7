//! Log-in through Bramble in the PAM stacks that the image brings: text in, text out.
//!
//! Debian keeps what all services share in `common-auth`, `common-account`, `common-password` and `common-session`. Ours
//! is put before the first module that a success lets skip the rest (`[success=N …]`, as `pam-auth-update` writes), and
//! skips as far. Only members of the group [`GROUP`] are asked about; everybody else, root before all, goes through what
//! the image had.
//!
//! What `pam_exec` can do was tried on Debian: it hands a password to a program for `auth` everywhere, but for `password`
//! only from Linux-PAM 1.6 on, and never the old one. So new passwords go through a module of ours (`pam_module.c`), and
//! whether one is due is told by `pam_unix`, from the date in `shadow`.

use super::modes::GUEST;
use super::people::GROUP;

/// The program that `pam_exec` starts.
pub const HELPER: &str = "/run/bramble/agent";

/// The module for new passwords.
pub const MODULE: &str = "/run/bramble/pam_bramble.so";

/// First line of what is put in.
const BEGIN: &str = "# bramble: people of the server";

/// `common-auth` with the question for a password.
pub fn auth(text: &str) -> String {
    insert(text, "auth", &format!("pam_exec.so quiet quiet_log expose_authtok stdout {HELPER} pam"))
}

/// `common-account`: whether the person may still use this client.
pub fn account(text: &str) -> String {
    // `pam_unix` comes next and says whether the password has to be changed, so a success skips nothing.
    in_front(
        text,
        "account",
        &[
            format!("account\t[success=ignore default=1]\tpam_succeed_if.so quiet user ingroup {GROUP}"),
            format!("account\t[success=ignore default=die]\tpam_exec.so quiet quiet_log stdout {HELPER} pam"),
        ],
    )
}

/// `common-password` with the change of a password.
pub fn password(text: &str) -> String {
    insert(text, "password", MODULE)
}

/// `common-session`: home and shares come with the session, before anything else looks for them. So does the home of a guest
/// where there are some, who is in no group of ours.
pub fn session(text: &str, guests: bool) -> String {
    let helper = format!("session\trequired\tpam_exec.so quiet quiet_log stdout {HELPER} pam");
    let ours = |who: String| {
        [format!("session\t[success=ignore default=1]\tpam_succeed_if.so quiet user {who}"), helper.clone()]
    };
    let mut lines = ours(format!("ingroup {GROUP}")).to_vec();
    if guests {
        lines.extend(ours(format!("= {GUEST}")));
    }
    in_front(text, "session", &lines)
}

/// Before the first line of this kind.
fn in_front(text: &str, kind: &str, ours: &[String]) -> String {
    if text.lines().any(|line| line == BEGIN) {
        return text.to_owned();
    }
    let at = text.lines().position(|line| kind_of(line) == Some(kind)).unwrap_or(usize::MAX);
    put(text, at, ours)
}

/// Our module in place of the image's for our people: what the image does after a success is done after ours too.
fn insert(text: &str, kind: &str, module: &str) -> String {
    if text.lines().any(|line| line == BEGIN) {
        return text.to_owned();
    }
    let first = text
        .lines()
        .enumerate()
        .find_map(|(at, line)| (kind_of(line) == Some(kind)).then(|| Some((at, skips(line)?)))?);
    let (at, success) = match first {
        // Over our own refusal, over the image's module, and as far as that skips.
        Some((at, skips)) => (at, (skips + 2).to_string()),
        // A stack that somebody wrote by hand: after our success nothing more is asked.
        None => (
            text.lines().position(|line| kind_of(line) == Some(kind)).unwrap_or(usize::MAX),
            "done".to_owned(),
        ),
    };
    let ours = [
        format!("{kind}\t[success=ignore default=2]\tpam_succeed_if.so quiet user ingroup {GROUP}"),
        format!("{kind}\t[success={success} default=ignore]\t{module}"),
        format!("{kind}\trequisite\tpam_deny.so"),
    ];
    put(text, at, &ours)
}

fn put(text: &str, at: usize, ours: &[String]) -> String {
    let before = text.lines().take(at);
    let after = text.lines().skip(at);
    let lines = before.chain([BEGIN]).chain(ours.iter().map(String::as_str)).chain(after);
    lines.fold(String::new(), |text, line| text + line + "\n")
}

/// `auth`, `account`, … of a line; a `-` before it means that a missing module is not complained about.
fn kind_of(line: &str) -> Option<&str> {
    let word = line.split_whitespace().next()?;
    Some(word.strip_prefix('-').unwrap_or(word)).filter(|word| !word.starts_with(['#', '@']))
}

/// N of `[success=N …]`.
fn skips(line: &str) -> Option<usize> {
    let (_, control) = line.split_once('[')?;
    let (control, _) = control.split_once(']')?;
    control.split_whitespace().find_map(|pair| pair.strip_prefix("success=")?.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_success_of_ours_skips_as_far_as_the_images() {
        let text = "# made by pam-auth-update\n\nauth\t[success=2 default=ignore]\tpam_unix.so nullok\n\
                    auth\t[success=1 default=ignore]\tpam_sss.so use_first_pass\nauth\trequisite\tpam_deny.so\n\
                    auth\trequired\tpam_permit.so\nauth\toptional\tpam_cap.so\n";
        let expected = "# made by pam-auth-update\n\n# bramble: people of the server\n\
                        auth\t[success=ignore default=2]\tpam_succeed_if.so quiet user ingroup bramble\n\
                        auth\t[success=4 default=ignore]\tpam_exec.so quiet quiet_log expose_authtok stdout /run/bramble/agent pam\n\
                        auth\trequisite\tpam_deny.so\n\
                        auth\t[success=2 default=ignore]\tpam_unix.so nullok\n\
                        auth\t[success=1 default=ignore]\tpam_sss.so use_first_pass\nauth\trequisite\tpam_deny.so\n\
                        auth\trequired\tpam_permit.so\nauth\toptional\tpam_cap.so\n";
        assert_eq!(auth(text), expected);
        assert_eq!(auth(expected), expected, "twice is once");
    }

    #[test]
    fn a_stack_written_by_hand_works_too() {
        assert_eq!(
            password("-password required pam_unix.so\n"),
            "# bramble: people of the server\n\
             password\t[success=ignore default=2]\tpam_succeed_if.so quiet user ingroup bramble\n\
             password\t[success=done default=ignore]\t/run/bramble/pam_bramble.so\n\
             password\trequisite\tpam_deny.so\n-password required pam_unix.so\n"
        );
        assert!(auth("").ends_with("auth\trequisite\tpam_deny.so\n"));
    }

    #[test]
    fn sessions_and_accounts_come_first() {
        let text = "session\t[default=1]\tpam_permit.so\nsession\trequired\tpam_unix.so\n";
        let edited = session(text, false);
        assert!(edited.ends_with(text), "{edited}");
        assert_eq!(edited.lines().count(), 5);
        assert_eq!(session(&edited, false), edited, "twice is once");
        let guests = session(text, true);
        assert!(
            guests.contains("pam_succeed_if.so quiet user = guest\nsession\trequired\tpam_exec.so"),
            "{guests}"
        );
        assert!(
            account("account\t[success=1 new_authtok_reqd=done default=ignore]\tpam_unix.so\n")
                .starts_with(BEGIN)
        );
    }
}
