//! OpenLDAP's server as a school's directory: one tree as RFC 2307 has it, one in the manner of Active Directory.

use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::net::{Ipv4Addr, TcpStream};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use bramble::sim::classroom::Classroom;
use bramble::sim::net::{Machine, PREFIX};
use bramble::types::MacAddr;

use crate::harness::program;
use crate::ldap::pause;

/// Where the school's server is in the classroom's network.
pub const ADDRESS: Ipv4Addr = Ipv4Addr::new(192, 168, 77, 5);

/// The password of `bind_dn`.
pub const OWN_SECRET: &str = "correct-horse-battery";

/// What Active Directory has and OpenLDAP's own schemas have not, with its own numbers.
const AD_SCHEMA: &str = "
attributetype ( 1.2.840.113556.1.4.146 NAME 'objectSid' EQUALITY octetStringMatch
	SYNTAX 1.3.6.1.4.1.1466.115.121.1.40 SINGLE-VALUE )
attributetype ( 1.2.840.113556.1.4.221 NAME 'sAMAccountName' EQUALITY caseIgnoreMatch
	SYNTAX 1.3.6.1.4.1.1466.115.121.1.15 SINGLE-VALUE )
attributetype ( 1.2.840.113556.1.4.782 NAME 'objectCategory' EQUALITY caseIgnoreMatch
	SYNTAX 1.3.6.1.4.1.1466.115.121.1.15 SINGLE-VALUE )
attributetype ( 1.2.840.113556.1.4.8 NAME 'userAccountControl' EQUALITY integerMatch
	SYNTAX 1.3.6.1.4.1.1466.115.121.1.27 SINGLE-VALUE )
attributetype ( 1.2.840.113556.1.4.98 NAME 'primaryGroupID' EQUALITY integerMatch
	SYNTAX 1.3.6.1.4.1.1466.115.121.1.27 SINGLE-VALUE )
objectclass ( 1.2.840.113556.1.5.9 NAME 'user' SUP inetOrgPerson STRUCTURAL
	MAY ( objectSid $ sAMAccountName $ objectCategory $ userAccountControl $ primaryGroupID ) )
objectclass ( 1.2.840.113556.1.5.8 NAME 'group' SUP top STRUCTURAL MUST cn
	MAY ( objectSid $ sAMAccountName $ member ) )
";

/// A directory that runs.
pub struct Slapd {
    folder: PathBuf,
    machine: Machine,
    program: PathBuf,
    child: Option<Child>,
}

impl Drop for Slapd {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Slapd {
    /// A server with `people`, on ports 389 (with StartTLS) and 636. `None`, said loudly, if it is not installed.
    pub fn start(room: &mut Classroom, folder: &Path) -> Option<Self> {
        let (program, add) = (program("slapd", "slapd")?, program("slapadd", "slapd")?);
        let (lab, lan) = room.lab();
        let machine = lab.client(lan, MacAddr::new([2, 0, 0, 0, 0, 5])).expect("a machine");
        machine.address("eth0", ADDRESS, PREFIX).expect("an address");
        let folder = folder.join("slapd");
        for suffix in ["dc=school,dc=lan", "dc=ad,dc=lan"] {
            fs::create_dir_all(folder.join(suffix)).expect("a folder");
        }
        certificates(&folder);
        fs::write(folder.join("ad.schema"), AD_SCHEMA).expect("written");
        fs::write(folder.join("slapd.conf"), config(&folder)).expect("written");
        for (suffix, entries) in [("dc=school,dc=lan", posix()), ("dc=ad,dc=lan", active_directory())] {
            let ldif = folder.join(format!("{suffix}.ldif"));
            fs::write(&ldif, entries).expect("written");
            let added = Command::new(&add)
                .args(["-b", suffix, "-f"])
                .arg(folder.join("slapd.conf"))
                .arg("-l")
                .arg(&ldif)
                .output()
                .expect("slapadd starts");
            assert!(added.status.success(), "{}", String::from_utf8_lossy(&added.stderr));
        }
        let mut slapd = Self { folder, machine, program, child: None };
        slapd.again();
        Some(slapd)
    }

    /// Starts it, and waits until it answers.
    pub fn again(&mut self) {
        let log = fs::File::create(self.folder.join("log")).expect("a log");
        let mut command = self.machine.command(&self.program);
        command.args(["-d", "0", "-h", &format!("ldap://{ADDRESS} ldaps://{ADDRESS}"), "-f"]);
        command.arg(self.folder.join("slapd.conf")).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        self.child = Some(command.spawn().expect("slapd starts"));
        let answers = || self.machine.run(|| TcpStream::connect((ADDRESS, 636))).is_ok();
        assert!(
            (0..200).any(|_| answers() || pause()),
            "{}",
            fs::read_to_string(self.folder.join("log")).unwrap_or_default()
        );
    }

