//! Builds the PAM module that the agent carries along, for the processor that the agent is built for.

fn main() {
    println!("cargo::rerun-if-changed=src/agent/pam_module.c");
    #[cfg(feature = "agent")]
    module();
}

#[cfg(feature = "agent")]
fn module() {
    let folder = std::env::var_os("OUT_DIR").expect("cargo sets it");
    let output = std::path::Path::new(&folder).join("pam_bramble.so");
    let status = cc::Build::new()
        .pic(true)
        .get_compiler()
        .to_command()
        .args([
            "-shared",
            "-Os",
            "-nostdlib",
            "-ffreestanding",
            "-fno-stack-protector",
            "-fvisibility=hidden",
        ])
        .args(["-s", "-o"])
        .arg(output)
        .arg("src/agent/pam_module.c")
        .status();
    assert!(
        status.as_ref().is_ok_and(std::process::ExitStatus::success),
        "the PAM module cannot be built ({status:?}); a C compiler for the target is needed: set CC_<target>"
    );
}
