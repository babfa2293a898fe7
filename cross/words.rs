//! Writes what tells shells and `man` about the command line, when packages are made:
//!
//! ```text
//! cargo run --example words -- FOLDER VERSION DAY
//! ```

use std::path::Path;
use std::{env, fs, io};

use bramble::cli::{completion, definition, manual};

fn main() -> io::Result<()> {
    let words: Vec<String> = env::args().skip(1).collect();
    let [folder, version, day] = words.as_slice() else {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "usage: words FOLDER VERSION DAY"));
    };
    let program = definition();
    let texts = [
        ("bramble.bash", completion::bash(&program)),
        ("_bramble", completion::zsh(&program)),
        ("bramble.fish", completion::fish(&program)),
        ("bramble.1", manual::page(&program, version, day)),
    ];
    fs::create_dir_all(folder)?;
    for (name, text) in texts {
        fs::write(Path::new(folder).join(name), text)?;
    }
    Ok(())
}