    pub fn stop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Whoever signed its certificate.
    pub fn ca(&self) -> PathBuf {
        self.folder.join("ca.pem")
    }

    /// Another authority, which signed nothing of it.
    pub fn other_ca(&self) -> PathBuf {
        self.folder.join("other.pem")
    }

    pub fn secret(&self) -> PathBuf {
        self.folder.join("secret")
    }

    /// Changes something as the administrator.
    pub fn modify(&self, ldif: &str) {
        let modify = program("ldapmodify", "ldap-utils").expect("found beside ldapsearch");
        let mut command = self.machine.command(modify);
        command.args([
            "-x",
            "-H",
            &format!("ldaps://{ADDRESS}"),
            "-D",
            "cn=admin,dc=school,dc=lan",
            "-w",
            "admin",
        ]);
        command
            .env("LDAPTLS_CACERT", self.ca())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn().expect("ldapmodify starts");
        child.stdin.take().expect("a pipe").write_all(ldif.as_bytes()).expect("written");
        let output = child.wait_with_output().expect("ends");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
}

/// An authority, what it signed for the server, another authority, and the secret.
pub fn certificates(folder: &Path) {
    use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
    let authority = |name: &str| {
        let mut params = CertificateParams::new(Vec::<String>::new()).expect("parameters");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        CertifiedIssuer::self_signed(params, KeyPair::generate().expect("a key")).expect("an authority")
    };
    let (ca, other) = (authority("School"), authority("Elsewhere"));
    let key = KeyPair::generate().expect("a key");
    let params = CertificateParams::new(vec![ADDRESS.to_string()]).expect("parameters");
    let certificate = params.signed_by(&key, &ca).expect("signed");
    let secret = format!("{OWN_SECRET}\n");
    for (name, text) in [
        ("ca.pem", ca.pem()),
        ("other.pem", other.pem()),
        ("server.pem", certificate.pem()),
        ("server.key", key.serialize_pem()),
        ("secret", secret),
    ] {
        let mut file = fs::File::options();
        let mut file =
            file.write(true).create(true).truncate(true).mode(0o600).open(folder.join(name)).expect("made");
        file.write_all(text.as_bytes()).expect("written");
    }
}

fn config(folder: &Path) -> String {
    let folder = folder.display();
    let mut text = String::new();
    for schema in ["core", "cosine", "nis", "inetorgperson"] {
        writeln!(text, "include /etc/ldap/schema/{schema}.schema").expect("a String");
    }
    write!(
        text,
        "include {folder}/ad.schema\nmodulepath /usr/lib/ldap\nmoduleload back_mdb\nmoduleload memberof\n\
         pidfile {folder}/pid\nTLSCACertificateFile {folder}/ca.pem\nTLSCertificateFile {folder}/server.pem\n\
         TLSCertificateKeyFile {folder}/server.key\nsecurity simple_bind=1\nsizelimit size.soft=100 size.hard=100 size.prtotal=unlimited\n"
    )
    .expect("a String");
    for suffix in ["dc=school,dc=lan", "dc=ad,dc=lan"] {
        write!(
            text,
            "database mdb\nsuffix {suffix}\nrootdn cn=admin,{suffix}\nrootpw admin\ndirectory \"{folder}/{suffix}\"\n\
             access to attrs=userPassword by self write by anonymous auth by * none\n\
             access to dn.base=uid=anna,ou=people,{suffix} attrs=shadowLastChange \
             by self write by dn.exact=cn=bramble,{suffix} read by * none\n\
             access to * by dn.exact=cn=bramble,{suffix} read by self read by * none\n\
             overlay memberof\n{}",
            if suffix.starts_with("dc=ad") { "memberof-group-oc group\nmemberof-member-ad member\n" } else { "" }
        )
        .expect("a String");
    }
    text
}

fn head(suffix: &str, dc: &str) -> String {
    format!(
        "dn: {suffix}\nobjectClass: organization\nobjectClass: dcObject\no: School\ndc: {dc}\n\n\
         dn: cn=bramble,{suffix}\nobjectClass: applicationProcess\nobjectClass: simpleSecurityObject\ncn: bramble\n\
         userPassword: {OWN_SECRET}\n\n"
    )
}

fn posix() -> String {
    let mut text = head("dc=school,dc=lan", "school");
    text.push_str("dn: ou=people,dc=school,dc=lan\nobjectClass: organizationalUnit\nou: people\n\n");
    text.push_str("dn: ou=groups,dc=school,dc=lan\nobjectClass: organizationalUnit\nou: groups\n\n");
    let mut person = |uid: &str, name: &str, number: u32, password: &str| {
        write!(
            text,
            "dn: uid={uid},ou=people,dc=school,dc=lan\nobjectClass: inetOrgPerson\nobjectClass: posixAccount\nuid: {uid}\n\
             cn: {name}\nsn: {name}\nuidNumber: {number}\ngidNumber: 6000\nhomeDirectory: /home/{uid}\n\
             userPassword: {password}\n\n"
        )
        .expect("a String");
    };
    person("anna", "Anna Maier", 5001, "opensesame");
    person("Ben.Olmez", "Ben Olmez", 5002, "letmein-2");
    person("carl", "Carl", 5003, "letmein-3");
    person("mallory", "Mallory", 0, "letmein-0");
    // More than the server gives at once.
    for n in 0..120 {
        person(&format!("crowd{n:03}"), "One of many", 7000 + n, "letmein-9");
    }
    for (name, number, members) in
        [("pupils", 6000, ""), ("7B", 6001, "anna"), ("sudo", 27, "anna"), ("staff", 6002, "Ben.Olmez")]
    {
        write!(text, "dn: cn={name},ou=groups,dc=school,dc=lan\nobjectClass: posixGroup\ncn: {name}\ngidNumber: {number}\n")
            .expect("a String");
        if !members.is_empty() {
            writeln!(text, "memberUid: {members}").expect("a String");
        }
        text.push('\n');
    }
    text
}

/// `objectSid` of somebody of the domain.
pub fn sid(rid: u32) -> Vec<u8> {
    let mut bytes = vec![1, 5, 0, 0, 0, 0, 0, 5];
    bytes.extend(
        [21, 1_004_336_348, 1_177_238_915, 682_003_330, rid].iter().flat_map(|n: &u32| n.to_le_bytes()),
    );
    bytes
}

fn base64(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for piece in bytes.chunks(3) {
        let number =
            piece.iter().fold(0, |n: u32, byte| n << 8 | u32::from(*byte)) << (8 * (3 - piece.len()));
        for at in 0..4 {
            let letter = LETTERS[(number >> (18 - 6 * at) & 63) as usize];
            text.push(if at > piece.len() { '=' } else { char::from(letter) });
        }
    }
    text
}

fn active_directory() -> String {
    let mut text = head("dc=ad,dc=lan", "ad");
    let mut person = |name: &str, account: &str, rid: u32, flags: u32, category: &str| {
        // Active Directory makes `memberOf` of the groups' `member`; here the overlay does, but for what is there at first.
        let member_of = if rid == 1104 { "memberOf: cn=7B,dc=ad,dc=lan\n" } else { "" };
        write!(
            text,
            "dn: cn={name},dc=ad,dc=lan\nobjectClass: user\ncn: {name}\nsn: {name}\ndisplayName: {name}\n\
             sAMAccountName: {account}\nobjectSid:: {}\nuserAccountControl: {flags}\nobjectCategory: {category}\n\
             primaryGroupID: 513\nuserPassword: opensesame\n{member_of}\n",
            base64(&sid(rid))
        )
        .expect("a String");
    };
    person("Anna Maier", "Anna.Maier", 1104, 512, "person");
    person("Off", "off", 1105, 514, "person");
    person("PC-01", "pc-01", 1106, 4096, "computer");
    for (name, rid, members) in [
        ("Domain Users", 513, vec![]),
        ("7B", 1201, vec!["cn=Anna Maier,dc=ad,dc=lan"]),
        ("Chess Club", 1202, vec!["cn=7B,dc=ad,dc=lan"]),
    ] {
        write!(
            text,
            "dn: cn={name},dc=ad,dc=lan\nobjectClass: group\ncn: {name}\nsAMAccountName: {name}\nobjectSid:: {}\n",
            base64(&sid(rid))
        )
        .expect("a String");
        for member in members {
            writeln!(text, "member: {member}").expect("a String");
        }
        if name == "7B" {
            text.push_str("memberOf: cn=Chess Club,dc=ad,dc=lan\n");
        }
        text.push('\n');
    }
    text
}
